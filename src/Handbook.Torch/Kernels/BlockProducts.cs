namespace Handbook.Torch.Kernels;

/// <summary>Products by the processor's own product of two bfloat16 numbers, which .NET has no name for;
/// native/block_products.h.</summary>
internal static unsafe class BlockProducts
{
    /// <summary>The shim's function: some columns of a product, from one to another one. null where the processor has no such instruction,
    /// or before the library is loaded.</summary>
    internal static delegate* unmanaged<ProductJob*, int, int, void> Native;

    /// <summary>Columns of its tiles.</summary>
    public const int Columns = 48;
}
