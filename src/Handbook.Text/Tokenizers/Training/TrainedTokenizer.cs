using System.Text.Json.Nodes;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Text.Tokenizers.Patterns;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>Writes what was learned in the published layout.</summary>
internal static class TrainedTokenizer
{
    public static Tokenizer Create(List<string> tokens, List<(int Left, int Right)> merges, BpeTrainerOptions options)
    {
        var special = options.AllSpecialTokens;
        return Tokenizer.Create(new()
        {
            Name = "tokenizer.json",
            Tokenizer = Write(tokens, merges, special, options),
            Config = Config(special, options),
            SpecialTokensMap = Roles(options),
            ChatTemplateFile = options.ChatTemplate,
        });
    }

    private static byte[] Write(List<string> tokens, List<(int Left, int Right)> merges, string[] special,
        BpeTrainerOptions options) => new TokenizerJson
        {
            AddedTokens = [.. special.Select((token, id) => Special(token, id))],
            PreTokenizer = PreTokenizer(options.Pattern),
            PostProcessor = PostProcessor(special, options),
            Decoder = TokenizerJson.ByteLevel(addPrefixSpace: true, useRegex: true),
            Model = TokenizerJson.Bpe(TokenizerJson.Vocabulary(tokens), merges.Select(merge => (tokens[merge.Left], tokens[merge.Right]))),
        }.Write();

    private static AddedToken Special(string token, int id) => new(id, token, false, false, false, Normalized: false, Special: true);

    private static JsonObject PreTokenizer(SplitPattern pattern) => pattern == SplitPattern.Gpt2
        ? TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: true)
        : TokenizerJson.Sequence("pretokenizers",
            TokenizerJson.Split(pattern == SplitPattern.Llama3 ? SplitScanner.Llama3Pattern : SplitScanner.Qwen2Pattern),
            TokenizerJson.ByteLevel(addPrefixSpace: false, useRegex: false));

    /// <summary>Puts the begin token before each text; null where there is none.</summary>
    private static JsonObject? PostProcessor(string[] special, BpeTrainerOptions options) => options.BosToken is not { } bos ? null
        : TokenizerJson.Template([bos, "$A"], [(bos, 0), ("$A", 0), (bos, 1), ("$B", 1)], token => Array.IndexOf(special, token));

    private static JsonObject Config(string[] special, BpeTrainerOptions options)
    {
        var decoder = new JsonObject();
        for (var id = 0; id < special.Length; id++)
            decoder[$"{id}"] = TokenizerJson.Of(Special(special[id], id), withId: false);
        var config = new JsonObject { ["added_tokens_decoder"] = decoder };
        foreach (var (role, token) in Roles(options))
            config[role] = token!.DeepClone();
        config["clean_up_tokenization_spaces"] = false;
        // The Python class reads this number as "no limit".
        config["model_max_length"] = options.ModelMaxLength is { } length ? length : JsonNode.Parse("1000000000000000019884624838656");
        config["tokenizer_class"] = "PreTrainedTokenizerFast";
        return config;
    }

    private static JsonObject Roles(BpeTrainerOptions options)
    {
        var roles = new JsonObject();
        foreach (var (role, token) in new[] { ("bos_token", options.BosToken), ("eos_token", options.EosToken),
            ("pad_token", options.PadToken) })
            if (token is not null)
                roles[role] = token;
        return roles;
    }
}
