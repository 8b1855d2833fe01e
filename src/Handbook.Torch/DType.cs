namespace Handbook.Torch;

/// <summary>Element type of a tensor; the values are libtorch's <c>ScalarType</c> codes.</summary>
public enum DType
{
    /// <summary>Integers from 0 to 255.</summary>
    UInt8 = 0,
    /// <summary>Integers of 8 bits.</summary>
    Int8 = 1,
    /// <summary>Integers of 16 bits.</summary>
    Int16 = 2,
    /// <summary>Integers of 32 bits.</summary>
    Int32 = 3,
    /// <summary>Integers of 64 bits, as libtorch wants its indices.</summary>
    Int64 = 4,
    /// <summary>IEEE half precision: 5 exponent bits, 10 fraction bits.</summary>
    Float16 = 5,
    /// <summary>IEEE single precision.</summary>
    Float32 = 6,
    /// <summary>IEEE double precision.</summary>
    Float64 = 7,
    /// <summary>True or false, a byte each.</summary>
    Bool = 11,
    /// <summary>The upper half of a float32: 8 exponent bits, 7 fraction bits.</summary>
    BFloat16 = 15,
    /// <summary>8-bit floats with 5 exponent bits and 2 fraction bits.</summary>
    Float8E5M2 = 23,
    /// <summary>8-bit floats with 4 exponent bits and 3 fraction bits, without infinities (<c>e4m3fn</c>).</summary>
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
