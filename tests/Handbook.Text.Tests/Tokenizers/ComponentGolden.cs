using System.Text.Json;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Compares single components and small tokenizers with components/*.json of the shared folder.</summary>
internal static class ComponentGolden
{
    /// <summary>Names of the items of a components file: its index, and what it is.</summary>
    public static IEnumerable<string> Items(string file, string key)
    {
        if (Read(file) is not { } root)
        {
            yield return "0 absent";            // a theory needs a row, which then skips by Item
            yield break;
        }
        var index = 0;
        foreach (var item in root.GetProperty("items").EnumerateArray())
        {
            var shown = item.TryGetProperty("name", out var name) ? name.GetString()! : "";
            if (item.TryGetProperty(key, out var component) && component.ValueKind == JsonValueKind.Object
                && component.TryGetProperty("type", out var type))
                shown = $"{type.GetString()} {shown}";
            yield return $"{index++} {shown.Trim()}";
        }
    }

    public static JsonElement Item(string file, string name) =>
        Read(file, SharedFiles.Need("tokenizers", "components", file))!.Value.GetProperty("items")[int.Parse(name.Split(' ')[0])];

    public static List<string> Normalizer(JsonElement item)
    {
        var report = new List<string>();
        var normalizer = NormalizerReader.Read(new(item.GetProperty("normalizer"), "normalizer"));
        foreach (var row in item.GetProperty("cases").EnumerateArray())
            TokenizerGolden.Same(report, Show(row, "text"), [row.GetProperty("out").GetString()!],
                [normalizer.Apply(row.GetProperty("text").GetString()!)]);
        return report;
    }

    public static List<string> PreTokenizer(JsonElement item)
    {
        var report = new List<string>();
        var preTokenizer = PreTokenizerReader.Read(new(item.GetProperty("pre_tokenizer"), "pre_tokenizer"));
        foreach (var row in item.GetProperty("cases").EnumerateArray())
        {
            var pieces = new PieceList();
            pieces.Text.Load(row.GetProperty("text").GetString()!, tracked: true);
            if (pieces.Text.Count > 0)
                pieces.Pieces.Add(new(0, pieces.Text.Count, -1));
            preTokenizer.Apply(pieces);
            var ours = pieces.Pieces.Select(piece => (CodePoints.ToText(pieces.Text.Text[piece.Start..piece.End]),
                pieces.Text.Starts[piece.Start], pieces.Text.Ends[piece.End - 1]));
            var expected = row.GetProperty("out").EnumerateArray()
                .Select(piece => (piece[0].GetString()!, piece[1][0].GetInt32(), piece[1][1].GetInt32()));
            TokenizerGolden.Same(report, Show(row, "text"), expected, ours);
        }
        return report;
    }

    public static List<string> Decoder(JsonElement item)
    {
        var report = new List<string>();
        var decoder = DecoderReader.Read(new(item.GetProperty("decoder"), "decoder"));
        foreach (var row in item.GetProperty("cases").EnumerateArray())
            TokenizerGolden.Same(report, Show(row, "tokens"), [row.GetProperty("out").GetString()!],
                [string.Concat(decoder.Apply([.. row.GetProperty("tokens").EnumerateArray().Select(token => token.GetString()!)]))]);
        return report;
    }

    public static List<string> SmallTokenizer(JsonElement item)
    {
        var report = new List<string>();
        var tokenizer = Tokenizer.FromJson(JsonSerializer.SerializeToUtf8Bytes(item.GetProperty("tokenizer")), "tokenizer");
        foreach (var row in item.GetProperty("cases").EnumerateArray())
        {
            var text = row.GetProperty("text").GetString()!;
            var pair = row.TryGetProperty("pair", out var second) && second.ValueKind == JsonValueKind.String ? second.GetString() : null;
            var name = $"{JsonSerializer.Serialize(text)}{(pair is null ? "" : "+" + JsonSerializer.Serialize(pair))}";
            if (row.TryGetProperty("special", out var special))
                Encoded(report, name + " special", special, tokenizer, text, pair, addSpecialTokens: true);
            if (row.TryGetProperty("plain", out var plain))
                Encoded(report, name + " plain", plain, tokenizer, text, pair, addSpecialTokens: false);
            if (row.TryGetProperty("dec", out var decoded) && row.TryGetProperty("special", out special)
                && special.ValueKind == JsonValueKind.Object && special.TryGetProperty("ids", out _))
            {
                var ids = TokenizerGolden.Ids(special, "ids");
                // The oracle is version 0.23, which shows added tokens in their normalized form.
                TokenizerGolden.Same(report, name + " dec", [decoded.GetString()!],
                    [tokenizer.DecodeNormalized(ids, skipSpecialTokens: false)]);
                TokenizerGolden.Same(report, name + " dec_skip", [row.GetProperty("dec_skip").GetString()!],
                    [tokenizer.DecodeNormalized(ids, skipSpecialTokens: true)]);
            }
        }
        return report;
    }

    private static void Encoded(List<string> report, string name, JsonElement expected, Tokenizer tokenizer, string text, string? pair,
        bool addSpecialTokens)
    {
        if (expected.TryGetProperty("error", out var error))
        {
            if (Record.Exception(() => tokenizer.EncodeFully(text, pair, addSpecialTokens)) is not InputException)
                report.Add($"{name}: should be refused: {error}");
            return;
        }
        var ours = tokenizer.EncodeFully(text, pair, addSpecialTokens);
        TokenizerGolden.Same(report, name + " ids", TokenizerGolden.Ids(expected, "ids"), ours.Ids);
        if (pair is null)
            TokenizerGolden.Same(report, name + " ids without offsets", TokenizerGolden.Ids(expected, "ids"),
                tokenizer.Encode(text, addSpecialTokens));
        TokenizerGolden.Same(report, name + " tokens", expected.GetProperty("tokens").EnumerateArray().Select(token => token.GetString()!),
            ours.Tokens);
        TokenizerGolden.Same(report, name + " offsets",
            expected.GetProperty("offsets").EnumerateArray().Select(range => (range[0].GetInt32(), range[1].GetInt32())), ours.Offsets);
        TokenizerGolden.Same(report, name + " type_ids", TokenizerGolden.Ids(expected, "type_ids"), ours.TypeIds);
        TokenizerGolden.Same(report, name + " special_mask", TokenizerGolden.Ids(expected, "special_mask"),
            ours.Special.Select(one => one ? 1 : 0));
        TokenizerGolden.Same(report, name + " word_ids", expected.GetProperty("word_ids").EnumerateArray()
            .Select(word => word.ValueKind == JsonValueKind.Number ? word.GetInt32() : (int?)null), ours.Words);
    }

    private static string Show(JsonElement row, string key) => row.GetProperty(key).GetRawText() is var raw && raw.Length > 100
        ? raw[..100] : raw;

    private static JsonElement? Read(string file, string? found = null)
    {
        var path = found is not null ? found : SharedFiles.Root is { } root ? Path.Combine(root, "tokenizers", "components", file) : "";
        if (!File.Exists(path))
            return null;
        using var document = JsonDocument.Parse(File.ReadAllBytes(path));
        return document.RootElement.Clone();
    }
}
