using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base.Files;
using Handbook.Text.Templates;

namespace Handbook.Text.Tokenizers;

/// <summary>What tokenizer_config.json, special_tokens_map.json and the template files say, and changes to it.</summary>
internal sealed record TokenizerSettings
{
    public required IReadOnlyDictionary<string, string> SpecialTokens { get; init; }

    public required int ModelMaxLength { get; init; }

    public required IReadOnlyDictionary<string, string> ChatTemplates { get; init; }

    public string? ChatTemplate => ChatTemplates.GetValueOrDefault("default");

    /// <summary>Whether decoded text is cleaned up, see <see cref="TokenizerRules.CleansUp"/>.</summary>
    public bool CleansUp { get; init; }

    public static TokenizerSettings From(TokenizerFolder files, Pipeline pipeline, TokenizerRules rules)
    {
        var tokens = rules.Tokens.Contents.DistinctBy(pair => pair.Key).ToDictionary(StringComparer.Ordinal);
        if (!tokens.ContainsKey("unk_token") && pipeline.Model.UnknownToken is { } unknown)
            tokens["unk_token"] = unknown;
        return new()
        {
            SpecialTokens = tokens,
            ModelMaxLength = files.Config?["model_max_length"] is JsonValue length && length.TryGetValue(out double number)
                && number is >= 1 and < int.MaxValue ? (int)number : int.MaxValue,
            ChatTemplates = Templates(files),
            CleansUp = rules.CleansUp(pipeline.Model is Models.BpeModel),
        };
    }

    public TokenizerSettings WithToken(string role, string token) =>
        this with { SpecialTokens = new Dictionary<string, string>(SpecialTokens) { [role] = token } };

    /// <summary>The settings with one template for all conversations: a template for tools would be of another dialect.</summary>
    public TokenizerSettings WithTemplate(string template) =>
        this with { ChatTemplates = new Dictionary<string, string> { ["default"] = template } };

    public void Save(string folder, TokenizerFolder files, Tokenizer tokenizer)
    {
        var config = files.Config?.DeepClone().AsObject() ?? new JsonObject { ["tokenizer_class"] = "PreTrainedTokenizerFast" };
        var map = files.SpecialTokensMap?.DeepClone().AsObject() ?? [];
        foreach (var (role, token) in SpecialTokens)
        {
            SetToken(config, role, token);
            SetToken(map, role, token);
        }
        // The template lives in its own file, which wins; keeping it in two places would let them drift apart.
        config.Remove("chat_template");
        var options = new JsonSerializerOptions
        {
            WriteIndented = true,
            Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping
        };
        WholeFile.WriteBytes(Path.Combine(folder, "tokenizer.json"), files.Tokenizer);
        WholeFile.WriteText(Path.Combine(folder, "tokenizer_config.json"), config.ToJsonString(options) + "\n");
        WholeFile.WriteText(Path.Combine(folder, "special_tokens_map.json"), map.ToJsonString(options) + "\n");
        if (files.AddedTokens is { } added)
            WholeFile.WriteText(Path.Combine(folder, "added_tokens.json"), added.ToJsonString(options) + "\n");
        if (ChatTemplate is { } template)
            WholeFile.WriteText(Path.Combine(folder, "chat_template.jinja"), template);
        foreach (var (name, source) in ChatTemplates.Where(pair => pair.Key != "default"))
        {
            WholeFile.WriteText(Path.Combine(folder, "additional_chat_templates", name + ".jinja"), source);
        }
    }

    private static void SetToken(JsonObject file, string role, string token)
    {
        if (TokenIn(file, role) == token)
            return;                     // keep the published form, an object with flags perhaps
        file[role] = token;
    }

    private static string? TokenIn(JsonObject? file, string role) => file?[role] switch
    {
        JsonValue value when value.TryGetValue(out string? text) => text,
        JsonObject token when token["content"] is JsonValue content && content.TryGetValue(out string? text) => text,
        _ => null,
    };

    private static Dictionary<string, string> Templates(TokenizerFolder files)
    {
        var templates = new Dictionary<string, string>(StringComparer.Ordinal);
        if (files.Config?["chat_template"] is JsonValue single && single.TryGetValue(out string? source))
            templates["default"] = source;
        else if (files.Config?["chat_template"] is JsonArray list)
            foreach (var entry in list.OfType<JsonObject>())
                if (entry["name"] is JsonValue name && name.TryGetValue(out string? key) && entry["template"] is JsonValue body
                    && body.TryGetValue(out string? text))
                    templates[key] = text;
        foreach (var (name, text) in files.AdditionalTemplates)
            templates[name] = text;
        if (files.ChatTemplateFile is { } file)
            templates["default"] = file;
        return templates;
    }
}
