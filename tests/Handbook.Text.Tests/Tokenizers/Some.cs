using Handbook.Text.Tokenizers;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Text.Tests.Tokenizers;

/// <summary>Small tokenizers for tests.</summary>
internal static class Some
{
    /// <summary>Every byte, no merges, one special token.</summary>
    public static Tokenizer ByteTokenizer() =>
        BpeTrainer.Train([], new() { VocabularySize = 257, SpecialTokens = ["<|end|>"], EosToken = "<|end|>" });

    /// <summary>A tokenizer.json with the given sections.</summary>
    public static byte[] Json(string model = """{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}""", string rest = "") =>
        System.Text.Encoding.UTF8.GetBytes(
            $$"""{"version":"1.0","added_tokens":[]{{(rest.Length > 0 ? "," + rest : "")}},"model":{{model}}}""");

    /// <summary>Random text out of letters, digits, marks, white space and characters beyond the BMP.</summary>
    public static string Text(int seed, int length)
    {
        string[] alphabet = ["a", "B", "ſ", "'", "'s", "'LL", "é", "e\u0301", "中", "ア", "𝔉", "𝟘", "½", "٣", " ", "  ", "\n", "\r\n", "\t",
            "\u00A0", "\u3000", ".", "!?", "-", "_", "😀", "\u200D", "\uFFFF", "1", "42", "K", "ﬀ"];
        var random = new Random(seed);
        return string.Concat(Enumerable.Range(0, length).Select(_ => alphabet[random.Next(alphabet.Length)]));
    }
}
