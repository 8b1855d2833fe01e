using System.Runtime.InteropServices;

namespace Handbook.Torch.Kernels;

/// <summary>y = x · Wᵀ + b in bfloat16 by the processor's own product of two such numbers, which .NET has no name for;
/// native/row_products.h.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct RowProducts : IParallelBody
{
    /// <summary>The shim's function; null where the processor has no such instruction, or before the library is loaded.</summary>
    internal static delegate* unmanaged<RowProducts*, int, int, void> Native;

    public BFloat16* X;
    public long XStride;
    public BFloat16* Weight, Bias;
    public void* Y;
    public int Rows, Inputs, Outputs;

    /// <summary>Whether y is float32; else it is bfloat16.</summary>
    public int Wide;

    /// <summary>Outputs of one piece of work; the shim does not look at it.</summary>
    public int PieceRows;

    public void Invoke(int index)
    {
        var first = index * PieceRows;
        fixed (RowProducts* job = &this)
            Native(job, first, Math.Min(PieceRows, Outputs - first));
    }
}
