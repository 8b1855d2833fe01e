using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>A state of an optimiser in eight bits a number: blocks of 256 codes, each with the magnitude of its largest number.</summary>
/// <param name="Codes">Whole blocks, whatever the number of elements.</param>
/// <param name="Scales">One a block.</param>
/// <param name="Code">What the codes mean.</param>
internal readonly unsafe record struct CodedState(nint Codes, nint Scales, DynamicCode Code)
{
    public bool IsNone => Codes == 0;

    public byte* Of(long block) => (byte*)Codes + block * CodedStateKernel.Block;

    public ref float Scale(long block) => ref ((float*)Scales)[block];
}

/// <summary>As <see cref="OptimizerKernel"/>, with states in eight bits a number. Dettmers et al. 2022, arXiv:2110.02861.</summary>
/// <remarks>
/// <code>
/// s = scale · value(code);   p, s ← rule(p, g, s);   scale ← max |s| of the block;   code ← nearest( s / scale )
/// </code>
/// A rule sees its states in full precision; they are rounded when they are put away. A block belongs to one thread, so the number of
/// threads changes nothing.
/// </remarks>
internal static unsafe class CodedStateKernel
{
    /// <summary>Numbers that share a scale.</summary>
    public const int Block = 256;

    private const int BlocksPerPiece = 64;
    private const float Smallest = 1e-38f;      // a block of zeros is divided by it

    /// <param name="rule">The rule, with its numbers for this step.</param>
    /// <param name="parameters">p, updated in place: float or double; block 0 begins here.</param>
    /// <param name="gradients">g.</param>
    /// <param name="state1">First state.</param>
    /// <param name="state2">Second state; none where the rule has one.</param>
    /// <param name="copy">The new parameters once more, rounded to bfloat16; null where not wanted.</param>
    /// <param name="count">Number of elements.</param>
    /// <param name="gradientScale">Every gradient is multiplied by this first.</param>
    public static void Step<TRule, T>(TRule rule, T* parameters, T* gradients, CodedState state1, CodedState state2, BFloat16* copy,
        long count, double gradientScale = 1)
        where TRule : struct, IOptimizerRule where T : unmanaged
    {
        const int piece = BlocksPerPiece * Block;
        ThreadTeam.Run(checked((int)((count + piece - 1) / piece)), new Body<TRule, T>
        {
            Rule = rule,
            Parameters = parameters,
            Gradients = gradients,
            State1 = state1,
            State2 = state2,
            Copy = copy,
            Count = count,
            GradientScale = gradientScale,
        });
    }

    /// <summary>Puts up to a block of numbers away; returns their scale.</summary>
    /// <param name="values">Room for <see cref="Block"/> numbers; those behind <paramref name="count"/> are overwritten.</param>
    /// <param name="codes">Room for as many.</param>
    public static float Encode(float* values, int count, DynamicCode code, byte* codes)
    {
        for (var i = count; i % Lanes.Width != 0; i++)
            values[i] = 0;
        var largest = Vector512<float>.Zero;
        for (var i = 0; i < count; i += Lanes.Width)
            largest = Vector512.Max(largest, Vector512.Abs(Vector512.Load(values + i)));
        return Encode(values, count, largest, code, codes);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Encode(float* values, int count, Vector512<float> largest, DynamicCode code, byte* codes)
    {
        var scale = 0f;
        for (var i = 0; i < Lanes.Width; i++)
            scale = MathF.Max(scale, largest[i]);
        var inverse = 1 / MathF.Max(scale, Smallest);
        for (var i = 0; i < count; i += Lanes.Width)
            code.Encode(Vector512.Load(values + i) * inverse, codes + i);
        return scale;
    }

    private struct Body<TRule, T> : IParallelBody where TRule : struct, IOptimizerRule where T : unmanaged
    {
        public TRule Rule;
        public T* Parameters, Gradients;
        public CodedState State1, State2;
        public BFloat16* Copy;
        public long Count;
        public double GradientScale;

        public readonly void Invoke(int index)
        {
            var first = (long)index * BlocksPerPiece;
            for (var block = first; block < first + BlocksPerPiece && block * Block < Count; block++)
            {
                var count = (int)Math.Min(Block, Count - block * Block);
                if (typeof(T) == typeof(double))
                    Plain(block, count);
                else if (count == Block)
                    Run(block, count, new WholeLanes());
                else
                    Run(block, count, new RaggedLanes(count));
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Run<TLanes>(long block, int count, TLanes lanes) where TLanes : struct, ILanes
        {
            var (from, rule) = (block * Block, Rule);
            var p = Parameters + from;
            var g = Gradients + from;
            var copy = Copy == null ? null : Copy + from;
            float* s1 = stackalloc float[Block], s2 = stackalloc float[Block];
            var (scale1, scale2) = (State1.Scale(block), State2.IsNone ? 0 : State2.Scale(block));
            var codes1 = State1.Of(block);
            var codes2 = State2.IsNone ? null : State2.Of(block);
            Vector512<float> largest1 = default, largest2 = default;
            var factor = Vector512.Create((float)GradientScale);
            for (var i = 0; i < count; i += Lanes.Width)
            {
                var a = State1.Code.Decode(codes1 + i) * scale1;
                var b = codes2 == null ? default : State2.Code.Decode(codes2 + i) * scale2;
                if (typeof(TLanes) == typeof(RaggedLanes))
                {
                    var inside = Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count - i)).AsSingle();
                    (a, b) = (a & inside, b & inside);       // codes behind the end mean nothing
                }
                var next = rule.Update(lanes.Load(p, i), lanes.Load(g, i) * factor, ref a, ref b);
                lanes.Store(p, i, next);
                if (copy != null)
                    lanes.Store(copy, i, next);
                a.Store(s1 + i);
                largest1 = Vector512.Max(largest1, Vector512.Abs(a));
                b.Store(s2 + i);
                largest2 = Vector512.Max(largest2, Vector512.Abs(b));
            }
            State1.Scale(block) = Encode(s1, count, largest1, State1.Code, codes1);
            if (codes2 != null)
                State2.Scale(block) = Encode(s2, count, largest2, State2.Code, codes2);
        }

        /// <summary>The definition, element by element; it serves float64.</summary>
        private readonly void Plain(long block, int count)
        {
            var from = block * Block;
            Span<double> s1 = stackalloc double[count], s2 = stackalloc double[count];
            for (var i = 0; i < count; i++)
            {
                s1[i] = Decoded(State1, block, i);
                s2[i] = State2.IsNone ? 0 : Decoded(State2, block, i);
                var gradient = Lanes.Get(Gradients, from + i) * GradientScale;
                var next = Rule.Update(Lanes.Get(Parameters, from + i), gradient, ref s1[i], ref s2[i]);
                Lanes.Set(Parameters, from + i, next);
                if (Copy != null)
                    Lanes.Set(Copy, from + i, next);
            }
            PutAway(State1, block, s1);
            if (!State2.IsNone)
                PutAway(State2, block, s2);
        }

        private static double Decoded(CodedState state, long block, int i) =>
            (double)state.Code.Values[state.Of(block)[i]] * state.Scale(block);

        private static void PutAway(CodedState state, long block, ReadOnlySpan<double> values)
        {
            var scale = 0f;
            foreach (var value in values)
                scale = MathF.Max(scale, (float)Math.Abs(value));
            for (var i = 0; i < values.Length; i++)
                state.Of(block)[i] = state.Code.Nearest((float)(values[i] / Math.Max(scale, Smallest)));
            state.Scale(block) = scale;
        }
    }
}
