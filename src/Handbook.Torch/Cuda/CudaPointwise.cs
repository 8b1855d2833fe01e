using Handbook.Torch.Fused;

namespace Handbook.Torch.Cuda;

/// <summary>Launches of <c>pointwise.cu</c>: activations, rotation, dropout, conversions.</summary>
/// <remarks>What the parameters mean is said at the kernels of the CPU: <see cref="Kernels.ActivationKernel"/>,
/// <see cref="Kernels.RopeKernel"/>, <see cref="Kernels.DropoutKernel"/>, <see cref="Kernels.ElementwiseKernel"/>.</remarks>
internal static unsafe class CudaPointwise
{
    private const string Program = "pointwise";
    private const int Threads = 256, PerThread = 8, PairsPerThread = 4;

    public static CudaLaunch ActivationForward<T>(Activation activation, GateForm form, T* gate, T* up, long inputStride, T* output,
        long outputStride, long rows, int width) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "activation_forward", OverRows(rows, width), Threads,
            [(int)activation, CudaArgument.At(gate), CudaArgument.At(up), CudaArgument.At(output), rows, width, inputStride, outputStride,
                (float)form.Limit, (float)form.UpOffset]);

    public static CudaLaunch ActivationBackward<T>(Activation activation, GateForm form, T* dy, long dyStride, T* gate, T* up,
        long inputStride, T* gateGradient, T* upGradient, long gradientStride, long rows, int width) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "activation_backward", OverRows(rows, width), Threads,
            [(int)activation, CudaArgument.At(dy), CudaArgument.At(gate), CudaArgument.At(up), CudaArgument.At(gateGradient),
                CudaArgument.At(upGradient), rows, width, dyStride, inputStride, gradientStride, (float)form.Limit, (float)form.UpOffset]);

    /// <param name="rotary">R, even.</param>
    public static CudaLaunch Rotate<T>(T* data, long rowStride, long rows, int heads, int headSize, int rotary, float* cos, float* sin,
        int* positions, bool backward, bool interleaved) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "rotate",
            new(CudaGrid.Blocks(checked(rows * heads * CudaGrid.Blocks(rotary / 2, PairsPerThread)), Threads)), Threads,
            [CudaArgument.At(data), cos, sin, positions, rows, rowStride, heads, headSize, rotary / 2, interleaved ? 1 : 0, backward ? -1f : 1f]);

    public static CudaLaunch Dropout<T>(T* x, long* keys, T* y, long rows, int width, double rate, bool add) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "dropout", OverRows(rows, width), Threads,
            [CudaArgument.At(x), keys, CudaArgument.At(y), rows, width, (long)(uint)Math.Round(rate * 4294967296.0), (float)(1 / (1 - rate)),
                add ? 1 : 0]);

    /// <summary>target = source, or target += source.</summary>
    public static CudaLaunch Accumulate<T>(T* source, float* target, long count, bool add) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "accumulate", Over(count), Threads, [CudaArgument.At(source), target, count, add ? 1 : 0]);

    /// <summary>target = source, rounded to the nearest.</summary>
    public static CudaLaunch Narrow<T>(float* source, T* target, long count) where T : unmanaged =>
        new(CudaProgram.Of<T>(Program), "narrow", Over(count), Threads, [source, CudaArgument.At(target), count]);

    public static CudaLaunch RoundToBFloat16(float* data, long count) =>
        new(CudaProgram.Of<float>(Program), "round_to_bf16", Over(count), Threads, [data, count]);

    private static CudaGrid Over(long count) => new(CudaGrid.Blocks(count, Threads * PerThread));

    private static CudaGrid OverRows(long rows, int width) => new(CudaGrid.Blocks(checked(rows * CudaGrid.Blocks(width, PerThread)), Threads));
}
