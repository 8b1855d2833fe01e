using Handbook.Testing;
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
        foreach (var (column, count) in ((int, int)[])[(0, columns), (columns / 3, columns - columns / 3),
            (columns / 2, (columns + 3) / 4)])
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
        Lazily.Same(values.ToArray<float>(), second.Dense(DType.Float32).ToArray<float>());
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

    [Fact]
    public void Int8_codes_are_those_of_the_formula_in_half_precision_also_of_its_smallest_numbers()
    {
        using var scope = TensorScope.Enter();
        foreach (var scale in (float[])[1, 1e-3f, 1e-5f, 1e-7f, 1e-9f, 3000])
        {
            var values = Array.ConvertAll(Some.Matrix(7, 101).ToArray<float>(), value => value * scale);
            using var coded = QuantisedCodec.Quantise(Some.Format("int8"), Tensor.From(values, 7, 101));
            using var ofHalves = QuantisedCodec.Quantise(Some.Format("int8"), Tensor.From(values, 7, 101).To(DType.Float16));
            var (codes, scales) = (coded.Codes.ToArray<sbyte>(), coded.Scales.ToArray<float>());
            for (var r = 0; r < 7; r++)
            {
                var halves = values.AsSpan(101 * r, 101).ToArray().Select(value => (float)(Half)value).ToArray();
                var largest = halves.Max(MathF.Abs);
                Assert.Equal(largest, scales[r]);
                Assert.Equal(halves.Select(half => (sbyte)(largest == 0 ? 0 : MathF.Round(half * (1 / largest * 127)))),
                    codes.AsSpan(101 * r, 101).ToArray());
            }
            Assert.Equal(codes, ofHalves.Codes.ToArray<sbyte>());
            Lazily.Same(scales, ofHalves.Scales.ToArray<float>());
        }
    }

    [Fact]
    public void Codes_do_not_depend_on_the_number_of_threads()
    {
        using var scope = TensorScope.Enter();
        var matrix = Some.Matrix(1100, 2048);       // more scales than libtorch adds up on one thread
        var threads = TorchRuntime.Threads;
        try
        {
            var made = new List<CodedMatrix>();
            foreach (var count in (int[])[1, 2, 3])
            {
                TorchRuntime.Threads = count;
                made.Add(QuantisedCodec.Quantise(Some.Format("nf4, double"), matrix));
            }
            foreach (var other in made)
            {
                Assert.Equal(made[0].Offset, other.Offset);
                Assert.Equal(made[0].Codes.ToArray<byte>(), other.Codes.ToArray<byte>());
                Assert.Equal(made[0].Scales.ToArray<byte>(), other.Scales.ToArray<byte>());
            }
            made.ForEach(other => other.Dispose());
        }
        finally
        {
            TorchRuntime.Threads = threads;
        }
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

    public static QuantisedMatrix Quantised(string format, Tensor matrix, DType compute = DType.Float32, bool roundsInputs = false) =>
        new([new(QuantisedCodec.Quantise(Format(format), matrix), 0, matrix.Size(0))], compute, roundsInputs);
}
