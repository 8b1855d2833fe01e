using Handbook.Base;
using Handbook.Data.Sources;

namespace Handbook.Data.Tests;

/// <summary>JSON is told by its first lines, not by the name of its file; what Python writes into it is read.</summary>
public sealed class JsonFormsTests : IDisposable
{
    private readonly TextMaker _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("[\n{\"text\": \"a\"},\n{\"text\": \"b\"}\n]\n")]
    [InlineData("[{\"text\": \"a\"}, {\"text\": \"b\"}]")]
    [InlineData("{\"text\": \"a\"}\n{\"text\": \"b\"}\n")]
    [InlineData("{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b\"\n}\n")]
    [InlineData("{\n  \"data\": [\n    {\"text\": \"a\"},\n    {\"text\": \"b\"}\n  ]\n}\n")]
    [InlineData("[{\"text\": \"a\"}]\n[\n{\"text\": \"b\"}]\n")]
    public void Every_form_is_read_under_either_name(string json)
    {
        foreach (var name in (string[])["t.json", "t.jsonl"])
            Assert.Equal(["a", "b"], TextMaker.Read(_files.Write(name, json)).Select(row => row.Value.GetProperty("text").GetString()));
    }

    [Theory]
    [InlineData("{\"text\": \"a\", \n{\"text\": \"b\"}\n", 2)]
    [InlineData("{\"text\": nope}\n{\"text\": \"b\"}\n", 2)]
    [InlineData("[1, 2]\n[3]\n", 2)]
    [InlineData("{\"text\": \"a", 1)]
    public void A_first_line_that_is_broken_costs_only_itself_in_JSONL(string json, int rows)
    {
        var read = TextMaker.Read(_files.Write("t.jsonl", json));
        Assert.Equal(rows, read.Count);
        Assert.NotNull(read[0].Problem);
        Assert.Equal(1, read[0].Line);
    }

    [Theory]
    [InlineData("{\"text\": \"NaN -Infinity\", \"x\": NaN, \"y\": [-Infinity, 1, Infinity], \"z\": -1}\n{\"text\": \"b\"}\n")]
    [InlineData("[{\"text\": \"NaN -Infinity\", \"x\":NaN,\"y\": [-Infinity, 1, Infinity],\"z\": -1}, {\"text\": \"b\"}]")]
    public void Words_for_numbers_that_are_none_are_null(string json)
    {
        var row = TextMaker.Read(_files.Write("t.json", json))[0].Value;
        Assert.Equal("NaN -Infinity|null|null,1,null|-1",
            $"{row.GetProperty("text").GetString()}|{row.GetProperty("x").GetRawText()}|{string.Join(',', row.GetProperty("y").EnumerateArray().Select(item => item.GetRawText()))}|{row.GetProperty("z").GetRawText()}");
    }

    [Fact]
    public void Words_are_found_wherever_a_stream_is_cut()
    {
        const string Json = """{"a": NaN, "b": "x\"NaN\\", "c": [-Infinity,Infinity], "d": -12.5, "N": "I"}""";
        const string Expected = """{"a": null, "b": "x\"NaN\\", "c": [null,null], "d": -12.5, "N": "I"}""";
        for (var cut = 0; cut <= Json.Length; cut++)
        {
            var words = new BareNumbers();
            var output = new System.Buffers.ArrayBufferWriter<byte>();
            words.Take(System.Text.Encoding.UTF8.GetBytes(Json[..cut]), output);
            words.Take(System.Text.Encoding.UTF8.GetBytes(Json[cut..]), output);
            words.End(output);
            Assert.Equal(Expected, System.Text.Encoding.UTF8.GetString(output.WrittenSpan));
        }
    }

    [Fact]
    public void Rows_behind_a_list_are_not_lost_silently() =>
        Assert.Contains("broken JSON after 1 rows",
            Assert.Throws<InputException>(() => TextMaker.Read(_files.Write("t.json", "[{\"text\": \"a\"}\n] x"))).Message);
}
