namespace Handbook.Torch.Cuda;

/// <summary>Element types as the text of a kernel names them.</summary>
internal enum CudaScalar
{
    Float32,
    Float64,
    BFloat16,
    Float16,
    Int8,
    UInt8,
    Int32,
    Int64,
    UInt64,
}

/// <summary>The type of a kernel's parameter: a number, or where numbers are.</summary>
internal readonly record struct CudaType(CudaScalar Scalar, bool IsPointer)
{
    /// <summary>The type of numbers of <typeparamref name="T"/>.</summary>
    public static CudaScalar ScalarOf<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? CudaScalar.Float32 : typeof(T) == typeof(double) ? CudaScalar.Float64
        : typeof(T) == typeof(BFloat16) ? CudaScalar.BFloat16 : typeof(T) == typeof(Half) ? CudaScalar.Float16
        : typeof(T) == typeof(sbyte) ? CudaScalar.Int8 : typeof(T) == typeof(byte) ? CudaScalar.UInt8
        : typeof(T) == typeof(int) ? CudaScalar.Int32 : typeof(T) == typeof(long) ? CudaScalar.Int64
        : typeof(T) == typeof(ulong) ? CudaScalar.UInt64
        : throw new NotSupportedException($"kernels know no {typeof(T).Name}");

    /// <summary>Reads a type as it stands before a parameter's name; <c>const</c> and <c>__restrict__</c> mean nothing here.</summary>
    /// <param name="element">What T is.</param>
    public static CudaType Parse(string text, CudaScalar element)
    {
        var words = text.Replace("*", " * ", StringComparison.Ordinal).Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Where(word => word is not ("const" or "__restrict__")).ToArray();
        var isPointer = words is [_, "*"];
        if (words.Length != (isPointer ? 2 : 1))
            throw new FormatException($"'{text}' is neither the name of a type nor that of a pointer");
        return new(words[0] switch
        {
            "T" => element,
            "float" => CudaScalar.Float32,
            "double" => CudaScalar.Float64,
            "bf16" => CudaScalar.BFloat16,
            "f16" => CudaScalar.Float16,
            "i8" => CudaScalar.Int8,
            "u8" => CudaScalar.UInt8,
            "int" => CudaScalar.Int32,
            "i64" => CudaScalar.Int64,
            "u64" => CudaScalar.UInt64,
            _ => throw new FormatException($"'{words[0]}' is no type of common.cuh"),
        }, isPointer);
    }

    public override string ToString() => IsPointer ? $"{Scalar}*" : Scalar.ToString();
}

/// <summary>A parameter of a kernel, as its text declares it.</summary>
internal readonly record struct CudaParameter(CudaType Type, string Name);
