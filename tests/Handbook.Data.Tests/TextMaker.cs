using System.Text.Json;
using Handbook.Data.Cache;
using Handbook.Data.Sources;
using Handbook.Text.Tokenizers;
using Encoding = System.Text.Encoding;

namespace Handbook.Data.Tests;

/// <summary>A tokenizer of single bytes, and files of rows in a folder that goes away with the test.</summary>
internal sealed class TextMaker : IDisposable
{
    public string Folder { get; } = Directory.CreateTempSubdirectory("handbook-data-").FullName;

    public CacheFolder Cache => new(Path.Combine(Folder, "cache"));

    /// <summary>Byte b is token b; 256 is the end token <c>&lt;end&gt;</c>, 257 the begin token <c>&lt;begin&gt;</c>.</summary>
    public static Tokenizer Bytes { get; } = MakeTokenizer();

    /// <summary>The same with the begin token before each text, and the token 258 for <c>ab</c>.</summary>
    public static Tokenizer Joining { get; } = MakeTokenizer(joins: true);

    public string Write(string name, string text) => WriteBytes(name, Encoding.UTF8.GetBytes(text));

    public string WriteBytes(string name, ReadOnlySpan<byte> bytes)
    {
        var path = Path.Combine(Folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    /// <summary>Rows <c>{"text": "name-0"}</c> … as JSONL.</summary>
    public string Lines(string file, string name, int count) =>
        Write(file, string.Concat(Enumerable.Range(0, count).Select(i => $$"""{"text": "{{name}}-{{i}}"}""" + "\n")));

    public static List<SourceRow> Read(string path, string split = "train") => [.. Dataset.Open(new() { Id = path, Split = split }).Read()];

    public static string Text(TokenRow row) =>
        Encoding.UTF8.GetString([.. row.Segments.SelectMany(part => part.Ids.ToArray()).Where(id => id < 256).Select(id => (byte)id)]);

    public void Dispose() => Directory.Delete(Folder, recursive: true);

    private static Tokenizer MakeTokenizer(bool joins = false)
    {
        var vocabulary = new Dictionary<string, int>();
        var next = 256;
        for (var b = 0; b < 256; b++)       // the byte-level alphabet: printable bytes stand for themselves
            vocabulary[((char)(b is >= 33 and <= 126 or >= 161 and <= 172 or >= 174 ? b : next++)).ToString()] = b;
        if (joins)
            (vocabulary["<end>"], vocabulary["<begin>"], vocabulary["ab"]) = (256, 257, 258);
        var json = JsonSerializer.Serialize(new Dictionary<string, object?>
        {
            ["version"] = "1.0",
            ["added_tokens"] = new[] { Special(256, "<end>"), Special(257, "<begin>") },
            ["normalizer"] = null,
            ["pre_tokenizer"] = new { type = "ByteLevel", add_prefix_space = false, trim_offsets = true, use_regex = true },
            ["post_processor"] = joins ? BeginsTexts() : null,
            ["decoder"] = new { type = "ByteLevel", add_prefix_space = false, trim_offsets = true, use_regex = true },
            ["model"] = new
            {
                type = "BPE",
                dropout = (double?)null,
                unk_token = (string?)null,
                continuing_subword_prefix = (string?)null,
                end_of_word_suffix = (string?)null,
                fuse_unk = false,
                byte_fallback = false,
                vocab = vocabulary,
                merges = joins ? new[] { "a b" } : []
            },
        });
        return Tokenizer.Create(new()
        {
            Name = "tokenizer.json",
            Tokenizer = Encoding.UTF8.GetBytes(json),
            Config = joins ? new() { ["bos_token"] = "<begin>" } : null
        }).With(eosToken: "<end>");

        static object BeginsTexts() => JsonDocument.Parse("""
            {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<begin>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
             "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
             "special_tokens": {"<begin>": {"id": "<begin>", "ids": [257], "tokens": ["<begin>"]}}}
            """).RootElement;

        static object Special(int id, string content) =>
            new { id, content, single_word = false, lstrip = false, rstrip = false, normalized = false, special = true };
    }
}
