using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Reference;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Fused;

public sealed class RotaryAttentionTests
{
    /// <summary>Segments as (length, parent), in order.</summary>
    private sealed record Stream(params (int Length, int Parent)[] Segments)
    {
        public int Count => Segments.Sum(s => s.Length);

        public int[] Starts => [.. Segments.Select((_, i) => Segments[..i].Sum(s => s.Length))];

        public SegmentTable Table => SegmentTable.Create(Starts, [.. Segments.Select(s => s.Length)], [.. Segments.Select(s => s.Parent)]);

        /// <summary>The places that a token sees, oldest first, itself last.</summary>
        private List<int> Chain(int segment, int within)
        {
            List<int> chain = Segments[segment].Parent < 0 ? []
                : Chain(Segments[segment].Parent, Segments[Segments[segment].Parent].Length - 1);
            return [.. chain, .. Enumerable.Range(Starts[segment], within + 1)];
        }

        public (int[] Positions, bool[] Visible) See(int window)
        {
            var positions = new int[Count];
            var visible = new bool[Count * Count];
            for (var s = 0; s < Segments.Length; s++)
                for (var i = 0; i < Segments[s].Length; i++)
                {
                    var chain = Chain(s, i);
                    positions[Starts[s] + i] = chain.Count - 1;
                    foreach (var j in window > 0 ? chain[Math.Max(0, chain.Count - window)..] : chain)
                        visible[(Starts[s] + i) * Count + j] = true;
                }
            return (positions, visible);
        }
    }

    private static RotaryTable Rotary(int size)
    {
        var angles = Enumerable.Range(0, 200 * size / 2).Select(i => i / (size / 2) * Math.Pow(100,
            -2.0 * (i % (size / 2)) / size)).ToArray();
        return new(Array.ConvertAll(angles, a => (float)Math.Cos(a)), Array.ConvertAll(angles, a => (float)Math.Sin(a)), size);
    }

    private static Agree Attend(Stream stream, AttentionShape shape, int rotarySize, bool sinks = false)
    {
        var (positions, visible) = stream.See(shape.Window);
        var rotary = rotarySize == 0 ? null : Rotary(rotarySize);
        var agree = new Agree
        {
            // The operation turns its input in place, so it gets a copy.
            Fused = x => [RotaryAttention.Forward(x[0].Value * 1, shape, new(stream.Table), positions, rotary,
                sinks ? x[1].Parameter : null)],
            Plain = x => [Plain.Attend(x[0].Value, shape, visible, positions, rotary, sinks ? x[1].Value : null)],
        }.With(Role.Product, 1, stream.Count, (shape.Heads + shape.KeyHeads) * shape.HeadSize + shape.KeyHeads * shape.ValueSize);
        return sinks ? agree.With(Role.Weight, 1, shape.Heads) : agree;
    }

    private static AttentionShape Shape(int heads, int keyHeads, int size, int window = 0, double cap = 0) =>
        new() { Heads = heads, KeyHeads = keyHeads, HeadSize = size, Scale = 1 / Math.Sqrt(size), Window = window, SoftCap = cap };

    private static readonly Stream Tree = new((5, -1), (3, 0), (4, 0), (2, 2), (6, -1));

    [Fact]
    public void Attention_agrees_with_ordinary_operators()
    {
        Attend(new((1, -1)), Shape(1, 1, 2), 2).Check();                        // length 1, one head
        Attend(new((7, -1), (1, -1), (12, -1)), Shape(4, 2, 16), 16).Check();   // packed rows, grouped heads
        Attend(Tree, Shape(2, 1, 6), 4).Check();                                // a tree, partial rotation
        Attend(Tree, Shape(3, 3, 8, window: 4), 8).Check();
        Attend(Tree, Shape(2, 2, 8, cap: 2), 0).Check();
        Attend(new((130, -1)), Shape(2, 1, 16), 16).Check();                    // more than two blocks of queries
        Attend(Tree, AttentionCase.Sized(Shape(3, 3, 8), slopes: true), 0).Check();
        Attend(Tree, AttentionCase.Sized(Shape(4, 2, 12), slopes: false, valueSize: 6), 4).Check();
        Attend(Tree, Shape(4, 2, 8, window: 4), 8, sinks: true).Check();
    }

    [Fact]
    public void Gradients_match_finite_differences()
    {
        Attend(new((3, -1), (2, 0), (2, 0)), Shape(2, 1, 4, cap: 3), 4).CheckDifferences();
        Attend(new((3, -1), (2, 0), (2, 0)), AttentionCase.Sized(Shape(2, 1, 4), slopes: true, valueSize: 3), 2, sinks: true)
            .CheckDifferences();
    }
}
