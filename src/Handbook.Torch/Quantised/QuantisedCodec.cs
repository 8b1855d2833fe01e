using Handbook.Torch.Kernels;

namespace Handbook.Torch.Quantised;

/// <summary>Turns matrices into codes as bitsandbytes does, on all threads.</summary>
internal static unsafe class QuantisedCodec
{
    /// <summary>Elements that libtorch adds up on one thread.</summary>
    private const int OrderedCount = 32768;

    /// <param name="matrix">[out, in], contiguous on the CPU: float32, bfloat16 or float16.</param>
    /// <returns>The caller's, who disposes it.</returns>
    public static CodedMatrix Quantise(QuantisedFormat format, Tensor matrix)
    {
        var (rows, columns) = (matrix.Size(0), matrix.Size(1));
        using var scope = TensorScope.Enter();
        if (format.Kind == QuantisedKind.Int8)
        {
            var (codes, scales) = (Tensor.Empty(DType.Int8, Device.Cpu, rows, columns), Tensor.Empty(DType.Float32, Device.Cpu, rows));
            var to = codes.Pointer<sbyte>();
            var scale = scales.Pointer<float>();
            switch (matrix.DType)
            {
                case DType.BFloat16: QuantiseKernel.Int8(matrix.Pointer<BFloat16>(), rows, columns, to, scale); break;
                case DType.Float16: QuantiseKernel.Int8(matrix.Pointer<Half>(), rows, columns, to, scale); break;
                default: QuantiseKernel.Int8(matrix.Pointer<float>(), rows, columns, to, scale); break;
            }
            return new(format, rows, columns, codes, scales);
        }
        var blocks = (matrix.Count + QuantisedFormat.BlockSize - 1) / QuantisedFormat.BlockSize;
        var packed = Tensor.Empty(DType.UInt8, Device.Cpu, (matrix.Count + 1) / 2);
        var largest = Tensor.Empty(DType.Float32, Device.Cpu, blocks);
        FourBits(format, matrix, packed.Pointer<byte>(), largest.Pointer<float>());
        if (!format.Double)
            return new(format, rows, columns, packed, largest);
        var (scaleCodes, nested, offset) = Nested(largest);
        return new(format, rows, columns, packed, scaleCodes, nested, offset);
    }

    private static void FourBits(QuantisedFormat format, Tensor matrix, byte* codes, float* scales)
    {
        var book = format.Kind == QuantisedKind.Fp4 ? CodeBook.Fp4 : CodeBook.Nf4;
        switch (matrix.DType)
        {
            case DType.BFloat16: QuantiseKernel.FourBits(matrix.Pointer<BFloat16>(), matrix.Count, book, codes, scales); break;
            case DType.Float16: QuantiseKernel.FourBits(matrix.Pointer<Half>(), matrix.Count, book, codes, scales); break;
            default: QuantiseKernel.FourBits(matrix.Pointer<float>(), matrix.Count, book, codes, scales); break;
        }
    }

    /// <summary>By libtorch, whose order of additions the reference has; in float64 where that order hangs on the number of threads, as it
    /// does in the reference.</summary>
    private static float Mean(Tensor scales)
    {
        if (scales.Count <= OrderedCount)
            return (float)scales.Mean().ToScalar();
        var sum = 0.0;
        foreach (var scale in scales.AsSpan<float>())
            sum += scale;
        return (float)(sum / scales.Count);
    }

    /// <summary>The scales less their mean, as codes of eight bits with a scale for each 256 of them.</summary>
    private static (Tensor Codes, Tensor Nested, float Offset) Nested(Tensor scales)
    {
        var offset = Mean(scales);
        var values = scales.AsSpan<float>();
        var codes = new byte[values.Length];
        var nested = new float[(values.Length + QuantisedFormat.NestedBlockSize - 1) / QuantisedFormat.NestedBlockSize];
        for (var block = 0; block < nested.Length; block++)
        {
            var first = block * QuantisedFormat.NestedBlockSize;
            var last = Math.Min(values.Length, first + QuantisedFormat.NestedBlockSize);
            for (var i = first; i < last; i++)
                nested[block] = MathF.Max(nested[block], MathF.Abs(values[i] - offset));
            var factor = nested[block] == 0 ? 0 : 1 / nested[block];
            for (var i = first; i < last; i++)
                codes[i] = CodeBook.Dynamic.Nearest((values[i] - offset) * factor);
        }
        return (Tensor.From(codes), Tensor.From(nested), offset);
    }
}
