using System.Runtime.InteropServices;

namespace Handbook.Torch.Kernels;

/// <summary>result (+)= left · right (+ bias): where the matrices lie. Strides count elements; native/block_products.h has the same
/// fields.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct ProductJob
{
    /// <summary>[rows, terms].</summary>
    public void* Left;

    public nint LeftRow, LeftTerm;

    /// <summary>[terms, columns].</summary>
    public void* Right;

    public nint RightTerm, RightColumn;

    /// <summary>Added to every row; [columns], null for none.</summary>
    public float* Bias;

    /// <summary>[rows, columns], its rows without gaps.</summary>
    public void* Result;

    public nint ResultRow;

    public int Rows, Terms, Columns;

    private int _isWide, _adds;

    /// <summary>Whether the result is float32; else it is bfloat16.</summary>
    public bool IsWide
    {
        readonly get => _isWide != 0;
        set => _isWide = value ? 1 : 0;
    }

    /// <summary>Whether the sums are added to what stands there, which is float32.</summary>
    public bool Add
    {
        readonly get => _adds != 0;
        set => _adds = value ? 1 : 0;
    }

    /// <summary>left · right into float32.</summary>
    public static ProductJob Of<TLeft, TRight>(Tensor left, Tensor right, float* result, nint resultRow, bool add) where TLeft : unmanaged
        where TRight : unmanaged => new()
        {
            Left = left.Pointer<TLeft>(),
            LeftRow = (nint)left.Stride(0),
            LeftTerm = (nint)left.Stride(1),
            Right = right.Pointer<TRight>(),
            RightTerm = (nint)right.Stride(0),
            RightColumn = (nint)right.Stride(1),
            Result = result,
            ResultRow = resultRow,
            Rows = (int)left.Size(0),
            Terms = (int)left.Size(1),
            Columns = (int)right.Size(1),
            IsWide = true,
            Add = add,
        };
}
