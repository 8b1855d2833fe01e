using System.Text.Json;
using Handbook.Base;
using Handbook.Models.Files;

namespace Handbook.Models.Gguf;

/// <summary>A WordPiece tokenizer as keys of a GGUF file: llama.cpp's <c>bert</c>, which takes the longest token again and again, word by
/// word.</summary>
internal static class GgufWordPiece
{
    private const string Prefix = "tokenizer.ggml.";
    private const string Inside = "##";

    /// <param name="root">The tokenizer.json.</param>
    /// <param name="tokens">Texts and kinds by id.</param>
    /// <param name="notes">Gets what llama.cpp cuts otherwise, in some texts.</param>
    /// <returns>The tokens as they are written there: what begins a word has a ▁ before it, what goes on has no mark.</returns>
    /// <exception cref="InputException">llama.cpp does not cut texts so.</exception>
    public static (string Text, GgufTokenKind Kind)[] Add(GgufMetadata metadata, JsonElement root,
        (string Text, GgufTokenKind Kind)[] tokens, List<string> notes)
    {
        var (normalizer, model) = (GgufVocabulary.Part(root, "normalizer"), root.GetProperty("model"));
        var lacks = model.GetProperty("continuing_subword_prefix").GetString() != Inside ? "another mark than ## inside words"
            : GgufVocabulary.Part(root, "pre_tokenizer") is not { ValueKind: JsonValueKind.Object } cut
                || cut.GetProperty("type").GetString() != "BertPreTokenizer" ? "words that are not cut as BERT cuts them"
            : normalizer.ValueKind != JsonValueKind.Object || normalizer.GetProperty("type").GetString() != "BertNormalizer"
                || !Flag(normalizer, "clean_text") || !Flag(normalizer, "handle_chinese_chars")
                ? "texts that are not changed as BERT changes them" : null;
        if (lacks is not null)
            throw new InputException($"this WordPiece tokenizer has {lacks}", why: "llama.cpp has no other WordPiece than BERT's",
                fix: "serve it as safetensors");
        notes.Add("llama.cpp takes composed characters apart otherwise, and reads words of any length: Korean, Indian scripts, joined "
            + "emoji and words of more than 100 characters are cut otherwise there");
        var lowers = Flag(normalizer, "lowercase");
        metadata.Add(Prefix + "model", "bert");
        metadata.Add(Prefix + "pre", "default");
        metadata.Add(Prefix + "normalizer.lowercase", lowers);
        metadata.Add(Prefix + "normalizer.strip_accents", normalizer.TryGetProperty("strip_accents", out var strips)
            && strips.ValueKind != JsonValueKind.Null ? strips.GetBoolean() : lowers);
        return [.. tokens.Select(token => token.Kind != GgufTokenKind.Normal ? token
            : token.Text.StartsWith(Inside, StringComparison.Ordinal) ? (token.Text[Inside.Length..], token.Kind)
            : ("▁" + token.Text, token.Kind))];
    }

    private static bool Flag(JsonElement part, string name) =>
        part.TryGetProperty(name, out var flag) && flag.ValueKind == JsonValueKind.True;
}
