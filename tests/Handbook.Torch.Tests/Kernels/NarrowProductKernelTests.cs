using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>Products with a small size are those in float64 up to rounding, however their operands lie in memory, and the same bits with
/// any number of threads.</summary>
public sealed class NarrowProductKernelTests
{
    public static TheoryData<int, int, int> Shapes => new()
    {
        { 512, 16, 576 },           // few terms
        { 131, 7, 144 },            // rows and columns that are no whole tiles
        { 200, 64, 1024 },
        { 128, 4, 128 },
        { 512, 576, 16 },           // few columns
        { 150, 700, 5 },            // fewer than a register holds
        { 130, 128, 64 },
        { 256, 333, 37 },
        { 16, 512, 576 },           // few rows
        { 4, 900, 144 },            // more terms than are taken at once
        { 64, 300, 208 },
        { 23, 130, 128 },
    };

    [Theory, MemberData(nameof(Shapes))]
    public void A_narrow_product_is_the_plain_one(int rows, int terms, int columns)
    {
        using var scope = TensorScope.Enter();
        Tensor left = Some(1, rows, terms), right = Some(2, terms, columns), start = Some(3, rows, columns);
        Tensor exact = Plain.Product(left, right), sizes = Plain.Product(left.Abs(), right.Abs());
        var taken = 0;
        foreach (var p in Lying(left))
            foreach (var q in Lying(right))
            {
                if (!NarrowProductKernel.Suits(p, q))
                    continue;
                taken++;
                var whole = Tensor.Full(777, DType.Float32, rows, columns + 32);
                var target = whole.Narrow(1, 16, columns);
                NarrowProductKernel.Multiply(p, q, target, add: false);
                Near(exact, target, sizes);
                target.CopyFrom(start);
                NarrowProductKernel.Multiply(p, q, target, add: true);
                Near(exact + start.To(DType.Float64), target, sizes);
                Assert.All(whole.Narrow(1, 0, 16).Contiguous().ToArray<float>(), value => Assert.Equal(777, value));
                Assert.All(whole.Narrow(1, columns + 16, 16).Contiguous().ToArray<float>(), value => Assert.Equal(777, value));
                var bits = target.Contiguous().ToArray<float>();
                Assert.Equal(bits, Threads.One(() =>
                {
                    target.CopyFrom(start);
                    NarrowProductKernel.Multiply(p, q, target, add: true);
                    return target.Contiguous().ToArray<float>();
                }));
            }
        Assert.True(taken > 0, "the kernel takes none of these operands");
    }

    [Fact]
    public void Other_products_are_left_to_the_library()
    {
        using var scope = TensorScope.Enter();
        Assert.False(NarrowProductKernel.Suits(Some(1, 512, 576), Some(2, 576, 576)));
        Assert.False(NarrowProductKernel.Suits(Some(1, 20, 576), Some(2, 576, 16)));
        Assert.False(NarrowProductKernel.Suits(Some(1, 512, 576), Some(2, 576, 1)));
        Assert.False(NarrowProductKernel.Suits(Some(1, 512, 16).To(DType.Float64), Some(2, 16, 576).To(DType.Float64)));
        Assert.False(NarrowProductKernel.Suits(Some(1, 512, 16).To(DType.BFloat16), Some(2, 16, 576).To(DType.BFloat16)));
    }

    [Fact]
    public void What_is_no_number_stays_in_its_row()
    {
        using var scope = TensorScope.Enter();
        var values = Kernels.Some.Normal(1, 200 * 16);
        values[16 * 131 + 3] = double.NaN;
        var product = Product.Of(Tensor.From(values, 200, 16).To(DType.Float32), Some(2, 16, 144)).ToArray<float>();
        for (var i = 0; i < product.Length; i++)
            Assert.Equal(i / 144 == 131, float.IsNaN(product[i]));
    }

    /// <summary>The same matrix without gaps, turned, and cut out of a wider one.</summary>
    private static IEnumerable<Tensor> Lying(Tensor matrix) =>
        [matrix, matrix.T().Contiguous().T(), Tensor.Cat([matrix, matrix], 1).Narrow(1, 0, matrix.Size(1))];

    private static Tensor Some(int seed, int rows, int columns) =>
        Tensor.From(Kernels.Some.Normal(seed, rows * columns), rows, columns).To(DType.Float32);

    private static void Near(Tensor expected, Tensor actual, Tensor sizes)
    {
        double[] exact = expected.ToArray<double>(), found = actual.Contiguous().ToArray<double>(), all = sizes.ToArray<double>();
        for (var i = 0; i < exact.Length; i++)
            Lazily.True(Math.Abs(exact[i] - found[i]) <= 2e-6 * (all[i] + Math.Abs(exact[i])), $"[{i}]: expected {exact[i]:R}, was {found[i]:R}");
    }
}
