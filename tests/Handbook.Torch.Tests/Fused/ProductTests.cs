using System.Runtime.Intrinsics.X86;
using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;
using TestRows = Handbook.Torch.Tests.Kernels.Some;

namespace Handbook.Torch.Tests.Fused;

/// <summary>Products on every path of the processor: those of bfloat16 are the exact product, summed in float32 and rounded once; large
/// ones are shared out over the threads.</summary>
public sealed class ProductTests
{
    // Half a unit in the last of eight bits: a sum that is rounded once is off by at most this share of itself.
    private const double Rounding = 1.0 / 256;

    // A float32 sum of n products is off by at most n/2 of its own roundings (2⁻²⁴) of the sum of their sizes; here n is at most 2500.
    private const double Summing = 1e-4;

    public static TheoryData<int, int, int> Shapes => new()
    {
        { 1, 1, 1 }, { 3, 5, 2 }, { 16, 31, 17 }, { 64, 288, 100 },
        { 513, 33, 70 },            // more rows than a tile has
        { 5, 1030, 40 },            // more terms of a sum than a tile has
        { 2, 600, 1800 },           // more columns than a tile has
        { 4, 2500, 600 },           // and more of both
        { 1100, 7, 3 },
        { 600, 100, 2064 },         // large in every way
    };

    [Theory, MemberData(nameof(Shapes))]
    public void A_product_of_bfloat16_is_rounded_once(int rows, int terms, int columns)
    {
        using var scope = TensorScope.Enter();
        Tensor left = Some(1, rows, terms), right = Some(2, terms, columns);
        var expected = Plain.Product(left, right);
        Close(expected, Product.Of(left, right), left, right);
        var target = Tensor.Full(777, DType.BFloat16, rows, columns);
        Product.Into(left, right, target);
        Close(expected, target, left, right);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Turned_and_cut_operands_give_the_same_bits_as_copies_of_them(int rows, int terms, int columns)
    {
        using var scope = TensorScope.Enter();
        Tensor left = Some(1, rows, terms), right = Some(2, terms, columns);
        var expected = Product.Of(left, right);
        var turned = Product.Of(left.T().Contiguous().T(), right.T().Contiguous().T());
        var cut = Product.Of(Tensor.Cat([left, left], 1).Narrow(1, 0, terms), Tensor.Cat([right, right], 1).Narrow(1, columns, columns));
        foreach (var other in (Tensor[])[turned, cut])
            Close(Plain.Product(left, right), other, left, right);
        Assert.Equal(expected.Shape, turned.Shape);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void A_layer_adds_its_bias_before_it_rounds(int rows, int terms, int columns)
    {
        using var scope = TensorScope.Enter();
        Tensor x = Some(1, rows, terms), weight = Some(2, columns, terms), bias = Some(3, 1, columns).Reshape(columns);
        var exact = Plain.Product(x, weight.T()) + bias.To(DType.Float64);
        Close(exact, Product.Linear(x, weight, bias), x, weight.T());
        Close(Plain.Product(x, weight.T()), Product.Linear(x, weight, null), x, weight.T());
    }

    [Theory, MemberData(nameof(Shapes))]
    public void Gradients_of_weights_are_sums_in_float32(int inputs, int tokens, int outputs)
    {
        using var scope = TensorScope.Enter();
        Tensor slopes = Some(1, tokens, outputs), x = Some(2, tokens, inputs);
        using var weight = new Parameter("weight", Tensor.Zeros(DType.Float32, outputs, inputs), trainable: true);
        weight.SetGradient(Tensor.Full(777, DType.Float32, outputs, inputs));      // old content that must not show
        weight.AddProduct(slopes.T(), x);
        weight.AddProduct(slopes.T(), x);
        var once = Plain.Product(slopes.T(), x);
        var expected = (once + once).ToArray<double>();
        var actual = weight.Gradient!.ToArray<double>();
        var sizes = Plain.Product(slopes.T().Abs(), x.Abs()).ToArray<double>();
        // The processor's own products are rounded to bfloat16 before they are added.
        var rounding = Processor.MultipliesBFloat16 ? Rounding : 0;
        for (var i = 0; i < expected.Length; i++)
            Assert.Equal(expected[i], actual[i], rounding * Math.Abs(expected[i]) + 2 * Summing * sizes[i] + 1e-30);
    }

    [Fact]
    public void A_sum_that_bfloat16_could_not_hold_is_right()
    {
        // 1 + 4096 · 2⁻⁸ = 17, while a sum kept in bfloat16 would stay at 1 + 1 = 2: half a unit in the last place is lost each time.
        using var scope = TensorScope.Enter();
        var left = Tensor.From([1.0, .. Enumerable.Repeat(1.0 / 256, 4096)], 1, 4097).To(DType.BFloat16);
        var right = Tensor.Full(1, DType.BFloat16, 4097, 1);
        Assert.Equal(17, Product.Of(left, right).ToArray<double>()[0]);
    }

    [Fact]
    public void Nothing_to_multiply_gives_zeros_and_what_is_no_number_stays_in_its_row()
    {
        using var scope = TensorScope.Enter();
        Assert.Equal([0.0, 0, 0, 0], Product.Of(Tensor.Zeros(DType.BFloat16, 2, 0), Tensor.Zeros(DType.BFloat16, 0, 2)).ToArray<double>());
        Assert.Empty(Product.Of(Tensor.Zeros(DType.BFloat16, 0, 3), Tensor.Zeros(DType.BFloat16, 3, 2)).ToArray<double>());
        var x = Tensor.From([1.0, 2, double.NaN, 4], 2, 2).To(DType.BFloat16);
        var y = Product.Of(x, Tensor.From([1.0, 1, 1, 1], 2, 2).To(DType.BFloat16)).ToArray<double>();
        Assert.Equal([3.0, 3], y[..2]);
        Assert.All(y[2..], value => Assert.True(double.IsNaN(value)));
    }

    public static TheoryData<int, int, int> LargeShapes => new()
    {
        { 2048, 288, 288 },
        { 300, 1536, 290 },         // rows that are no whole tiles
        { 2000, 100, 133 },
        { 200, 2048, 500 },         // about as few rows as a thread gets
        { 256, 288, 4096 },         // so wide that threads share its columns
        { 300, 600, 1333 },         // columns that are no whole tiles
        { 300, 600, 1328 },
        { 100, 777, 3120 },
        { 512, 576, 3072 },
    };

    [Theory, MemberData(nameof(LargeShapes))]
    public void A_large_float32_product_is_shared_out_without_a_trace(int rows, int terms, int columns)
    {
        using var scope = TensorScope.Enter();
        Tensor left = Wide(1, rows, terms), right = Wide(2, terms, columns), bias = Wide(3, 1, columns).Reshape(columns);
        using var weight = new Parameter("weight", Tensor.Zeros(DType.Float32, rows, columns), trainable: true);
        weight.SetGradient(Tensor.Full(777, DType.Float32, rows, columns));        // old content that must not show
        weight.AddProduct(left, right);
        weight.AddProduct(left.T().Contiguous().T(), right);
        var target = Tensor.Full(777, DType.Float32, rows, 2 * columns).Narrow(1, columns, columns);
        Product.Into(left, right, target);
        Tensor plain = Plain.Product(left, right), sizes = Plain.Product(left.Abs(), right.Abs());
        Near(plain, Product.Of(left, right), sizes);
        Near(plain, target, sizes);
        Near(plain + plain, weight.Gradient!, sizes);
        Near(plain, Product.Linear(left, right.T().Contiguous(), null), sizes);
        Near(plain + bias.To(DType.Float64), Product.Linear(left, right.T().Contiguous(), bias), sizes);
        var threads = ThreadTeam.Threads;
        try
        {
            var bits = Product.Of(left, right).ToArray<float>();
            Lazily.Same(bits, Product.Of(left, right).ToArray<float>());
            if (columns > 4 * rows && !Avx512F.IsSupported)
                return;
            foreach (var other in (int[])[2, 3, 5])
            {
                ThreadTeam.Threads = other;
                if (rows / other >= 96)
                    Lazily.Same(bits, Product.Of(left, right).ToArray<float>());
            }
        }
        finally
        {
            ThreadTeam.Threads = threads;
        }
    }

    private static Tensor Wide(int seed, int rows, int columns) =>
        Tensor.From(TestRows.Normal(seed, rows * columns), rows, columns).To(DType.Float32);

    private static void Near(Tensor expected, Tensor actual, Tensor sizes)
    {
        Assert.Equal(DType.Float32, actual.DType);
        double[] exact = expected.ToArray<double>(), found = actual.Contiguous().ToArray<double>(), all = sizes.ToArray<double>();
        for (var i = 0; i < exact.Length; i++)
            Lazily.True(Math.Abs(exact[i] - found[i]) <= 2 * Summing * all[i], $"[{i}]: expected {exact[i]:R}, was {found[i]:R}");
    }

    private static Tensor Some(int seed, int rows, int columns) =>
        Tensor.From(TestRows.Normal(seed, rows * columns), rows, columns).To(DType.BFloat16);

    private static void Close(Tensor expected, Tensor actual, Tensor left, Tensor right)
    {
        Assert.Equal(DType.BFloat16, actual.DType);
        double[] exact = expected.ToArray<double>(), rounded = actual.ToArray<double>(),
            sizes = Plain.Product(left.Abs(), right.Abs()).ToArray<double>();
        for (var i = 0; i < exact.Length; i++)
            Lazily.True(Math.Abs(exact[i] - rounded[i]) <= Rounding * Math.Abs(exact[i]) + Summing * sizes[i],
                $"[{i}]: expected {exact[i]:R}, was {rounded[i]:R}");
    }
}
