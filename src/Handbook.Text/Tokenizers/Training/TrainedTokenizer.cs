using System.Text.Json.Nodes;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Text.Tokenizers.Patterns;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>Writes what was learned in the published layout.</summary>
internal static class TrainedTokenizer
{
    public static Tokenizer Create(List<string> tokens, List<(int Left, int Right)> merges, BpeTrainerOptions options) => Create(new()
    {
        AddedTokens = Added(options),
        PreTokenizer = PreTokenizer(options.Pattern),
        PostProcessor = PostProcessor(options),
        Decoder = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true),
        Model = TokenizerJson.Bpe(TokenizerJson.Vocabulary(tokens), merges.Select(merge => (tokens[merge.Left], tokens[merge.Right]))),
    }, options);

    /// <summary>A tokenizer of a file, with the names and the template that the options give.</summary>
    public static Tokenizer Create(TokenizerJson json, TrainerOptions options) => Tokenizer.Create(new()
    {
        Name = "tokenizer.json",
        Tokenizer = json.Write(),
        Config = Config(options),
        SpecialTokensMap = Roles(options),
        ChatTemplateFile = options.ChatTemplate,
    });

    /// <summary>The special tokens, whose ids are the first ones.</summary>
    public static AddedToken[] Added(TrainerOptions options) => [.. options.AllSpecialTokens.Select((token, id) =>
        new AddedToken(id, token, false, false, false, Normalized: false, Special: true))];

    /// <summary>Puts the begin token before each text; null where there is none.</summary>
    public static JsonObject? PostProcessor(TrainerOptions options) => options.BosToken is not { } bos ? null : TokenizerJson.Template(
        [bos, "$A"], [(bos, 0), ("$A", 0), (bos, 1), ("$B", 1)], token => Array.IndexOf(options.AllSpecialTokens, token));

    private static JsonObject PreTokenizer(SplitPattern pattern) => pattern == SplitPattern.Gpt2
        ? TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: true)
        : TokenizerJson.Sequence("pretokenizers",
            TokenizerJson.Split(pattern == SplitPattern.Llama3 ? SplitScanner.Llama3Pattern : SplitScanner.Qwen2Pattern),
            TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: false));

    private static JsonObject Config(TrainerOptions options)
    {
        var decoder = new JsonObject();
        foreach (var token in Added(options))
            decoder[$"{token.Id}"] = TokenizerJson.Of(token, withId: false);
        var config = new JsonObject { ["added_tokens_decoder"] = decoder };
        foreach (var (role, token) in Roles(options))
            config[role] = token!.DeepClone();
        config["clean_up_tokenization_spaces"] = false;
        // The Python class reads this number as "no limit".
        config["model_max_length"] = options.ModelMaxLength is { } length ? length : JsonNode.Parse("1000000000000000019884624838656");
        config["tokenizer_class"] = "PreTrainedTokenizerFast";
        return config;
    }

    private static JsonObject Roles(TrainerOptions options)
    {
        var roles = new JsonObject();
        foreach (var (role, token) in options.Names)
            if (token is not null)
                roles[role] = token;
        return roles;
    }
}
