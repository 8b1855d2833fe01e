using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Tokenizers.Patterns;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers.Formats;

/// <summary>A vocabulary of pairs in files of its own as tokenizer.json: <c>vocab.json</c> with <c>merges.txt</c>.</summary>
internal static class PairConversion
{
    private const string EndOfText = "<|endoftext|>";

    /// <param name="vocabulary">vocab.json: token → id.</param>
    /// <param name="merges">merges.txt: two tokens a line, after a line with the version.</param>
    /// <param name="config">tokenizer_config.json; null for none.</param>
    /// <param name="class">The Python class; null where the files name none.</param>
    /// <param name="name">Name of vocab.json, for messages.</param>
    /// <exception cref="InputException">The files are damaged, or the class is not known.</exception>
    public static ConvertedTokenizer Convert(byte[] vocabulary, string merges, JsonObject? config, string? @class, string name)
    {
        using var document = TokenizerFolder.Parse(vocabulary, name);
        var root = new ConfigNode(document.RootElement, name);
        if (!root.IsObject)
            throw root.Wrong("an object of token to id");
        int? IdOf(string token) => root.Find(token)?.AsNumber();
        var prefix = TokenizerRules.ClassFlag(config ?? [], "add_prefix_space", false);
        var json = new TokenizerJson
        {
            Decoder = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true),
            Model = TokenizerJson.Bpe(writer =>
            {
                writer.WritePropertyName("vocab");
                document.RootElement.WriteTo(writer);
            }, Merges(merges, name)),
        };
        switch (@class)
        {
            case "GPT2Tokenizer" or "CodeGenTokenizer" or null:
                var lacks = @class is null ? Enumerable.Range(0, 256).FirstOrDefault(value => IdOf(Byte(value)) is null, -1) : -1;
                if (lacks >= 0)
                    throw new InputException(
                        $"{name} lacks the byte 0x{lacks:X2} (\"{Byte(lacks)}\"), and no file says which class reads it",
                        "how texts are cut for such a vocabulary is the class's to say",
                        "name tokenizer_class in tokenizer_config.json, or save the tokenizer with transformers");
                return new((json with
                {
                    PreTokenizer = TokenizerJson.ByteLevel(prefix, useRegex: true),
                    PostProcessor = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true, trimOffsets: false),
                }).Write(), Named(IdOf, ("bos_token", EndOfText), ("eos_token", EndOfText), ("unk_token", EndOfText)));
            case "Qwen2Tokenizer":
                return new((json with
                {
                    Normalizer = new() { ["type"] = "NFC" },
                    PreTokenizer = TokenizerJson.Sequence("pretokenizers", TokenizerJson.Split(SplitScanner.Qwen2Pattern),
                        TokenizerJson.ByteLevel(prefix, useRegex: false)),
                    PostProcessor = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true, trimOffsets: false),
                }).Write(), Named(IdOf, ("eos_token", EndOfText), ("unk_token", EndOfText), ("pad_token", EndOfText)));
            case "RobertaTokenizer":
                int Special(string token) => IdOf(token) ?? throw new InputException($"{name} lacks RoBERTa's token \"{token}\"",
                    "it stands around every text", "is this the vocabulary of that class?");
                return new((json with
                {
                    PreTokenizer = TokenizerJson.ByteLevel(prefix, useRegex: true),
                    PostProcessor = new()
                    {
                        ["type"] = "RobertaProcessing",
                        ["sep"] = new JsonArray("</s>", Special("</s>")),
                        ["cls"] = new JsonArray("<s>", Special("<s>")),
                        ["trim_offsets"] = true,
                        ["add_prefix_space"] = prefix,
                    },
                }).Write(), Named(IdOf, ("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>"), ("sep_token", "</s>"),
                    ("pad_token", "<pad>"), ("cls_token", "<s>"), ("mask_token", "<mask>")));
            default:
                throw Unknown(@class, name, "GPT2Tokenizer, CodeGenTokenizer, Qwen2Tokenizer and RobertaTokenizer");
        }
    }

    /// <summary>Names of the class for those of its tokens that the vocabulary has.</summary>
    internal static JsonObject Named(Func<string, int?> idOf, params (string Role, string Token)[] tokens)
    {
        var named = new JsonObject();
        foreach (var (role, token) in tokens)
            if (idOf(token) is not null)
                named[role] = token;
        return named;
    }

    private static IEnumerable<(string, string)> Merges(string merges, string name)
    {
        var number = 0;
        foreach (var text in merges.Split('\n'))
        {
            var line = text.TrimEnd('\r');
            if (line.Length == 0 || (number++ == 0 && line.StartsWith("#version", StringComparison.Ordinal)))
                continue;
            var space = line.IndexOf(' ');
            if (space < 1 || space == line.Length - 1 || line.IndexOf(' ', space + 1) >= 0)
                throw new InputException($"merges.txt beside {name}: \"{line}\" is not two tokens with one space between them",
                    fix: "fetch the file again");
            yield return (line[..space], line[(space + 1)..]);
        }
    }

    private static string Byte(int value) => ((char)ByteAlphabet.PointOf((byte)value)).ToString();

    internal static InputException Unknown(string? @class, string name, string known) => new(
        $"{name}: how {@class} cuts texts is not known here", $"known without tokenizer.json are {known}",
        "save the tokenizer with transformers, which writes tokenizer.json: AutoTokenizer.from_pretrained(folder).save_pretrained(folder)");
}
