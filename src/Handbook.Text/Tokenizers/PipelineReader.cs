using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Tokenizers.Decoders;
using Handbook.Text.Tokenizers.Models;
using Handbook.Text.Tokenizers.Normalizers;
using Handbook.Text.Tokenizers.PostProcessors;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Text.Tokenizers;

/// <summary>Builds the pipeline that a tokenizer.json describes, or says which part of it cannot be.</summary>
internal static class PipelineReader
{
    /// <param name="name">Name of the file, for messages.</param>
    /// <param name="config">What the files beside it say; null for tokenizer.json alone.</param>
    public static Pipeline Read(JsonElement json, string name, TokenizerRules? config = null)
    {
        var root = new ConfigNode(json, name);
        if (!root.IsObject)
            throw root.Wrong("an object");
        if (root.Find("version") is { } version && version.AsText() != "1.0")
            throw new InputException($"{name}: version is {version.Shown}, but only \"1.0\" is known",
                "a later layout may mean something else by the same words", "save the tokenizer again with the current library");
        if (root.Find("model") is not { } modelNode)
            throw new InputException($"{name} has no \"model\"", "the model holds the vocabulary; without it the file is no tokenizer",
                "use the tokenizer.json of the published model");
        var model = ModelReader.Read(modelNode);
        var normalizer = root.Find("normalizer") is { } n ? NormalizerReader.Read(n) : null;
        int? IdOf(string content) => model.Vocabulary.TryGetValue(content, out var id) ? id : null;
        var listed = AddedTokens(root);
        var tokens = config?.Tokens.AddTo(listed, IdOf, model.Vocabulary.Count) ?? listed;
        var splitsSpecial = config?.SplitsSpecial ?? false;
        var added = new AddedVocabulary(tokens, model, normalizer, listed.Count, splitsSpecial);
        var published = root.Find("post_processor") is { } t ? PostProcessorReader.Read(t) : null;
        var postProcessor = config is null ? published : config.Frame(published, content => added.IdOf(content) ?? IdOf(content));
        return new()
        {
            Model = model,
            Normalizer = normalizer,
            PreTokenizer = root.Find("pre_tokenizer") is not { } p ? null
                : config?.PrefixSpace is { } prefix ? PreTokenizerReader.Read(p, prefix) : PreTokenizerReader.Read(p),
            PostProcessor = postProcessor,
            Decoder = root.Find("decoder") is { } d ? DecoderReader.Read(d) : new SpacedDecoder(),
            Added = added,
            Changes = Changes(tokens.Count > listed.Count ? added.Tokens : [],
                ReferenceEquals(postProcessor, published) ? null : postProcessor?.Frame, splitsSpecial, config?.PrefixSpace),
        };
    }

    /// <summary>What the configuration changes, as bytes; none where it changes nothing.</summary>
    private static byte[] Changes(IEnumerable<AddedToken> tokens, (int[] Before, int[] After)? frame, bool splitsSpecial,
        bool? prefixSpace)
    {
        var lines = tokens.Select(token => $"{token}").ToList();
        if (frame is var (before, after))
            lines.Add($"frame {string.Join(' ', before)} | {string.Join(' ', after)}");
        if (splitsSpecial)
            lines.Add("splits special tokens");
        if (prefixSpace is { } prefix)
            lines.Add($"space before a text: {prefix}");
        return System.Text.Encoding.UTF8.GetBytes(string.Join('\n', lines));
    }

    private static List<AddedToken> AddedTokens(ConfigNode root) => root.Find("added_tokens") is not { } list ? [] :
        [.. list.Items().Select(item => new AddedToken(item.Number("id"), item.Text("content"), item.Flag("single_word"),
            item.Flag("lstrip"), item.Flag("rstrip"), item.Flag("normalized"), item.Flag("special")))];

    /// <summary>The refusal of a component whose type this program does not know.</summary>
    public static UnknownComponentException Unknown(ConfigNode node, string kind, string known) => new(
        $"{node.Path}.type is {(node.IsObject && node.Json.TryGetProperty("type", out var type) ? new ConfigNode(type, "").Shown : "absent")}, which is not a known {kind}",
        "without it the text would be cut differently than the model has learned", $"known are {known}");
}
