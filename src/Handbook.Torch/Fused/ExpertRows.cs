using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>The rows of tokens in the matrices of their experts: <see cref="ExpertKernel"/> on tensors.</summary>
internal static unsafe class ExpertRows
{
    /// <summary>Room for the rows of each expert; null where it has none.</summary>
    public static Tensor?[] Empty(DType dtype, Routing routing, long width) =>
        Array.ConvertAll(routing.Count, count => count == 0 ? null : Tensor.Empty(dtype, Device.Cpu, count, width));

    public static void Gather<T, TReal>(Tensor?[] matrices, Routing routing, Tensor? weights, Tensor rows) where T : unmanaged where TReal : unmanaged
    {
        var pointers = Pointers<T>(matrices);
        fixed (nint* all = pointers)
        fixed (int* expert = routing.Expert, row = routing.Row)
            ExpertKernel.Gather(Places(all, expert, row, routing, rows), weights is null ? null : weights.Pointer<TReal>(), rows.Pointer<T>());
    }

    public static void Scatter<T, TReal>(Tensor?[] matrices, Routing routing, Tensor? weights, Tensor rows) where T : unmanaged where TReal : unmanaged
    {
        var pointers = Pointers<T>(matrices);
        fixed (nint* all = pointers)
        fixed (int* expert = routing.Expert, row = routing.Row)
            ExpertKernel.Scatter(Places(all, expert, row, routing, rows), weights is null ? null : weights.Pointer<TReal>(), rows.Pointer<T>());
    }

    public static void Dots<T, TReal>(Tensor?[] matrices, Routing routing, Tensor rows, Tensor dots) where T : unmanaged where TReal : unmanaged
    {
        var pointers = Pointers<T>(matrices);
        fixed (nint* all = pointers)
        fixed (int* expert = routing.Expert, row = routing.Row)
            ExpertKernel.Dots(Places(all, expert, row, routing, rows), rows.Pointer<T>(), dots.Pointer<TReal>());
    }

    private static nint[] Pointers<T>(Tensor?[] matrices) where T : unmanaged => Array.ConvertAll(matrices, matrix => matrix is null ? 0 : (nint)matrix.Pointer<T>());

    private static ExpertKernel.Places Places(nint* all, int* expert, int* row, Routing routing, Tensor rows) => new()
    {
        Matrices = all,
        Expert = expert,
        Row = row,
        Tokens = routing.Tokens,
        PerToken = routing.PerToken,
        Width = (int)rows.Size(1),
    };
}
