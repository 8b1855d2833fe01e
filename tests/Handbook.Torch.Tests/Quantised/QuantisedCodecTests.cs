using Handbook.Torch.Kernels;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Tests.Quantised;

/// <summary>Codes and their values: the vector code against the formula, and laws that hold for any matrix.</summary>
public sealed unsafe class QuantisedCodecTests
{
    /// <summary>Blocks of 64 begin inside rows, at odd places too, and the last one is short.</summary>
    public static TheoryData<string, int, int> Cases()
    {
        var data = new TheoryData<string, int, int>();
        foreach (var format in (string[])["nf4", "fp4", "nf4, double", "fp4, double", "int8"])
            foreach (var (rows, columns) in ((int, int)[])[(1, 1), (3, 7), (5, 64), (9, 96), (4, 131), (300, 80), (33, 600)])
                data.Add(format, rows, columns);
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Values_are_those_of_the_formula_wherever_a_part_begins(string format, int rows, int columns)
    {
        using var scope = TensorScope.Enter();
        using var matrix = QuantisedCodec.Quantise(Some.Format(format), Some.Matrix(rows, columns));
        foreach (var (column, count) in ((int, int)[])[(0, columns), (columns / 3, columns - columns / 3), (columns / 2, (columns + 3) / 4)])
        {
            Compare<float>(column, count);
            Compare<BFloat16>(column, count);
            Compare<double>(column, count);
        }

        void Compare<T>(int column, int count) where T : unmanaged
        {
            T[] expected = new T[count], actual = new T[count];
            for (var row = 0; row < rows; row++)
                fixed (T* plain = expected, read = actual)
                {
                    matrix.Values.ReadPlainly(row, column, count, plain);
                    matrix.Values.Read(row, column, count, read);
                    Assert.Equal(expected, actual);
                }
        }
    }

    [Theory, InlineData("nf4"), InlineData("fp4")]
    public void Codes_are_those_of_the_formula(string format)
    {
        using var scope = TensorScope.Enter();
        var book = format == "nf4" ? CodeBook.Nf4 : CodeBook.Fp4;
        foreach (var count in (int[])[1, 63, 64, 65, 1000, 70000])
        {
            var values = Some.Matrix(1, count).ToArray<float>();
            values.AsSpan(0, Math.Min(count, 64)).Clear();
            float[] scales = new float[(count + 63) / 64], plainScales = new float[scales.Length];
            byte[] codes = new byte[(count + 1) / 2], plain = new byte[codes.Length];
            fixed (float* source = values, scale = scales, plainScale = plainScales)
            fixed (byte* code = codes, plainCode = plain)
            {
                QuantiseKernel.FourBits(source, count, book, code, scale);
                QuantiseKernel.FourBitsPlainly(source, count, book, plainCode, plainScale);
            }
            Assert.Equal(plainScales, scales);
            Assert.Equal(plain, codes);
        }
    }

    [Theory, MemberData(nameof(Cases))]
    public void Values_of_codes_become_the_same_codes_again(string format, int rows, int columns)
    {
        if (format == "int8" || format.EndsWith("double", StringComparison.Ordinal))
            return;             // their scales are rounded: a value may lie on the other side of a middle
        using var scope = TensorScope.Enter();
        using var first = Some.Quantised(format, Some.Matrix(rows, columns));
        var values = first.Dense(DType.Float32);
        using var second = Some.Quantised(format, values);
        Assert.Equal(values.ToArray<float>(), second.Dense(DType.Float32).ToArray<float>());
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_value_is_off_by_at_most_half_the_widest_gap_between_codes(string format, int rows, int columns)
    {
        using var scope = TensorScope.Enter();
        var matrix = Some.Matrix(rows, columns);
        using var coded = Some.Quantised(format, matrix);
        var (expected, actual) = (matrix.ToArray<float>(), coded.Dense(DType.Float32).ToArray<float>());
        // fp4 has the widest gap, 1/3; scales that are codes themselves are off by a few per cent more.
        var largest = expected.Max(MathF.Abs);
        var bound = largest * (format.StartsWith("int8", StringComparison.Ordinal) ? 0.6f / 127 : 0.17f + (format.Length > 4 ? 0.1f : 0));
        for (var i = 0; i < expected.Length; i++)
            Assert.InRange(actual[i], expected[i] - bound, expected[i] + bound);
    }

    [Theory]
    [InlineData("nf4", 0.5625), InlineData("nf4, double", 0.5159), InlineData("int8", 1.0020)]
    public void A_weight_takes_the_bytes_that_the_format_says(string format, double perWeight)
    {
        using var scope = TensorScope.Enter();
        using var coded = Some.Quantised(format, Some.Matrix(512, 2048));
        Assert.Equal(Some.Format(format).Bytes(512, 2048), coded.Bytes);
        Assert.Equal(perWeight, coded.Bytes / (512.0 * 2048), 4);
    }
}

internal static class Some
{
    public static QuantisedFormat Format(string text) => new(
        text.StartsWith("nf4", StringComparison.Ordinal) ? QuantisedKind.Nf4
        : text.StartsWith("fp4", StringComparison.Ordinal) ? QuantisedKind.Fp4 : QuantisedKind.Int8,
        text.EndsWith("double", StringComparison.Ordinal));

    public static Tensor Matrix(int rows, int columns, int seed = 1) =>
        Tensor.From(Array.ConvertAll(Kernels.Some.Normal(seed, rows * columns), value => (float)value), rows, columns);

    public static QuantisedMatrix Quantised(string format, Tensor matrix, DType compute = DType.Float32) =>
        new([new(QuantisedCodec.Quantise(Format(format), matrix), 0, matrix.Size(0))], compute);
}
