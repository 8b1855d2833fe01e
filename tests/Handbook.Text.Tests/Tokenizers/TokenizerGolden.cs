using System.IO.Compression;
using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Compares a tokenizer with golden.jsonl beside it. Finds its cases by walking the shared folder, so that more cases run without
/// a change.</summary>
internal static class TokenizerGolden
{
    /// <summary>Names of all tokenizer folders with golden values.</summary>
    public static IEnumerable<string> Names() =>
        SharedFiles.Folders("tokenizers").Where(folder => File.Exists(Path.Combine(folder, "golden.jsonl")))
            .Select(folder => Path.GetFileName(folder)).DefaultIfEmpty("absent");

    /// <summary>Every difference between a tokenizer and its golden values, one line each; empty where all agree.</summary>
    public static List<string> Differences(string folder)
    {
        var tokenizer = Load(folder);
        var texts = Texts(Path.Combine(folder, "..", "texts.json"));
        var report = new List<string>();
        var header = true;
        foreach (var line in File.ReadLines(Path.Combine(folder, "golden.jsonl")))
        {
            using var document = JsonDocument.Parse(line);
            var row = document.RootElement;
            if (header)
            {
                Same(report, "vocab_size", row.GetProperty("vocab_size").GetInt32(), tokenizer.ModelVocabularySize);
                Same(report, "vocab_size_with_added", row.GetProperty("vocab_size_with_added").GetInt32(), tokenizer.VocabularySize);
            }
            else if (row.TryGetProperty("t", out var id))
                Text(report, tokenizer, id.GetString()!, texts[id.GetString()!], row);
            else if (row.TryGetProperty("a", out _))
                Pair(report, tokenizer, row);
            else
                Decoding(report, tokenizer, row.GetProperty("d").ToString(), row, Ids(row, "ids"));
            header = false;
        }
        return report;
    }

    /// <summary>Opens tokenizer.json alone, as the golden values were made; where a component is not built, the test ends by its
    /// name.</summary>
    public static Tokenizer Load(string folder)
    {
        try
        {
            return Tokenizer.FromJson(TokenizerFolder.Read(folder).Tokenizer);
        }
        catch (UnknownComponentException missing)
        {
            GoldenCase.NotBuilt(missing.What);
            throw;
        }
    }

    public static Dictionary<string, string> Texts(string file)
    {
        using var document = JsonDocument.Parse(File.ReadAllBytes(file));
        var root = document.RootElement;
        var list = root.ValueKind == JsonValueKind.Array ? root : root.GetProperty("texts");
        return list.EnumerateArray().ToDictionary(text => text.GetProperty("id").GetString()!,
            text => text.GetProperty("text").GetString()!);
    }

    /// <summary>The documents of a corpus: a JSON string a line, compressed.</summary>
    public static List<string> Corpus(string file)
    {
        using var reader = new StreamReader(new GZipStream(File.OpenRead(file), CompressionMode.Decompress));
        var documents = new List<string>();
        while (reader.ReadLine() is { } line)
            documents.Add(JsonSerializer.Deserialize<string>(line)!);
        return documents;
    }

    private static void Text(List<string> report, Tokenizer tokenizer, string name, string text, JsonElement row)
    {
        var encoding = tokenizer.EncodeWithOffsets(text, addSpecialTokens: false);
        Same(report, $"{name} ids", Ids(row, "ids"), encoding.Ids);
        Same(report, $"{name} ids without offsets", Ids(row, "ids"), tokenizer.Encode(text, addSpecialTokens: false));
        Same(report, $"{name} ids_special", Ids(row, "ids_special"), tokenizer.Encode(text));
        var offsets = row.GetProperty("off").EnumerateArray().Select(pair => (pair[0].GetInt32(), pair[1].GetInt32()));
        Same(report, $"{name} off", offsets, encoding.Offsets);
        Decoding(report, tokenizer, name, row, Ids(row, "ids_special"));
    }

    private static void Pair(List<string> report, Tokenizer tokenizer, JsonElement row)
    {
        var (a, b) = (row.GetProperty("a").GetString()!, row.GetProperty("b").GetString()!);
        var with = tokenizer.EncodeFully(a, b, addSpecialTokens: true);
        Same(report, $"{a}+{b} ids_special", Ids(row, "ids_special"), with.Ids);
        Same(report, $"{a}+{b} type_ids", Ids(row, "type_ids"), with.TypeIds);
        Same(report, $"{a}+{b} special_mask", Ids(row, "special_mask"), with.Special.Select(special => special ? 1 : 0));
        Same(report, $"{a}+{b} ids", Ids(row, "ids"), tokenizer.EncodeFully(a, b, addSpecialTokens: false).Ids);
    }

    private static void Decoding(List<string> report, Tokenizer tokenizer, string name, JsonElement row, int[] ids)
    {
        foreach (var key in new[] { "dec", "dec_skip" })
        {
            var ours = tokenizer.Decode(ids, skipSpecialTokens: key == "dec_skip");
            // README: where only the second oracle's decoding differs, either is right.
            if (row.TryGetProperty("js", out var js) && js.TryGetProperty(key, out var other) && other.GetString() == ours)
                continue;
            Same(report, $"{name} {key}", [row.GetProperty(key).GetString()!], [ours]);
            var stream = tokenizer.CreateStreamDecoder(skipSpecialTokens: key == "dec_skip");
            Same(report, $"{name} {key} streamed", [ours], [string.Concat(ids.Select(stream.Append)) + stream.Flush()]);
        }
    }

    internal static int[] Ids(JsonElement row, string key) => [.. row.GetProperty(key).EnumerateArray().Select(id => id.GetInt32())];

    private static void Same(List<string> report, string name, int expected, int actual) => Same(report, name, [expected], [actual]);

    internal static void Same<T>(List<string> report, string name, IEnumerable<T> expected, IEnumerable<T> actual)
    {
        if (expected.SequenceEqual(actual))
            return;
        var at = expected.Zip(actual).TakeWhile(pair => Equals(pair.First, pair.Second)).Count();
        report.Add($"{name}: at {at} expected {Show(expected.Skip(at))}, got {Show(actual.Skip(at))}");
    }

    private static string Show<T>(IEnumerable<T> items) =>
        string.Join(' ', items.Take(8).Select(item => item is string text ? JsonSerializer.Serialize(text) : $"{item}"));
}
