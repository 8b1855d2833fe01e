using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Tokenizers.Models;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>model</c> section of a tokenizer.json, in all layouts that were ever published.</summary>
internal static class ModelReader
{
    public static Model Read(ConfigNode node)
    {
        var type = node.Find("type")?.AsText() ?? GuessType(node);
        return type switch
        {
            "BPE" => ReadBpe(node),
            "WordPiece" => new WordPieceModel(ReadVocabulary(node.Need("vocab")), node.Text("unk_token", "[UNK]"),
                node.Text("continuing_subword_prefix", "##"), node.Number("max_input_chars_per_word", 100)),
            "WordLevel" => new WordLevelModel(ReadVocabulary(node.Need("vocab")), node.Text("unk_token")),
            "Unigram" => ReadUnigram(node),
            _ => throw PipelineReader.Unknown(node, "model", "BPE, Unigram, WordPiece, WordLevel"),
        };
    }

    /// <summary>Files from before 2020 carry no type; the fields tell which model is meant.</summary>
    private static string GuessType(ConfigNode node) =>
        node.Find("merges") is not null ? "BPE"
        : node.Find("vocab") is { Json.ValueKind: JsonValueKind.Array } ? "Unigram"
        : node.Find("continuing_subword_prefix") is not null || node.Find("max_input_chars_per_word") is not null ? "WordPiece"
        : "WordLevel";

    private static BpeModel ReadBpe(ConfigNode node)
    {
        if (node.Find("dropout") is { } dropout && !(dropout.Json.ValueKind == JsonValueKind.Number && dropout.Json.GetDouble() == 0))
            throw new InputException($"{dropout.Path} is {dropout.Shown}",
                "with dropout the same text gives other ids each time; a cache of tokens would be wrong", "set it to null");
        var vocabulary = ReadVocabulary(node.Need("vocab"));
        var options = new BpeOptions
        {
            UnkToken = node.Find("unk_token")?.AsText(),
            ContinuingSubwordPrefix = node.Text("continuing_subword_prefix", ""),
            EndOfWordSuffix = node.Text("end_of_word_suffix", ""),
            FuseUnk = node.Flag("fuse_unk", false),
            ByteFallback = node.Flag("byte_fallback", false),
            IgnoreMerges = node.Flag("ignore_merges", false),
        };
        return new(vocabulary, ReadMerges(node.Need("merges"), vocabulary, options.ContinuingSubwordPrefix), options);
    }

    private static UnigramModel ReadUnigram(ConfigNode node)
    {
        var tokens = node.Need("vocab").Items()
            .Select(item => item.Json.ValueKind == JsonValueKind.Array && item.Json.GetArrayLength() == 2
            && item.Json[1].ValueKind == JsonValueKind.Number
            ? (new ConfigNode(item.Json[0], $"{item.Path}[0]").AsText(), DecimalScore.Read(item.Json[1]))
            : throw item.Wrong("a token and its score: [\"a\", -3.5]")).ToArray();
        var unknown = node.Find("unk_id")?.AsNumber();
        if (unknown >= tokens.Length)
            throw new InputException($"{node.Path}.unk_id is {unknown}, but the vocabulary has {tokens.Length} tokens",
                "the unknown token must be one of them", "set unk_id to null or to the index of the unknown token");
        return new(tokens, unknown, node.Flag("byte_fallback", false));
    }

    private static Dictionary<string, int> ReadVocabulary(ConfigNode node)
    {
        if (!node.IsObject)
            throw node.Wrong("an object of token to id");
        var vocabulary = new Dictionary<string, int>(node.Json.GetPropertyCount(), StringComparer.Ordinal);
        foreach (var (token, id) in node.Members())
            vocabulary[token] = id.Json.ValueKind == JsonValueKind.Number && id.Json.TryGetInt32(out var number) && number >= 0 ? number
                : throw new InputException(
                    $"{node.Path} gives token \"{token}\" the id {id.Shown}, but ids are whole numbers of at least 0");
        CheckIds(node, vocabulary);
        return vocabulary;
    }

    /// <summary>Ids may have gaps, but tables by id need them to be near the number of tokens.</summary>
    private static void CheckIds(ConfigNode node, Dictionary<string, int> vocabulary)
    {
        var limit = vocabulary.Count * 2L + 1_000_000;
        foreach (var (token, id) in vocabulary)
            if (id > limit)
                throw new InputException($"{node.Path} gives token \"{token}\" the id {id}, but it has only {vocabulary.Count} tokens",
                    "ids number the tokens from 0", "compare the file with the published one");
    }

    private static MergeTable ReadMerges(ConfigNode node, Dictionary<string, int> vocabulary, string prefix)
    {
        if (node.Json.ValueKind != JsonValueKind.Array)
            throw node.Wrong("a list of merges");
        JsonElement[] items = [.. node.Json.EnumerateArray()];
        var tokens = new MergedTokens(vocabulary);
        // A large file has hundreds of thousands: each half is read on a core of its own.
        var merges = new Merge[items.Length];
        InputException? first = null, second = null;
        var half = items.Length / 2;
        Parallel.Invoke(() => first = Read(0, half), () => second = Read(half, items.Length));
        if ((first ?? second) is { } wrong)
            throw wrong;
        var table = new MergeTable(items.Length);
        var rank = 0;
        foreach (var merge in merges)
            if (merge.Id >= 0)
                table.Add(merge.Left, merge.Right, rank++, merge.Id);
        return table;

        InputException? Read(int start, int end)
        {
            var buffer = new char[256];
            var last = 0;
            try
            {
                for (var i = start; i < end; i++)
                    merges[i] = ReadMerge(node, items[i], i, tokens, prefix, ref buffer, ref last);
                return null;
            }
            catch (InputException problem)
            {
                return problem;
            }
        }
    }

    /// <summary>A pair of ids, and the id of the token that they make; −1 for a line that is no merge.</summary>
    private readonly record struct Merge(int Left, int Right, int Id);

    /// <param name="buffer">For the texts of both tokens, so that no string is made for each of them.</param>
    /// <param name="last">The id of the last merge, near which the next one is.</param>
    private static Merge ReadMerge(ConfigNode node, JsonElement item, int index, MergedTokens tokens, string prefix, ref char[] buffer, ref int last)
    {
        int left, length;
        if (item.ValueKind == JsonValueKind.String)
        {
            length = Characters(item, ref buffer, 0);
            var line = buffer.AsSpan(0, length);
            if (line.StartsWith("#version"))
                return new(-1, -1, -1);
            left = line.IndexOf(' ');
            if (left < 0 || line[(left + 1)..].Contains(' '))
                throw new InputException($"{node.Path}[{index}] is \"{line}\", but a merge is two tokens with one space between them");
            line[(left + 1)..].CopyTo(line[left..]);
            length--;
        }
        else if (item.ValueKind == JsonValueKind.Array && item.GetArrayLength() == 2 && item[0].ValueKind == JsonValueKind.String
            && item[1].ValueKind == JsonValueKind.String)
        {
            left = Characters(item[0], ref buffer, 0);
            length = left + Characters(item[1], ref buffer, left);
        }
        else
            throw new ConfigNode(item, $"{node.Path}[{index}]").Wrong("two tokens: \"a b\" or [\"a\", \"b\"]");
        var both = buffer.AsSpan(0, length);
        var (leftId, rightId) = (tokens.Find(both[..left]), tokens.Find(both[left..]));
        if (leftId < 0 || rightId < 0)
            throw Outside(node, index, both[..left], both[left..], leftId < 0 ? both[..left] : both[left..]);
        // A continuation loses its prefix.
        var cut = Math.Min(prefix.Length, length - left);
        var right = cut > 0 ? both[left..].ToString() : null;
        both[(left + cut)..].CopyTo(both[left..]);
        var whole = both[..(length - cut)];
        var id = tokens.FindNext(whole, ref last);
        if (id < 0)
            throw Outside(node, index, both[..left], right is null ? both[left..] : right, whole);
        return new(leftId, rightId, id);
    }

    /// <summary>Writes the characters of a JSON string into a buffer, which grows, and returns their number.</summary>
    private static int Characters(JsonElement text, ref char[] buffer, int at)
    {
        var raw = System.Runtime.InteropServices.JsonMarshal.GetRawUtf8Value(text)[1..^1];
        var escaped = raw.Contains((byte)'\\') ? new ConfigNode(text, "a merge").AsText() : null;
        var most = escaped?.Length ?? raw.Length;
        if (buffer.Length < at + most)
            Array.Resize(ref buffer, (at + most) * 2);
        if (escaped is null)
            return System.Text.Encoding.UTF8.GetChars(raw, buffer.AsSpan(at));
        escaped.CopyTo(buffer.AsSpan(at));
        return most;
    }

    private static InputException Outside(ConfigNode node, int index, ReadOnlySpan<char> left, ReadOnlySpan<char> right,
        ReadOnlySpan<char> token) => new(
        $"{node.Path}[{index}] (\"{left}\" + \"{right}\") needs token \"{token}\", which is not in the vocabulary",
        "a merge joins two tokens into a third; all three need ids", "check that vocab and merges come from the same tokenizer");
}
