using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Handbook.Torch.Fused;

namespace Handbook.Torch.Kernels;

/// <summary>Activation of a row, or the gated form: activation of one half times the other half. Shazeer 2020, arXiv:2002.05202.</summary>
/// <remarks>
/// <code>
/// y = a(x)             dx = dy·a'(x)
/// y = a(g) ⊙ u         dg = dy ⊙ u ⊙ a'(g);   du = dy ⊙ a(g)
/// </code>
/// Gate and up may be limited first (<see cref="GateForm"/>): what is beyond has no gradient.
/// T is float, BFloat16 or double. The gate and up halves may lie side by side in one [N, 2F] buffer or apart.
/// </remarks>
internal static unsafe class ActivationKernel
{
    /// <param name="activation">a.</param>
    /// <param name="form">What is done to g and u before.</param>
    /// <param name="gate">g (or x), [N, F], rows <paramref name="inputStride"/> elements apart.</param>
    /// <param name="up">u, the same shape and stride; null for the plain form.</param>
    /// <param name="inputStride">Elements from row to row of gate and up.</param>
    /// <param name="output">y, [N, F], rows <paramref name="outputStride"/> apart; may be <paramref name="gate"/> where the strides
    /// agree.</param>
    /// <param name="outputStride">Elements from row to row of the output.</param>
    /// <param name="rows">N.</param>
    /// <param name="width">F.</param>
    public static void Forward<T>(Activation activation, GateForm form, T* gate, T* up, long inputStride, T* output, long outputStride, int rows,
        int width) where T : unmanaged =>
        Run(activation, new Rows<T>
        {
            Limit = form.Limit,
            Offset = form.UpOffset,
            Gate = gate,
            Up = up,
            InputStride = inputStride,
            Output = output,
            OutputStride = outputStride,
            Count = rows,
            Width = width,
        });

    /// <param name="activation">a.</param>
    /// <param name="form">What is done to g and u before.</param>
    /// <param name="outputGradient">dy, [N, F], rows <paramref name="outputStride"/> apart.</param>
    /// <param name="outputStride">Elements from row to row of dy.</param>
    /// <param name="gate">g (or x) as in the forward pass.</param>
    /// <param name="up">u as in the forward pass; null for the plain form.</param>
    /// <param name="inputStride">Elements from row to row of gate and up.</param>
    /// <param name="gateGradient">dg (or dx) goes here; may be <paramref name="gate"/> itself.</param>
    /// <param name="upGradient">du goes here; may be <paramref name="up"/> itself; null for the plain form.</param>
    /// <param name="gradientStride">Elements from row to row of dg and du.</param>
    /// <param name="rows">N.</param>
    /// <param name="width">F.</param>
    public static void Backward<T>(
        Activation activation, GateForm form, T* outputGradient, long outputStride, T* gate, T* up, long inputStride, T* gateGradient, T* upGradient,
            long gradientStride,
        int rows, int width) where T : unmanaged =>
        Run(activation, new Rows<T>
        {
            Limit = form.Limit,
            Offset = form.UpOffset,
            OutputGradient = outputGradient,
            OutputStride = outputStride,
            Gate = gate,
            Up = up,
            InputStride = inputStride,
            GateGradient = gateGradient,
            UpGradient = upGradient,
            GradientStride = gradientStride,
            Count = rows,
            Width = width,
        });

    private static void Run<T>(Activation activation, Rows<T> rows) where T : unmanaged
    {
        rows.PerPiece = RowPieces.PerPiece(rows.Width);
        var pieces = (rows.Count + rows.PerPiece - 1) / rows.PerPiece;
        switch (activation)
        {
            case Activation.Silu: ThreadTeam.Run(pieces, new Body<Silu, T> { Rows = rows }); break;
            case Activation.Gelu: ThreadTeam.Run(pieces, new Body<Gelu, T> { Rows = rows }); break;
            case Activation.GeluTanh: ThreadTeam.Run(pieces, new Body<GeluTanh, T> { Rows = rows }); break;
            case Activation.QuickGelu: ThreadTeam.Run(pieces, new Body<QuickGelu, T> { Rows = rows }); break;
            case Activation.Relu: ThreadTeam.Run(pieces, new Body<Relu, T> { Rows = rows }); break;
            case Activation.ReluSquared: ThreadTeam.Run(pieces, new Body<ReluSquared, T> { Rows = rows }); break;
            case Activation.Tanh: ThreadTeam.Run(pieces, new Body<HyperbolicTangent, T> { Rows = rows }); break;
            default: throw new ArgumentOutOfRangeException(nameof(activation), activation, "not an activation");
        }
    }

    private struct Rows<T> where T : unmanaged
    {
        public T* Gate, Up, Output, OutputGradient, GateGradient, UpGradient;
        public long InputStride, OutputStride, GradientStride;
        public int Count, Width, PerPiece;
        public double Limit, Offset;
    }

    private struct Body<TActivation, T> : IParallelBody where TActivation : IActivation where T : unmanaged
    {
        public Rows<T> Rows;

        public readonly void Invoke(int index)
        {
            if (Rows.Width % Lanes.Width == 0)
                Piece(index, new WholeLanes());
            else
                Piece(index, new RaggedLanes(Rows.Width));
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Piece<TLanes>(int index, TLanes lanes) where TLanes : struct, ILanes
        {
            var end = Math.Min(Rows.Count, (index + 1) * Rows.PerPiece);
            for (var i = index * Rows.PerPiece; i < end; i++)
            {
                var gate = Rows.Gate + i * Rows.InputStride;
                var up = Rows.Up == null ? null : Rows.Up + i * Rows.InputStride;
                if (Rows.Output != null)
                    Forward(lanes, gate, up, Rows.Output + i * Rows.OutputStride);
                else
                {
                    var upGradient = Rows.UpGradient == null ? null : Rows.UpGradient + i * Rows.GradientStride;
                    Backward(lanes, Rows.OutputGradient + i * Rows.OutputStride, gate, up, Rows.GateGradient + i * Rows.GradientStride,
                        upGradient);
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly Vector512<float> Gate(Vector512<float> g) =>
            Rows.Limit > 0 ? Vector512.Min(g, Vector512.Create((float)Rows.Limit)) : g;

        private readonly double Gate(double g) => Rows.Limit > 0 ? Math.Min(g, Rows.Limit) : g;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private readonly Vector512<float> Up(Vector512<float> u) =>
            (Rows.Limit > 0 ? Vector512.Min(Vector512.Max(u, Vector512.Create(-(float)Rows.Limit)), Vector512.Create((float)Rows.Limit)) : u)
                + Vector512.Create((float)Rows.Offset);

        private readonly double Up(double u) => (Rows.Limit > 0 ? Math.Clamp(u, -Rows.Limit, Rows.Limit) : u) + Rows.Offset;

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Forward<TLanes>(TLanes lanes, T* gate, T* up, T* output) where TLanes : struct, ILanes
        {
            var width = Rows.Width;
            if (typeof(T) == typeof(double))
            {
                for (var i = 0; i < width; i++)
                    Lanes.Set(output, i, TActivation.Value(Gate(Lanes.Get(gate, i)), out _) * (up == null ? 1 : Up(Lanes.Get(up, i))));
                return;
            }
            for (var i = 0; i < width; i += 16)
            {
                var value = TActivation.Value(Gate(lanes.Load(gate, i)));
                if (up != null)
                    value *= Up(lanes.Load(up, i));
                lanes.Store(output, i, value);
            }
        }

        [MethodImpl(MethodImplOptions.NoInlining)]
        private readonly void Backward<TLanes>(TLanes lanes, T* outputGradient, T* gate, T* up, T* gateGradient, T* upGradient) where TLanes
            : struct, ILanes
        {
            var width = Rows.Width;
            if (typeof(T) == typeof(double))
            {
                for (var i = 0; i < width; i++)
                {
                    var dy = Lanes.Get(outputGradient, i);
                    double g = Lanes.Get(gate, i), u = up == null ? 1 : Lanes.Get(up, i);
                    var value = TActivation.Value(Gate(g), out var slope);
                    Lanes.Set(gateGradient, i, Rows.Limit > 0 && g > Rows.Limit ? 0 : dy * slope * (up == null ? 1 : Up(u)));
                    if (up != null)
                        Lanes.Set(upGradient, i, Rows.Limit > 0 && Math.Abs(u) > Rows.Limit ? 0 : dy * value);
                }
                return;
            }
            for (var i = 0; i < width; i += 16)
            {
                var dy = lanes.Load(outputGradient, i);
                var g = lanes.Load(gate, i);
                var value = TActivation.Value(Gate(g), out var slope);
                if (Rows.Limit > 0)
                    slope = Vector512.ConditionalSelect(Vector512.GreaterThan(g, Vector512.Create((float)Rows.Limit)), Vector512<float>.Zero, slope);
                if (up == null)
                {
                    lanes.Store(gateGradient, i, dy * slope);
                    continue;
                }
                var u = lanes.Load(up, i);
                lanes.Store(gateGradient, i, dy * Up(u) * slope);
                if (Rows.Limit > 0)
                    value = Vector512.ConditionalSelect(Vector512.GreaterThan(Vector512.Abs(u), Vector512.Create((float)Rows.Limit)),
                        Vector512<float>.Zero, value);
                lanes.Store(upGradient, i, dy * value);
            }
        }
    }
}
