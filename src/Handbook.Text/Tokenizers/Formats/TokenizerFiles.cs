using System.Text.Json.Nodes;
using Handbook.Base;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>The forms in which a folder may hold a tokenizer, and how each becomes a tokenizer.json.</summary>
internal static class TokenizerFiles
{
    /// <summary>Files by their names, first to last: what transformers writes itself, then what it converts.</summary>
    private static readonly string[] Names =
        ["tokenizer.json", "tokenizer.json.gz", Tekken, "tokenizer.model", "spiece.model", "tiktoken.model", "vocab.json", "vocab.txt"];

    private const string Tekken = "tekken.json";

    /// <summary>What is looked for in a folder, for messages.</summary>
    public const string Known = "tokenizer.json (or tokenizer.json.gz), tekken.json, tokenizer.model, spiece.model, *.tiktoken, "
        + "vocab.json with merges.txt, or vocab.txt";

    /// <summary>The file that holds a folder's tokenizer; null where there is none.</summary>
    public static string? Find(string folder) => !Directory.Exists(folder) ? null
        : Names.Select(name => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
            ?? Directory.EnumerateFiles(folder, "*.tiktoken").Order(StringComparer.Ordinal).FirstOrDefault();

    /// <summary>The tokenizer.json that a file of another form amounts to; null where it is one.</summary>
    /// <param name="file">The file.</param>
    /// <param name="bytes">What it holds.</param>
    /// <param name="config">tokenizer_config.json beside it; null for none.</param>
    /// <param name="model">config.json beside it; null for none.</param>
    /// <exception cref="InputException">The file is damaged, or cannot be converted without knowing more.</exception>
    public static ConvertedTokenizer? Convert(string file, byte[] bytes, JsonObject? config, JsonObject? model)
    {
        var @class = TokenizerClass.Of(config, model);
        switch (Path.GetFileName(file), Path.GetExtension(file))
        {
            case (_, ".model") or (_, ".tiktoken"):
                return TiktokenConversion.Begins(bytes) ? TiktokenConversion.Convert(bytes, config, @class, file)
                    : SentencePieceConversion.Convert(SentencePieceFile.Read(bytes, file), config, @class, file);
            case ("vocab.json" or "merges.txt", _):
                var (vocabulary, merges) = (Beside(file, "vocab.json"), Beside(file, "merges.txt"));
                foreach (var part in new[] { vocabulary, merges })
                    if (!File.Exists(part))
                        throw new InputException($"{part} does not exist", "vocab.json and merges.txt are one tokenizer together",
                            "fetch the missing file");
                return PairConversion.Convert(File.ReadAllBytes(vocabulary), StrictUtf8.Of(File.ReadAllBytes(merges), merges), config,
                    @class, vocabulary);
            case ("vocab.txt", _):
                return LineConversion.Convert(StrictUtf8.Of(bytes, file), config, @class, file);
            case (Tekken, _):
                return TekkenConversion.Convert(bytes, config, file);
            default:
                return null;
        }
    }

    private static string Beside(string file, string name) => Path.Combine(Path.GetDirectoryName(file) ?? "", name);
}
