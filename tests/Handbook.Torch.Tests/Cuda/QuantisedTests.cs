using Handbook.Torch.Cuda;
using Handbook.Torch.Kernels;
using Handbook.Torch.Quantised;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>quantised.cu</c> on the CPU against the kernels of the CPU: codes and values are the same to the bit.</summary>
public sealed unsafe class QuantisedTests
{
    private static double[] Bytes(Rows<byte> rows) => [.. rows.Span.ToArray().Select(v => (double)v)];

    [Theory, InlineData(64), InlineData(1000), InlineData(77)]
    public void Four_bits_are_those_of_the_cpu(int count)
    {
        foreach (var book in new[] { CodeBook.Nf4, CodeBook.Fp4 })
        {
            FourBits<float>(count, book);
            FourBits<BFloat16>(count, book);
            FourBits<Half>(count, book);
        }
    }

    private static void FourBits<T>(int count, CodeBook book) where T : unmanaged
    {
        var (blocks, values) = ((count + 63) / 64, Some.Rounded<T>(Some.Normal(1, count)));
        Array.Clear(values, 0, Math.Min(64, count / 2));     // a block of zeros
        using Rows<T> source = new(values);
        using Rows<byte> codes = new((count + 1) / 2);
        using Rows<float> scales = new(blocks);
        QuantiseKernel.FourBits(source.Pointer, count, book, codes.Pointer, scales.Pointer);
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> from = new(values);
            using Rows<byte> to = new((count + 1) / 2);
            using Rows<float> largest = new(blocks);
            fixed (float* middles = book.Middles)
            fixed (byte* order = book.Order)
                Emulated.Run(CudaQuantised.QuantiseFourBits(from.Pointer, count, middles, order, to.Pointer, largest.Pointer));
            return [Bytes(to), largest.ToArray()];
        });
        Assert.Equal(Bytes(codes), actual[0]);
        Assert.Equal(scales.ToArray(), actual[1]);
    }

    [Theory, InlineData(3, 40), InlineData(2, 300)]
    public void Eight_bits_are_those_of_the_cpu(int rows, int columns)
    {
        Int8<float>(rows, columns);
        Int8<BFloat16>(rows, columns);
        Int8<Half>(rows, columns);
    }

    private static void Int8<T>(int rows, int columns) where T : unmanaged
    {
        var values = Some.Rounded<T>(Some.Normal(2, rows * columns, 4));
        Array.Clear(values, 0, columns);
        values[columns + 3] = 70000;        // beyond half precision: its row has the scale ∞
        using Rows<T> source = new(values);
        using Rows<byte> codes = new(rows * columns);
        using Rows<float> scales = new(rows);
        QuantiseKernel.Int8(source.Pointer, rows, columns, (sbyte*)codes.Pointer, scales.Pointer);
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> from = new(values);
            using Rows<byte> to = new(rows * columns);
            using Rows<float> largest = new(rows);
            Emulated.Run(CudaQuantised.QuantiseInt8(from.Pointer, rows, columns, (sbyte*)to.Pointer, largest.Pointer));
            return [Bytes(to), largest.ToArray()];
        }, allBarriers: columns > 100);
        Assert.Equal(scales.ToArray(), actual[1]);
        var finite = (row: 1, skip: columns);           // ∞ · 0 is no number, and no code is right
        Assert.Equal(Bytes(codes)[..columns], actual[0][..columns]);
        Assert.Equal(Bytes(codes)[(finite.row * columns + finite.skip)..], actual[0][(finite.row * columns + finite.skip)..]);
    }

    [Theory]
    [InlineData(5, 64, false, true), InlineData(5, 64, true, true), InlineData(3, 43, false, false), InlineData(3, 43, true, false),
        InlineData(4, 320, true, true)]
    public void Values_and_products_of_four_bits_are_those_of_the_cpu(int outputs, int columns, bool nested, bool nf4)
    {
        Values<float>(outputs, columns, nested, nf4);
        Values<BFloat16>(outputs, columns, nested, nf4);
        Values<Half>(outputs, columns, nested, nf4);
    }

    private static void Values<T>(int outputs, int columns, bool nested, bool nf4) where T : unmanaged
    {
        var (random, blocks) = (new Random(5), (outputs * columns + 63) / 64);
        float[] book = [.. (nf4 ? CodeBook.Nf4 : CodeBook.Fp4).Values, .. CodeBook.Dynamic.Values];
        using Rows<byte> codes = new((outputs * columns + 1) / 2), scaleCodes = new(blocks);
        using Rows<float> scales = new([.. Enumerable.Range(0, blocks).Select(_ => random.NextDouble())]), more = new([0.37]), values = new(book.Length);
        random.NextBytes(codes.Span);
        random.NextBytes(scaleCodes.Span);
        book.CopyTo(values.Span);
        const int row = 1, column = 8;
        var width = columns - column - 3;
        using Rows<float> plain = new(outputs * columns);
        var coded = new CodedValues
        {
            Codes = codes.Pointer,
            Scales = nested ? null : scales.Pointer,
            ScaleCodes = scaleCodes.Pointer,
            NestedScales = more.Pointer,
            Offset = 0.125f,
            Book = values.Pointer,
            Columns = columns,
            BlockSize = 64,
        };
        for (var r = 0; r < outputs; r++)
            coded.ReadPlainly(r, 0, columns, plain.Pointer + r * columns);
        var m = new CudaCodes
        {
            Codes = codes.Pointer,
            Scales = nested ? null : scales.Pointer,
            ScaleCodes = scaleCodes.Pointer,
            NestedScales = more.Pointer,
            Offset = 0.125f,
            Book = values.Pointer,
            Columns = columns,
            BlockSize = 64,
        };
        Product<T>(plain.ToArray(), outputs, columns, (x, bias, y, rows) => CudaQuantised.FourBitProduct(m, (T*)x, bias, (T*)y, rows, outputs));
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> all = new(outputs * columns), some = new((outputs - row) * width);
            Emulated.Run(CudaQuantised.FourBitValues(m, 0, outputs, 0, columns, all.Pointer));
            Emulated.Run(CudaQuantised.FourBitValues(m, row, outputs - row, column, width, some.Pointer));
            return [all.ToArray(), some.ToArray()];
        });
        var expected = Some.Rounded<T>(plain.ToArray());
        Assert.Equal(expected, actual[0]);
        Assert.Equal(Enumerable.Range(row, outputs - row).SelectMany(r => expected[(r * columns + column)..(r * columns + column + width)]),
            actual[1]);
    }

    private delegate CudaLaunch ProductLaunch(nint x, float* bias, nint y, int rows);

    /// <summary>x · Wᵀ + b with W rounded to T, for one row and for as many as fit.</summary>
    private static void Product<T>(double[] values, int outputs, int columns, ProductLaunch launch) where T : unmanaged
    {
        var w = Some.Rounded<T>(values);
        foreach (var rows in new[] { 1, 3, CudaQuantised.MostRows })
        {
            double[] x = Some.Rounded<T>(Some.Normal(6, rows * columns)), bias = Some.Rounded<float>(Some.Normal(7, outputs));
            var actual = Emulated.Everywhere(() =>
            {
                using Rows<T> input = new(x), y = new(rows * outputs), bare = new(rows * outputs);
                using Rows<float> offsets = new(bias);
                Emulated.Run(launch((nint)input.Pointer, offsets.Pointer, (nint)y.Pointer, rows));
                Emulated.Run(launch((nint)input.Pointer, null, (nint)bare.Pointer, rows));
                return [y.ToArray(), bare.ToArray()];
            }, allBarriers: columns % 8 == 0);      // rows of odd lengths read the book from memory
            for (var part = 0; part < 2; part++)
                Some.Close([.. Enumerable.Range(0, rows * outputs).Select(i => (part == 0 ? bias[i % outputs] : 0)
                    + Enumerable.Range(0, columns).Sum(k => x[i / outputs * columns + k] * w[i % outputs * columns + k]))], actual[part],
                    1e-6 * columns, Some.Step<T>());
        }
    }

    [Theory, InlineData(3, 48), InlineData(5, 37)]
    public void Values_and_products_of_int8_are_those_of_the_cpu(int outputs, int columns)
    {
        Int8Values<float>(outputs, columns);
        Int8Values<BFloat16>(outputs, columns);
        Int8Values<Half>(outputs, columns);
    }

    private static void Int8Values<T>(int outputs, int columns) where T : unmanaged
    {
        var random = new Random(5);
        using Rows<byte> codes = new(outputs * columns);
        using Rows<float> scales = new([.. Enumerable.Range(0, outputs).Select(_ => random.NextDouble())]), plain = new(outputs * columns);
        random.NextBytes(codes.Span);
        var coded = new CodedValues { Codes = codes.Pointer, Scales = scales.Pointer, Columns = columns, IsInt8 = true };
        for (var r = 0; r < outputs; r++)
            coded.ReadPlainly(r, 0, columns, plain.Pointer + r * columns);
        var m = new CudaCodes { Codes = codes.Pointer, Scales = scales.Pointer, Columns = columns };
        var bare = new CudaCodes { Codes = codes.Pointer, Scales = null, Columns = columns };
        Product<T>(plain.ToArray(), outputs, columns, (x, bias, y, rows) => CudaQuantised.Int8Product(m, (T*)x, bias, (T*)y, rows, outputs));
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<T> some = new(2 * (columns - 5)), numbers = new(outputs * columns);
            Emulated.Run(CudaQuantised.Int8Values(m, 1, 2, 5, columns - 5, some.Pointer));
            Emulated.Run(CudaQuantised.Int8Values(bare, 0, outputs, 0, columns, numbers.Pointer));
            return [some.ToArray(), numbers.ToArray()];
        });
        var expected = Some.Rounded<T>(plain.ToArray());
        Assert.Equal([.. expected[(columns + 5)..(2 * columns)], .. expected[(2 * columns + 5)..(3 * columns)]], actual[0]);
        Assert.Equal(codes.Span.ToArray().Select(c => (double)(sbyte)c), actual[1]);
    }
}
