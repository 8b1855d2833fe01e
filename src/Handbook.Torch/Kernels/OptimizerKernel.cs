using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>One step of an optimizer that treats every element alike.</summary>
internal interface IOptimizerRule
{
    /// <summary>New parameter from parameter and gradient; a and b are the element's state (a rule with fewer states leaves them
    /// alone).</summary>
    Vector512<float> Update(Vector512<float> p, Vector512<float> g, ref Vector512<float> a, ref Vector512<float> b);

    /// <summary>The same for one float64.</summary>
    double Update(double p, double g, ref double a, ref double b);

    /// <summary>The rule as a kernel of another device takes it.</summary>
    RuleNumbers Numbers { get; }
}

/// <summary>Rules by the numbers that <c>optimizers.cu</c> has for them.</summary>
internal enum RuleKind
{
    Adam,
    Sgd,
    RmsProp,
    Adagrad,
    Lion,
    ScheduleFree,
}

/// <summary>A rule and its factors of one step, in the order in which its kernel has them.</summary>
internal readonly record struct RuleNumbers(RuleKind Rule, float A, float B = 0, float C = 0, float D = 0, float E = 0, float F = 0,
    float G = 0, float H = 0);

/// <summary>Applies a rule to a flat bucket of parameters in one pass over memory.</summary>
/// <remarks>
/// Everything is computed in float32 (float64 for double) and rounded once when it is stored, as torch's fused optimizers do. The state has
/// the parameters' type, as in torch.
/// </remarks>
internal static unsafe class OptimizerKernel
{
    private const int Piece = 16384;

    /// <param name="rule">The rule, with its numbers for this step.</param>
    /// <param name="parameters">p, updated in place: float, BFloat16 or double.</param>
    /// <param name="gradients">g.</param>
    /// <param name="state1">First state; null where the rule has none.</param>
    /// <param name="state2">Second state; null where the rule has none.</param>
    /// <param name="copy">The new parameters once more, rounded to bfloat16, for mixed precision; null where not wanted.</param>
    /// <param name="count">Number of elements.</param>
    /// <param name="gradientScale">Every gradient is multiplied by this first: clipping factor over normaliser.</param>
    public static void Step<TRule, T, TGradient>(TRule rule, T* parameters, TGradient* gradients, T* state1, T* state2, BFloat16* copy,
        long count, double gradientScale = 1)
        where TRule : struct, IOptimizerRule where T : unmanaged where TGradient : unmanaged =>
        ThreadTeam.Run(checked((int)((count + Piece - 1) / Piece)), new Body<TRule, T, TGradient>
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

    private struct Body<TRule, T, TGradient> : IParallelBody where TRule : struct,
        IOptimizerRule where T : unmanaged where TGradient : unmanaged
    {
        public TRule Rule;
        public T* Parameters, State1, State2;
        public TGradient* Gradients;
        public BFloat16* Copy;
        public long Count;
        public double GradientScale;

        public readonly void Invoke(int index)
        {
            var count = (int)Math.Min(Piece, Count - (long)index * Piece);
            if (count % Lanes.Width == 0)
                Run(index, count, new WholeLanes());
            else
                Run(index, count, new RaggedLanes(count));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Run<TLanes>(int index, int count, TLanes lanes) where TLanes : struct, ILanes
        {
            var from = (long)index * Piece;
            var rule = Rule;
            var p = Parameters + from;
            var g = Gradients + from;
            var s1 = State1 == null ? null : State1 + from;
            var s2 = State2 == null ? null : State2 + from;
            var copy = Copy == null ? null : Copy + from;
            if (typeof(T) == typeof(double))
            {
                for (var i = 0; i < count; i++)
                {
                    double a = s1 == null ? 0 : Lanes.Get(s1, i), b = s2 == null ? 0 : Lanes.Get(s2, i);
                    var next = rule.Update(Lanes.Get(p, i), Lanes.Get(g, i) * GradientScale, ref a, ref b);
                    Lanes.Set(p, i, next);
                    if (s1 != null)
                        Lanes.Set(s1, i, a);
                    if (s2 != null)
                        Lanes.Set(s2, i, b);
                    if (copy != null)
                        Lanes.Set(copy, i, next);
                }
                return;
            }
            var scale = Vector512.Create((float)GradientScale);
            for (var i = 0; i < count; i += 16)
            {
                var a = s1 == null ? default : lanes.Load(s1, i);
                var b = s2 == null ? default : lanes.Load(s2, i);
                var next = rule.Update(lanes.Load(p, i), lanes.Load(g, i) * scale, ref a, ref b);
                lanes.Store(p, i, next);
                if (s1 != null)
                    lanes.Store(s1, i, a);
                if (s2 != null)
                    lanes.Store(s2, i, b);
                if (copy != null)
                    lanes.Store(copy, i, next);
            }
        }
    }
}
