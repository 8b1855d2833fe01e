namespace Handbook.Torch;

/// <summary>Element type of a tensor; the values are libtorch's <c>ScalarType</c> codes.</summary>
public enum DType
{
    UInt8 = 0,
    Int8 = 1,
    Int16 = 2,
    Int32 = 3,
    Int64 = 4,
    Float16 = 5,
    Float32 = 6,
    Float64 = 7,
    Bool = 11,
    BFloat16 = 15,
    Float8E5M2 = 23,
    Float8E4M3 = 24,
}

/// <summary>What is known of an element type without asking libtorch.</summary>
public static class DTypes
{
    extension(DType dtype)
    {
        /// <summary>Bytes of one element.</summary>
        public int Size => dtype switch
        {
            DType.UInt8 or DType.Int8 or DType.Bool or DType.Float8E5M2 or DType.Float8E4M3 => 1,
            DType.Int16 or DType.Float16 or DType.BFloat16 => 2,
            DType.Int32 or DType.Float32 => 4,
            DType.Int64 or DType.Float64 => 8,
            _ => throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "not an element type"),
        };

        /// <summary>Whether it is a floating-point type.</summary>
        public bool IsFloat =>
            dtype is DType.Float16 or DType.BFloat16 or DType.Float32 or DType.Float64 or DType.Float8E5M2 or DType.Float8E4M3;
    }
}
