using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;
using TestRows = Handbook.Torch.Tests.Kernels.Some;

namespace Handbook.Torch.Tests.Fused;

/// <summary>The products of experts over the rows of their own tokens: all at once they are what each is alone.</summary>
public sealed class GroupedLinearTests
{
    /// <summary>Tokens, experts per token, experts, inputs, outputs: one token, odd sizes, experts without tokens, few and many columns,
    /// more terms and rows than a block has.</summary>
    public static TheoryData<int, int, int, int, int> Shapes => new()
    {
        { 1, 1, 1, 1, 1 }, { 1, 2, 5, 3, 7 }, { 7, 2, 4, 5, 6 }, { 7, 2, 4, 33, 50 }, { 40, 3, 9, 64, 97 }, { 130, 2, 3, 17, 48 },
        { 9, 1, 2, 2100, 30 }, { 300, 2, 4, 51, 400 },
    };

    [Theory, MemberData(nameof(Shapes))]
    public void Products_of_experts_agree_with_ordinary_operators(int tokens, int perToken, int experts, int inputs, int outputs)
    {
        var group = Group(Visits(tokens, perToken, experts), inputs, outputs, biased: outputs % 2 == 0);
        group.Check();
        if (inputs * outputs < 100)
            group.CheckDifferences();
    }

    [Fact]
    public void Products_of_experts_with_adapters_agree_with_ordinary_operators()
    {
        Adapted(Visits(7, 2, 4), inputs: 6, outputs: 5).Check();
        Adapted(Visits(7, 2, 4), inputs: 6, outputs: 5, scaled: -1).CheckDifferences();      // norms of magnitudes are constants
    }

    [Theory, InlineData(DType.Float32, DType.Float32), InlineData(DType.Float32, DType.BFloat16), InlineData(DType.BFloat16,
        DType.BFloat16)]
    public void Bits_depend_on_no_number_of_threads_and_no_neighbour(DType rows, DType weights)
    {
        var threads = TorchRuntime.Threads;
        try
        {
            using var scope = TensorScope.Enter();
            var routing = Visits(150, 2, 5);
            var (x, w) = (Numbers(1, 300, 70).To(rows), Enumerable.Range(0, 5).Select(e => Numbers(e + 2, 130, 70).To(weights)).ToArray());
            WeightOperand[] operands = [.. w.Select(weight => (WeightOperand)weight)];
            TorchRuntime.Threads = 1;
            var (y, dx) = (GroupedProduct.Linear(x, routing, operands, _ => null), GroupedProduct.Of(Numbers(9, 300, 130).To(rows),
                routing, operands, 70));
            TorchRuntime.Threads = 3;
            Lazily.Same(y.ToArray<double>(), GroupedProduct.Linear(x, routing, operands, _ => null).ToArray<double>());
            Lazily.Same(dx.ToArray<double>(), GroupedProduct.Of(Numbers(9, 300, 130).To(rows), routing, operands, 70).ToArray<double>());
            for (var e = 0; e < 5; e++)
            {
                var alone = GroupedProduct.Rows(x, routing, e);
                Lazily.Same(GroupedProduct.Rows(y, routing, e).ToArray<double>(),
                    GroupedProduct.Linear(alone, new([.. Enumerable.Repeat(0, routing.Count[e])], 1, 1), [w[e]], _ =>
                        null).ToArray<double>());
            }
        }
        finally
        {
            TorchRuntime.Threads = threads;
        }
    }

    [Theory, InlineData(1, 1, 1), InlineData(7, 5, 3), InlineData(9, 33, 50), InlineData(17, 64, 48), InlineData(8, 4100, 30),
        InlineData(13, 4101, 100)]
    public unsafe void The_processors_own_product_of_bfloat16_is_summed_in_float32(int rows, int terms, int columns)
    {
        TorchRuntime.Load();
        if (BlockProducts.Native == null)
            Assert.Skip("this processor, or the path that was forced, has no such instruction");
        using var scope = TensorScope.Enter();
        var (left, right) = (Numbers(1, rows, terms).To(DType.BFloat16), Numbers(2, terms, columns).To(DType.BFloat16));
        var (sums, sizes) = (Plain.Product(left, right).ToArray<double>(), Plain.Product(left.Abs(), right.Abs()).ToArray<double>());
        var bias = Numbers(3, 1, columns);
        foreach (var (p, q) in (ReadOnlySpan<(Tensor, Tensor)>)[(left, right), (left.T().Contiguous().T(), right.T().Contiguous().T())])
            foreach (var isWide in (ReadOnlySpan<bool>)[true, false])
            {
                var result = Tensor.Full(1, isWide ? DType.Float32 : DType.BFloat16, rows, columns);
                var job = ProductJob.Of<BFloat16, BFloat16>(p, q, (float*)result.Data, columns, add: isWide);
                job.IsWide = isWide;
                job.Bias = bias.Pointer<float>();
                var middle = columns / 2 / BlockProducts.Columns * BlockProducts.Columns;
                BlockProducts.Native(&job, 0, middle);
                BlockProducts.Native(&job, middle, columns);
                var (actual, offsets) = (result.ToArray<double>(), bias.ToArray<double>());
                for (var i = 0; i < actual.Length; i++)
                {
                    var expected = sums[i] + offsets[i % columns] + (isWide ? 1 : 0);
                    // a rounding of float32 for each pair of terms, and one of bfloat16
                    Assert.Equal(expected, actual[i], terms / 2 * sizes[i] / (1 << 24) + Math.Abs(expected) / (isWide ? 1 << 20 : 256)
                        + 1e-6);
                }
            }
    }

    [Fact]
    public void Products_that_are_the_same_everywhere_are_those_of_each_expert_alone()
    {
        using var all = BlockedProductKernel.ForAll();
        using var scope = TensorScope.Enter();
        var routing = Visits(150, 2, 5);
        var x = Numbers(1, 300, 70);
        var w = Enumerable.Range(0, 5).Select(e => Numbers(e + 2, 130, 70)).ToArray();
        var y = GroupedProduct.Linear(x, routing, [.. w.Select(weight => (WeightOperand)weight)], _ => null);
        for (var e = 0; e < 5; e++)
            Lazily.Same(Product.Linear(GroupedProduct.Rows(x, routing, e), w[e], null).ToArray<double>(),
                GroupedProduct.Rows(y, routing, e).ToArray<double>());
    }

    /// <summary>The last expert but one gets nobody where there are others to go to.</summary>
    private static Routing Visits(int tokens, int perToken, int experts)
    {
        var random = new Random(tokens);
        var open = Enumerable.Range(0, experts).Where(e => experts <= perToken || e != experts - 2).ToArray();
        return new([.. Enumerable.Range(0, tokens).SelectMany(_ => open.OrderBy(_ => random.Next()).Take(perToken))], perToken, experts);
    }

    private static Tensor Numbers(int seed, int rows, int columns) =>
        Tensor.From(TestRows.Rounded<BFloat16>(TestRows.Normal(seed, rows * columns, 1)), rows, columns).To(DType.Float32);

    /// <summary>x, then the weight of each expert, then its bias.</summary>
    internal static Agree Group(Routing routing, int inputs, int outputs, bool biased)
    {
        var experts = routing.Count.Length;
        var group = new Agree
        {
            Fused = x => [GroupedLinear.Forward(x[0].Value, routing, [.. x[1..(experts + 1)].Select(w => w.Parameter!)],
                biased ? [.. x[(experts + 1)..].Select(b => b.Parameter!)] : null)],
            Plain = x => [Plain.GroupedLinear(x[0].Value, routing, [.. x[1..(experts + 1)].Select(w => w.Value)],
                biased ? [.. x[(experts + 1)..].Select(b => b.Value)] : null)],
        }.With(Role.Product, 1, routing.Row.Length, inputs);
        for (var e = 0; e < experts; e++)
            group.With(Role.Weight, 1, outputs, inputs);
        for (var e = 0; biased && e < experts; e++)
            group.With(Role.Weight, 1, outputs);
        return group;
    }

    /// <summary>x, then of each expert its frozen weight, A and B; one has a magnitude, the last one no adapter, and what A
    /// reads is dropped.</summary>
    internal static Agree Adapted(Routing routing, int inputs, int outputs, int scaled = 1)
    {
        const double rate = 0.4;
        var (experts, noise) = (routing.Count.Length, new TokenNoise([.. Enumerable.Range(11, routing.TokenCount).Select(i => (long)i)]));
        var group = new Agree
        {
            Fused = x => [GroupedLinear.Forward(x[0].Value, routing, [.. Enumerable.Range(0, experts).Select(e => Part(x, e,
                0).Parameter!.With(
                e == experts - 1 ? [] : [new LowRank
                {
                    Down = Part(x, e, 1).Parameter!,
                    Dropout = rate,
                    Layer = (ulong)e,
                    Parts = [new() { Up = Part(x, e, 2).Parameter!, Scale = 1.5, Magnitude = e == scaled ? Last(x, 1).Parameter : null }],
                }]))], [.. Enumerable.Range(0, experts).Select(_ => Last(x, 0).Parameter!)], noise)],
            Plain = x =>
            {
                var said = new List<Tensor>();
                for (var e = 0; e < experts; e++)
                {
                    if (routing.Count[e] == 0)
                        continue;
                    var rows = x[0].Value.Narrow(0, routing.Start[e], routing.Count[e]);
                    var (weight, added) = (Part(x, e, 0).Value, 1.5 * Part(x, e, 2).Value.Mm(Part(x, e, 1).Value));
                    var y = rows.Linear(weight);
                    if (e < experts - 1)
                    {
                        var own = noise.Select(routing.Tokens().AsSpan(routing.Start[e], routing.Count[e]));
                        y += (rows * Dropped(own.For((ulong)e).Host, rate, inputs).To(rows.DType)).Linear(added);
                    }
                    if (e == scaled)
                        y *= Last(x, 1).Value * ((weight + added) * (weight + added)).Sum(1).Rsqrt().Detach();
                    said.Add(y + Last(x, 0).Value);
                }
                var unused = Enumerable.Range(0, experts).SelectMany(e => (Tensor[])[Part(x, e, 1).Value.Sum(), Part(x, e, 2).Value.Sum()]);
                return [Tensor.Cat([.. said], 0) + 0 * (unused.Aggregate((a, b) => a + b) + Last(x, 1).Value.Sum())];
            },
        }.With(Role.Product, 1, routing.Row.Length, inputs);
        for (var e = 0; e < experts; e++)
            group.With(Role.Frozen, 1, outputs, inputs).With(Role.Weight, 1, 2, inputs).With(Role.Weight, 1, outputs, 2);
        return group.With(Role.Weight, 1, outputs).With(Role.Weight, 1, outputs);

        static Operand Part(Operand[] x, int expert, int which) => x[1 + 3 * expert + which];

        static Operand Last(Operand[] x, int which) => x[x.Length - 2 + which];
    }

    private static Tensor Dropped(long[] keys, double rate, int width) => Tensor.From([.. keys.SelectMany(key => Enumerable.Range(0, width)
        .Select(column => DropoutKernel.Keeps(key, column, rate) ? 1 / (1 - rate) : 0))], keys.Length, width);
}
