using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Fused;

/// <summary>Attention over a stream that several processes have a part of each gives what one with the whole stream gives.</summary>
/// <remarks>
/// Tolerances, of the largest value of a tensor: 1e-10 for float64; 2e-5 for float32 (the same sums in another order, and one rounding
/// for each part); 2e-2 for bfloat16, where each part's output is rounded once more (4e-3).
/// </remarks>
public sealed class AttentionRingTests
{
    private static readonly (int Window, double Cap)[] s_variants = [(0, 0), (7, 0), (70, 0), (0, 3), (5, 2)];

    private static readonly Form[] s_forms =
    [
        new("fewer tokens than pieces", [1, 2], [-1, -1]),
        new("short rows", [1, 2, 3, 5, 8, 13, 20], [-1, -1, -1, -1, -1, -1, -1]),
        new("one long row", [333], [-1]),
        new("a pair", [30, 17, 40], [-1, 0, 0]),
        new("a long prompt with four answers", [150, 20, 1, 33, 7], [-1, 0, 0, 0, 0]),
        new("depth 3", [21, 9, 70, 5, 1, 66, 12, 33], [-1, 0, 0, 1, 1, 2, 2, -1]),
        new("two trees interleaved", [10, 20, 7, 3, 68], [-1, -1, 0, 1, 2]),
    ];

    private sealed record Form(string Name, int[] Lengths, int[] Parents)
    {
        public int[] Start { get; } = [.. Lengths.Select((_, s) => Lengths[..s].Sum())];

        public int[] Positions
        {
            get
            {
                var positions = new int[Lengths.Sum()];
                for (var s = 0; s < Lengths.Length; s++)
                {
                    var first = Parents[s] < 0 ? 0 : positions[Start[Parents[s]] + Lengths[Parents[s]] - 1] + 1;
                    for (var i = 0; i < Lengths[s]; i++)
                        positions[Start[s] + i] = first + i;
                }
                return positions;
            }
        }
    }

    /// <summary>A form with random numbers.</summary>
    private sealed class Case
    {
        private readonly double[] _inputs, _slopes;
        private readonly double[]? _sinks;

        public Case(Form form, AttentionShape shape, bool sinks = false)
        {
            (Form, Shape) = (form, shape);
            var random = new Random(form.Lengths.Sum() + shape.Heads + shape.Window);
            double[] Numbers(int columns) => [.. Enumerable.Range(0, Count * columns).Select(_ => random.Next(-127, 128) / 64.0)];
            (_inputs, _slopes) = (Numbers((shape.Heads + shape.KeyHeads) * shape.HeadSize + shape.KeyHeads * shape.ValueSize),
                Numbers(shape.Heads * shape.ValueSize));
            _sinks = sinks ? [.. Enumerable.Range(0, shape.Heads).Select(h => 1.5 - h)] : null;
        }

        public Form Form { get; }

        public AttentionShape Shape { get; }

        public int Count => Form.Lengths.Sum();

        public TokenPieces[] Parts(int size) => [.. Enumerable.Range(0, size).Select(rank => TokenPieces.ZigZag(rank, size, Count))];

        /// <summary>Output and gradient of some tokens, and the gradient of the sinks.</summary>
        public (double[] Output, double[] Gradient, double[] Sinks) Run(AttentionRing ring, int[] tokens, DType dtype)
        {
            using var scope = TensorScope.Enter();
            var (x, positions) = (Rows(_inputs, tokens).To(dtype).Clone(), Form.Positions);
            x.RequiresGrad = true;
            var master = dtype == DType.Float64 ? dtype : DType.Float32;
            using var sinks = _sinks is null ? null : new Parameter("sinks", Tensor.From(_sinks).To(master).Clone(), trainable: true);
            sinks?.SetGradient(Tensor.Zeros(master, _sinks!.Length));
            var y = RotaryAttention.Forward(x * 1, Shape, ring, Array.ConvertAll(tokens, token => positions[token]),
                Rotary(Shape.HeadSize), sinks);
            Tensor.BackwardAll([y], [Rows(_slopes, tokens).To(dtype)]);
            return (y.ToArray<double>(), x.Grad!.ToArray<double>(), sinks?.Gradient!.ToArray<double>() ?? []);
        }

        private Tensor Rows(double[] values, int[] tokens)
        {
            var columns = values.Length / Count;
            return Tensor.From<double>([.. tokens.SelectMany(token => values[(token * columns)..((token + 1) * columns)])], tokens.Length,
                columns);
        }
    }

    [Theory]
    [InlineData(2), InlineData(4)]
    public void Processes_that_share_a_stream_compute_what_one_computes(int size) => Check(size, DType.Float64, 1e-10,
        [.. from form in s_forms from heads in new[] { (1, 1), (4, 2) } from variant in s_variants
            select new Case(form, AttentionCase.Sized(heads.Item1, heads.Item2, 8, variant.Window, variant.Cap)),
            .. from form in s_forms select new Case(form, With(AttentionCase.Sized(4, 2, 8, window: 7)), sinks: true)]);

    // Scores that fall with the distance, and values of another size.
    private static AttentionShape With(AttentionShape shape) => AttentionCase.Sized(shape, slopes: true, valueSize: 6);

    [Theory]
    [InlineData(2, DType.Float32, 2e-5), InlineData(4, DType.Float32, 2e-5)]
    [InlineData(2, DType.BFloat16, 2e-2), InlineData(4, DType.BFloat16, 2e-2)]
    public void So_do_the_fast_kernels(int size, DType dtype, double tolerance) => Check(size, dtype, tolerance,
        [.. from form in s_forms from variant in s_variants
            select new Case(form, AttentionCase.Sized(4, 2, 16, variant.Window, variant.Cap)),
            .. from form in s_forms select new Case(form, With(AttentionCase.Sized(4, 2, 16)), sinks: true),
            // keys of one tree in several chunks
            new(new("long rows", [1530, 20, 700, 30], [-1, 0, 0, -1]), AttentionCase.Sized(3, 1, 8)),
            new(new("long rows", [1530, 20, 700, 30], [-1, 0, 0, -1]), AttentionCase.Sized(3, 1, 8, window: 300))]);

    [Fact]
    public void Pieces_are_of_one_size_and_cost_and_each_token_is_in_one()
    {
        foreach (var count in (int[])[1, 2, 3, 4, 8])
            foreach (var tokens in (int[])[0, 1, 5, 16, 1000, 4097])
            {
                TokenPieces[] parts = [.. Enumerable.Range(0, count).Select(index => TokenPieces.ZigZag(index, count, tokens))];
                Assert.Equal(Enumerable.Range(0, tokens), parts.SelectMany(part => part.Tokens).Order());
                Assert.True(parts.Max(part => part.Count) - parts.Min(part => part.Count) <= 2);
                if (tokens < 1000)
                    continue;
                // what a token of one long row sees: all before it
                var costs = parts.Select(part => part.Tokens.Sum(token => token + 1.0)).ToArray();
                Assert.True(costs.Max() / costs.Min() < 1.02);
            }
    }

    private static void Check(int size, DType dtype, double tolerance, Case[] cases)
    {
        var whole = Array.ConvertAll(cases, each => each.Run(new(SegmentTable.Create(each.Form.Start, each.Form.Lengths, each.Form.Parents,
            each.Form.Positions)), [.. Enumerable.Range(0, each.Count)], dtype));
        var shared = ThreadGroup.Run(size, group => Array.ConvertAll(cases, each =>
        {
            var parts = each.Parts(size);
            // one without tokens computes the first one for itself
            return each.Run(AttentionRing.Of(group, parts, each.Form.Start, each.Form.Lengths, each.Form.Parents, each.Form.Positions),
                parts[group.Rank].Count == 0 ? [0] : parts[group.Rank].Tokens, dtype);
        }));
        for (var i = 0; i < cases.Length; i++)
            for (var h = 0; h < whole[i].Sinks.Length; h++)
                // Every process has the sinks; the sum of their gradients is the whole one. One without tokens has made up one for itself.
                Assert.Equal(whole[i].Sinks[h], Enumerable.Range(0, size).Where(rank => cases[i].Parts(size)[rank].Count > 0)
                    .Sum(rank => shared[rank][i].Sinks[h]), tolerance * 10 * whole[i].Sinks.Max(Math.Abs) + tolerance);
        for (var rank = 0; rank < size; rank++)
            for (var i = 0; i < cases.Length; i++)
            {
                var tokens = cases[i].Parts(size)[rank].Tokens;
                Compare(whole[i].Output, shared[rank][i].Output, tokens, cases[i], "output");
                Compare(whole[i].Gradient, shared[rank][i].Gradient, tokens, cases[i], "gradient");
            }

        void Compare(double[] expected, double[] found, int[] tokens, Case it, string what)
        {
            var columns = expected.Length / it.Count;
            var largest = expected.Max(Math.Abs);
            for (var row = 0; row < tokens.Length; row++)
                for (var i = 0; i < columns; i++)
                {
                    var (one, other) = (expected[tokens[row] * columns + i], found[row * columns + i]);
                    Assert.True(Math.Abs(one - other) <= tolerance * largest, $"{it.Form.Name}, {size} processes, {it.Shape}: {what} of token "
                        + $"{tokens[row]} is {other:g6}, not {one:g6}");
                }
        }
    }

    private static RotaryTable Rotary(int size)
    {
        const int positions = 2300;
        var angles = Enumerable.Range(0, positions * size / 2).Select(i => i / (size / 2) * Math.Pow(100, -2.0 * (i % (size / 2)) / size))
            .ToArray();
        return new(Array.ConvertAll(angles, a => (float)Math.Cos(a)), Array.ConvertAll(angles, a => (float)Math.Sin(a)), size);
    }
}
