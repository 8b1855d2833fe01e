using System.Text.Json;
using Handbook.Base;
using Handbook.Models.Files;

namespace Handbook.Models.Gguf;

/// <summary>A Unigram tokenizer as keys of a GGUF file: llama.cpp's <c>t5</c>, which finds the likeliest pieces as sentencepiece
/// does.</summary>
internal static class GgufUnigram
{
    private const string Prefix = "tokenizer.ggml.";

    /// <param name="root">The tokenizer.json.</param>
    /// <param name="tokens">Texts and kinds by id.</param>
    /// <param name="notes">Gets what llama.cpp cuts otherwise, in some texts.</param>
    /// <exception cref="InputException">llama.cpp does not cut texts so.</exception>
    public static void Add(GgufMetadata metadata, JsonElement root, (string Text, GgufTokenKind Kind)[] tokens, List<string> notes)
    {
        var (normalizer, steps) = (GgufVocabulary.Part(root, "normalizer"), GgufVocabulary.Part(root, "pre_tokenizer"));
        var model = root.GetProperty("model");
        if (!GgufVocabulary.Has(steps, "Metaspace"))
            throw new InputException("this Unigram tokenizer has no ▁ for spaces", why: "llama.cpp has no other Unigram",
                fix: "serve it as safetensors");
        if (model.TryGetProperty("byte_fallback", out var fallback) && fallback.ValueKind == JsonValueKind.True)
            throw new InputException("this Unigram tokenizer has tokens for bytes (byte_fallback)",
                why: "llama.cpp's Unigram gives the unknown token instead", fix: "serve it as safetensors");
        byte[]? charsmap = null;
        foreach (var step in Steps(normalizer, "normalizers"))
            if (step.GetProperty("type").GetString() == "Precompiled" && step.GetProperty("precompiled_charsmap").GetString() is { } text)
                charsmap = Convert.FromBase64String(text);
            else if (!IsMerge(step) && step.GetProperty("type").GetString() is not ("Precompiled" or "Strip"))
                GgufVocabulary.NoteNormalizer(step, notes);
        metadata.Add(Prefix + "model", "t5");
        metadata.Add(Prefix + "pre", "default");
        metadata.Add(Prefix + "scores", Scores(model, tokens));
        metadata.Add(Prefix + "add_space_prefix", Steps(steps, "pretokenizers").Any(step =>
            step.GetProperty("type").GetString() == "Metaspace"
            && (step.TryGetProperty("prepend_scheme", out var scheme) ? scheme.GetString() != "never"
                : !step.TryGetProperty("add_prefix_space", out var add) || add.GetBoolean())));
        metadata.Add(Prefix + "remove_extra_whitespaces", GgufVocabulary.Has(steps, "WhitespaceSplit")
            || Steps(normalizer, "normalizers").Any(IsMerge));
        if (charsmap is null)
            return;
        notes.Add("llama.cpp replaces characters from left to right, where the tokenizer looks at each with its marks first: control "
            + "characters and several marks on one character are cut otherwise there");
        metadata.Add(Prefix + "precompiled_charsmap", Array.ConvertAll(charsmap, value => (long)value), GgufKind.UInt8);
    }

    private static double[] Scores(JsonElement model, (string Text, GgufTokenKind Kind)[] tokens)
    {
        var scores = new double[tokens.Length];
        var id = 0;
        foreach (var piece in model.GetProperty("vocab").EnumerateArray())
            scores[id++] = piece[1].GetDouble();
        return scores;
    }

    /// <summary>Whether a step makes one space of several.</summary>
    private static bool IsMerge(JsonElement step) => step.GetProperty("type").GetString() == "Replace"
        && step.GetProperty("pattern").TryGetProperty("Regex", out var pattern) && pattern.GetString() == " {2,}";

    private static IEnumerable<JsonElement> Steps(JsonElement part, string list) => part.ValueKind != JsonValueKind.Object ? []
        : part.TryGetProperty(list, out var steps) ? steps.EnumerateArray().SelectMany(step => Steps(step, list)) : [part];
}
