using Apache.Arrow;
using Apache.Arrow.Compression;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using Handbook.Data.Sources;
using ParquetSharp.Arrow;

namespace Handbook.Data.Tests;

/// <summary>One table in every file format of columns: each gives the same rows.</summary>
public sealed class ArrowValuesTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    private static readonly string[] s_rows =
    [
        """{"id":1,"Id":"a","ID":true,"f":0.5,"d":2.0,"list":["x","y"],"turns":[{"role":"user","n":1},{"role":null,"n":null}],"when":"2024-02-03 04:05:06","day":"2024-02-03","price":1.50,"kind":"red"}""",
        """{"id":null,"Id":null,"ID":null,"f":null,"d":null,"list":null,"turns":null,"when":null,"day":null,"price":null,"kind":"blue"}""",
        """{"id":-3,"Id":"é","ID":false,"f":null,"d":null,"list":[],"turns":[],"when":"1969-12-31 23:59:59.5","day":"1969-12-31","price":-0.25,"kind":"red"}""",
    ];

    public static TheoryData<string> Writers() => ["stream", "file", "lz4", "zstd", "parquet"];

    [Theory, MemberData(nameof(Writers))]
    public void Every_type_has_its_form_in_JSON(string writer)
    {
        var path = Write(writer, Table());
        Assert.Equal(s_rows, TextMaker.Read(path).Select(row => row.Value.GetRawText()));
    }

    [Theory, MemberData(nameof(Writers))]
    public void Several_batches_are_read_in_their_order(string writer)
    {
        var numbers = Enumerable.Range(0, 3000).ToArray();
        RecordBatch[] batches = [.. numbers.Chunk(1000)
            .Select(part => new RecordBatch.Builder().Append("n", false, new Int32Array.Builder().AppendRange(part).Build()).Build())];
        var rows = TextMaker.Read(Write(writer, batches));
        Assert.Equal(numbers, rows.Select(row => row.Value.GetProperty("n").GetInt32()));
        Assert.Equal(Enumerable.Range(1, 3000).Select(row => (long)row), rows.Select(row => row.Row));
    }

    [Fact]
    public void A_column_that_is_there_twice_is_refused()
    {
        var batch = new RecordBatch.Builder().Append("a", false, new Int32Array.Builder().Append(1).Build())
            .Append("a", false, new Int32Array.Builder().Append(2).Build()).Build();
        Assert.Contains("has the column \"a\" 2 times",
            Assert.Throws<Base.InputException>(() => TextMaker.Read(Write("stream", batch))).Message);
    }

    private string Write(string writer, params RecordBatch[] batches)
    {
        var path = Path.Combine(_files.Folder, writer == "parquet" ? "t.parquet" : "t.arrow");
        if (writer == "parquet")
        {
            using var parquet = new FileWriter(path, batches[0].Schema);
            foreach (var batch in batches)
                parquet.WriteRecordBatch(batch);
            parquet.Close();
            return path;
        }
        using var file = File.Create(path);
        var options = new IpcOptions
        {
            CompressionCodecFactory = new CompressionCodecFactory(),
            CompressionCodec = writer switch { "lz4" => CompressionCodecType.Lz4Frame, "zstd" => CompressionCodecType.Zstd, _ => null },
        };
        using var arrow = writer == "file" ? new ArrowFileWriter(file, batches[0].Schema, leaveOpen: false, options)
            : new ArrowStreamWriter(file, batches[0].Schema, leaveOpen: false, options);
        arrow.WriteStart();
        foreach (var batch in batches)
            arrow.WriteRecordBatch(batch);
        arrow.WriteEnd();
        return path;
    }

    private static RecordBatch Table()
    {
        var list = new ListArray.Builder(StringType.Default);
        var items = (StringArray.Builder)list.ValueBuilder;
        list.Append();
        items.Append("x").Append("y");
        list.AppendNull();
        list.Append();

        var turn = new StructType([new Field("role", StringType.Default, true), new Field("n", Int64Type.Default, true)]);
        var parts = new StructArray(turn, 2,
            [new StringArray.Builder().Append("user").AppendNull().Build(), new Int64Array.Builder().Append(1).AppendNull().Build()],
                ArrowBuffer.Empty, nullCount: 0);
        var turns = new ListArray(new ListType(new Field("item", turn, true)), 3,
            new ArrowBuffer.Builder<int>().AppendRange([0, 2, 2, 2]).Build(), parts,
                new ArrowBuffer.BitmapBuilder().AppendRange([true, false, true]).Build(), nullCount: 1);

        var when = DateTimeOffset.Parse("2024-02-03T04:05:06Z", System.Globalization.CultureInfo.InvariantCulture);
        var early = DateTimeOffset.Parse("1969-12-31T23:59:59.5Z", System.Globalization.CultureInfo.InvariantCulture);
        return new RecordBatch.Builder()
            .Append("id", true, new Int64Array.Builder().Append(1).AppendNull().Append(-3).Build())
            .Append("Id", true, new StringArray.Builder().Append("a").AppendNull().Append("é").Build())
            .Append("ID", true, new BooleanArray.Builder().Append(true).AppendNull().Append(false).Build())
            .Append("f", true, new FloatArray.Builder().Append(0.5f).AppendNull().Append(float.NaN).Build())
            .Append("d", true, new DoubleArray.Builder().Append(2).AppendNull().Append(double.NegativeInfinity).Build())
            .Append("list", true, list.Build())
            .Append("turns", true, turns)
            .Append("when", true,
                new TimestampArray.Builder(new TimestampType(TimeUnit.Microsecond, "UTC")).Append(when).AppendNull().Append(early).Build())
            .Append("day", true, new Date32Array.Builder().Append(when.Date).AppendNull().Append(early.Date).Build())
            .Append("price", true, new Decimal128Array.Builder(new Decimal128Type(10, 2)).Append(1.5m).AppendNull().Append(-0.25m).Build())
            .Append("kind", true, new DictionaryArray(new DictionaryType(Int32Type.Default, StringType.Default, false),
                new Int32Array.Builder().AppendRange([1, 0, 1]).Build(), new StringArray.Builder().Append("blue").Append("red").Build()))
            .Build();
    }
}
