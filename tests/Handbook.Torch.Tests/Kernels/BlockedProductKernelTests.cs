using System.Runtime.Intrinsics.X86;
using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>Products in blocks are those in float64 up to rounding, whatever their sizes and however their operands lie in memory, and a
/// sum has the same bits whatever is computed beside it, with any number of threads.</summary>
public sealed class BlockedProductKernelTests
{
    // A float32 sum of n products is off by at most n/2 of its own roundings (2⁻²⁴) of the sum of their sizes; here n is at most 1000.
    private const double Summing = 3e-5;

    public static TheoryData<int> Seeds => [.. Enumerable.Range(1, 12)];

    public static TheoryData<int, int, int> Shapes => new()
    {
        { 96, 385, 1000 },          // terms and columns that are no whole blocks
        { 700, 500, 96 },           // rows are cut
        { 49, 1, 17 },
        { 1, 1000, 1 },
        { 8, 384, 48 },             // one tile
        { 9, 384, 3100 },           // more columns than a block has
    };

    [Theory, MemberData(nameof(Seeds))]
    public void A_product_of_any_size_is_the_plain_one(int seed)
    {
        var random = new Random(seed);
        Check(random.Next(1, 200), random.Next(1, 1000), random.Next(1, 200), seed);
    }

    [Theory, MemberData(nameof(Shapes))]
    public void So_is_one_at_the_end_of_a_block(int rows, int terms, int columns) => Check(rows, terms, columns, 17);

    private static void Check(int rows, int terms, int columns, int seed)
    {
        using var scope = TensorScope.Enter();
        Tensor left = Some(seed, rows, terms), right = Some(seed + 1, terms, columns), start = Some(seed + 2, rows, columns);
        Compare(left, right, start, [.. Lying(left)], [.. Lying(right)]);
        var narrow = right.To(DType.BFloat16);
        Compare(left, narrow, start, [.. Lying(left)], [.. Lying(narrow)]);
        left = left.To(DType.BFloat16);
        Compare(left, narrow, start, [.. Lying(left)], [.. Lying(narrow)]);
    }

    private static void Compare(Tensor left, Tensor right, Tensor start, Tensor[] lefts, Tensor[] rights)
    {
        var (rows, columns) = (left.Size(0), right.Size(1));
        Tensor exact = Plain.Product(left, right), sizes = Plain.Product(left.To(DType.Float64).Abs(), right.To(DType.Float64).Abs());
        float[]? first = null;
        foreach (var p in lefts)
            foreach (var q in rights)
            {
                using var scope = TensorScope.Enter();
                var whole = Tensor.Full(777, DType.Float32, rows + 2, columns + 5);
                var target = whole.Narrow(0, 1, rows).Narrow(1, 3, columns);
                BlockedProductKernel.Multiply(p, q, target, add: false);
                var bits = target.Contiguous().ToArray<float>();
                Lazily.Same(first ??= bits, bits);
                Near(exact, target, sizes);
                target.CopyFrom(start);
                BlockedProductKernel.Multiply(p, q, target, add: true);
                Near(exact + start.To(DType.Float64), target, sizes + start.To(DType.Float64).Abs());
                target.CopyFrom(Tensor.Full(777, DType.Float32, rows, columns));
                Assert.DoesNotContain(whole.ToArray<float>(), value => value != 777);
            }
    }

    [Theory]
    [InlineData(200, 300, 1000)]
    [InlineData(1000, 800, 144)]
    public void A_sum_has_the_same_bits_whatever_is_computed_beside_it(int rows, int terms, int columns)
    {
        using var scope = TensorScope.Enter();
        Tensor left = Some(1, rows, terms), right = Some(2, terms, columns);
        var bits = Multiply(left, right).ToArray<float>();
        Assert.Equal(bits, Threads.One(() => Multiply(left, right).ToArray<float>()));
        var threads = ThreadTeam.Threads;
        try
        {
            ThreadTeam.Threads = 5;
            Lazily.Same(bits, Multiply(left, right).ToArray<float>());
        }
        finally
        {
            ThreadTeam.Threads = threads;
        }
        var some = Multiply(left.Narrow(0, 37, 101), right.Narrow(1, 5, 97)).ToArray<float>();
        for (var i = 0; i < 101; i++)
            Assert.Equal(bits[((i + 37) * columns + 5)..((i + 37) * columns + 102)], some[(i * 97)..((i + 1) * 97)]);

        static Tensor Multiply(Tensor left, Tensor right)
        {
            var result = Tensor.Empty(DType.Float32, Device.Cpu, left.Size(0), right.Size(1));
            BlockedProductKernel.Multiply(left, right, result, add: false);
            return result;
        }
    }

    // Sizes that are the library's otherwise: wide, small, and of no whole blocks.
    [Theory]
    [InlineData(70, 90, 5000)]
    [InlineData(300, 400, 900)]
    [InlineData(20, 500, 37)]
    public void Where_it_is_wanted_for_all_no_bit_depends_on_the_number_of_threads(int rows, int terms, int columns)
    {
        using var scope = TensorScope.Enter();
        Tensor x = Some(1, rows, terms), weight = Some(2, columns, terms), dy = Some(3, rows, columns), bias = Some(4, columns, 1).View(columns);
        using (BlockedProductKernel.ForAll())
        {
            var threads = ThreadTeam.Threads;
            var bits = All();
            Assert.Equal(bits, Threads.One(All));
            try
            {
                TorchRuntime.Threads = 5;
                Assert.Equal(bits, All());
            }
            finally
            {
                TorchRuntime.Threads = threads;
            }
        }
        Assert.False(BlockedProductKernel.IsForAll);

        float[] All()
        {
            using var inner = TensorScope.Enter();
            var small = weight.To(DType.BFloat16);
            Tensor[] products = [Product.Linear(x, weight, bias), Product.Of(dy, weight), Product.Of(dy.T(), x), Product.Linear(x, small, null),
                Product.Linear(x.To(DType.BFloat16), small, bias.To(DType.BFloat16)), Product.Of(dy.To(DType.BFloat16), small)];
            return [.. products.SelectMany(product => product.To(DType.Float32).ToArray<float>())];
        }
    }

    [Fact]
    public void What_is_no_number_stays_in_its_row()
    {
        using var scope = TensorScope.Enter();
        var values = Kernels.Some.Normal(1, 100 * 130);
        values[130 * 57 + 3] = double.NaN;
        var result = Tensor.Empty(DType.Float32, Device.Cpu, 100, 144);
        BlockedProductKernel.Multiply(Tensor.From(values, 100, 130).To(DType.Float32), Some(2, 130, 144), result, add: false);
        var product = result.ToArray<float>();
        for (var i = 0; i < product.Length; i++)
            Assert.Equal(i / 144 == 57, float.IsNaN(product[i]));
    }

    [Fact]
    public void It_takes_the_products_of_a_training_step_where_it_is_the_faster_one()
    {
        using var scope = TensorScope.Enter();
        Tensor x = Some(1, 256, 576), weight = Some(2, 960, 576), dy = Some(3, 256, 960);
        Assert.Equal(Avx512F.IsSupported, BlockedProductKernel.Suits(x, weight.T()));
        Assert.Equal(Avx512F.IsSupported, BlockedProductKernel.Suits(x, weight.To(DType.BFloat16).T()));
        Assert.Equal(Avx512F.IsSupported, BlockedProductKernel.Suits(dy, weight));
        Assert.Equal(Avx512F.IsSupported, BlockedProductKernel.Suits(dy.T(), x));
        Assert.False(BlockedProductKernel.Suits(x.T(), dy), "the left side would be copied for each block of columns");
        Assert.False(BlockedProductKernel.Suits(x.To(DType.Float64), weight.To(DType.Float64).T()));
        Assert.False(BlockedProductKernel.Suits(x.Narrow(0, 0, 40), weight.T()));
    }

    /// <summary>The same matrix without gaps, turned, cut out of a wider one, and with gaps between all elements.</summary>
    private static IEnumerable<Tensor> Lying(Tensor matrix)
    {
        var twice = Tensor.Cat([matrix, matrix], 1);
        return [matrix, matrix.T().Contiguous().T(), twice.Narrow(1, matrix.Size(1), matrix.Size(1)),
            Tensor.Cat([matrix.Reshape(-1, 1), matrix.Reshape(-1, 1)], 1).Narrow(1, 0, 1).Reshape(matrix.Size(0), matrix.Size(1))];
    }

    private static Tensor Some(int seed, int rows, int columns) =>
        Tensor.From(Kernels.Some.Normal(seed, rows * columns), rows, columns).To(DType.Float32);

    private static void Near(Tensor expected, Tensor actual, Tensor sizes)
    {
        double[] exact = expected.ToArray<double>(), found = actual.Contiguous().ToArray<double>(), all = sizes.ToArray<double>();
        for (var i = 0; i < exact.Length; i++)
            Lazily.True(Math.Abs(exact[i] - found[i]) <= Summing * all[i], $"[{i}]: expected {exact[i]:R}, was {found[i]:R}");
    }
}
