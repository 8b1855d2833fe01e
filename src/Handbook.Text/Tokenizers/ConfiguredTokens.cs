using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;

namespace Handbook.Text.Tokenizers;

/// <summary>What the files beside tokenizer.json say about tokens, named and added ones, by the rules of transformers 5.</summary>
/// <remarks>
/// With <c>added_tokens_decoder</c> tokenizer_config.json says everything, and special_tokens_map.json and added_tokens.json are not read.
/// Without it, special_tokens_map.json wins over the configuration, and added_tokens.json lists tokens and ids. Then all named and extra
/// tokens that are not yet among the added tokens become so, as special ones. (Release 4 has the same rules.)
/// </remarks>
internal sealed class ConfiguredTokens
{
    private const string ConfigName = "tokenizer_config.json", MapName = "special_tokens_map.json", AddedName = "added_tokens.json";
    private const string DecoderKey = "added_tokens_decoder", ExtraKey = "extra_special_tokens", OldExtraKey = "additional_special_tokens";

    /// <summary>The named tokens of the Python class, in its order.</summary>
    private static readonly string[] Roles = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

    private const string Compare = "compare the file with the published one";

    private readonly List<(string Role, Named Token)> _named = [];
    private readonly List<Named> _extra = [];
    private readonly List<AddedToken> _decoder = [];
    private readonly string _place;                 // where the listed tokens stand, for messages

    private ConfiguredTokens(string place) => _place = place;

    /// <summary>Role → content: <c>bos_token</c> and its like, and what a configuration names besides (<c>image_token</c>).</summary>
    public IEnumerable<KeyValuePair<string, string>> Contents => _named.Select(pair => KeyValuePair.Create(pair.Role, pair.Token.Content));

    public static ConfiguredTokens Read(TokenizerFolder files)
    {
        if (files.Config?[DecoderKey] is { } decoder)
        {
            var whole = new ConfiguredTokens(ConfigName);
            whole.ReadNames(new(files.Config, ConfigName), map: null);
            whole.ReadDecoder(decoder);
            return whole;
        }
        var tokens = new ConfiguredTokens(AddedName);
        tokens.ReadNames(new(files.Config ?? [], ConfigName), files.SpecialTokensMap is { } map ? new(map, MapName) : null);
        if (files.AddedTokens is { } added)
            tokens.ReadAddedTokens(added);
        return tokens;
    }

    /// <summary>The added tokens of tokenizer.json with those of the other files.</summary>
    /// <param name="listed">Tokens as tokenizer.json lists them.</param>
    /// <param name="idOf">The id of a token within the model's vocabulary; null where it has none.</param>
    /// <param name="size">Number of tokens of the model's vocabulary.</param>
    /// <returns>The list to use; the same one where nothing changes.</returns>
    public IReadOnlyList<AddedToken> AddTo(IReadOnlyList<AddedToken> listed, Func<string, int?> idOf, int size)
    {
        var known = AddedVocabulary.Ids(listed, idOf, size).ToDictionary(token => token.Content, StringComparer.Ordinal);
        foreach (var (role, named) in _named)
            if (Roles.Contains(role) && idOf(named.Content) is null && !known.ContainsKey(named.Content)
                && !_decoder.Exists(token => token.Content == named.Content))
                throw Missing(role, named, known.Values);
        var changes = new List<AddedToken>();
        foreach (var token in _decoder)
        {
            if (!known.TryGetValue(token.Content, out var before))
                changes.Add(token);
            else if (before with { Id = token.Id } != token)
                changes.Add(token);                             // the later one's flags count
        }
        var encoder = known.Keys.Concat(_decoder.Select(token => token.Content)).ToHashSet(StringComparer.Ordinal);
        foreach (var named in _named.Select(pair => pair.Token).Concat(_extra))
            if (encoder.Add(named.Content))
                changes.Add(named.Token ?? new(-1, named.Content, false, false, false, Normalized: false, Special: true));
        if (changes.Count == 0)
            return listed;
        IReadOnlyList<AddedToken> all = [.. listed, .. changes];
        var numbered = AddedVocabulary.Ids(all, idOf, size, listed.Count)
            .ToDictionary(token => token.Content, token => token.Id, StringComparer.Ordinal);
        foreach (var token in _decoder)
            if (!known.ContainsKey(token.Content) && numbered[token.Content] != token.Id)
                throw new InputException(
                    $"{_place} gives the token \"{token.Content}\" the id {token.Id}, "
                        + $"but the vocabulary of tokenizer.json gives it {numbered[token.Content]}",
                    "tokens that tokenizer.json lacks are numbered from its end, in the order of their ids; the model has another number",
                    $"write the token into the added_tokens of tokenizer.json, or list all tokens that are missing in {_place}");
        return all;
    }

    private static InputException Missing(string role, Named named, IEnumerable<AddedToken> known) => new(
        $"{named.File}: {role} \"{named.Content}\" is not in the vocabulary, nor among the added tokens",
        "a token without an id cannot be asked for or predicted; in texts it would be split into pieces",
        $"name one of the vocabulary{Examples(known)}, or list it in {DecoderKey} of {ConfigName} with the id that the model has for it");

    private static string Examples(IEnumerable<AddedToken> known)
    {
        var special = known.Where(token => token.Special).Take(8).Select(token => $"\"{token.Content}\"").ToArray();
        return special.Length == 0 ? "" : $", e.g. {string.Join(", ", special)}";
    }

    private void ReadNames(Source config, Source? map)
    {
        foreach (var role in Roles)
            if ((map?.Token(role) ?? config.Token(role)) is { } token)
                _named.Add((role, token));
        // Names that a model has for itself: any key that ends so, and a table of extra_special_tokens.
        foreach (var source in new[] { config, map }.OfType<Source>())
        {
            foreach (var (key, value) in source.Json)
                if (key.EndsWith("_token", StringComparison.Ordinal) && !Roles.Contains(key) && source.TryToken(value, key) is { } token)
                    _named.Add((key, token));
            foreach (var table in new[] { ExtraKey, "model_specific_special_tokens" })
                if (source.Json[table] is JsonObject own)
                    foreach (var (name, value) in own)
                        _named.Add((name, source.NeedToken(value, $"{table}.{name}")));
        }
        // The old name counts where the new one is absent, as in transformers 5.
        var extra = config.Json[ExtraKey] is not null || map?.Json[ExtraKey] is not null ? ExtraKey : OldExtraKey;
        foreach (var source in new[] { config, map }.OfType<Source>())
            _extra.AddRange(source.List(extra).Where(token => !_extra.Exists(before => before.Content == token.Content)));
    }

    private void ReadDecoder(JsonNode decoder)
    {
        if (decoder is not JsonObject table)
            throw new InputException($"{ConfigName}: {DecoderKey} is not a table of ids and tokens", fix: Compare);
        foreach (var (id, value) in table)
        {
            if (!int.TryParse(id, out var number) || number < 0 || value is not JsonObject flags)
                throw new InputException($"{ConfigName}: {DecoderKey}.{id} is not a token under its id", fix: Compare);
            _decoder.Add(new Source(flags, ConfigName).AddedToken($"{DecoderKey}.{id}", number));
        }
        Order();
    }

    private void ReadAddedTokens(JsonObject added)
    {
        foreach (var (content, value) in added)
        {
            if (value is not JsonValue number || !number.TryGetValue(out int id) || id < 0)
                throw new InputException(
                    $"{AddedName}: \"{content}\" has the id {value?.ToJsonString() ?? "null"}, but ids are whole numbers of at least 0");
            var special = _named.Exists(pair => pair.Token.Content == content) || _extra.Exists(token => token.Content == content);
            _decoder.Add(new(id, content, false, false, false, Normalized: !special, special));
        }
        Order();
    }

    /// <summary>In the order of the ids; a token without text is none, as in the reference.</summary>
    private void Order()
    {
        _decoder.RemoveAll(token => token.Content.Length == 0);
        _decoder.Sort((a, b) => a.Id.CompareTo(b.Id));
    }

    /// <summary>A token with a name; <paramref name="Token"/> where the file gives its flags.</summary>
    private sealed record Named(string Content, AddedToken? Token, string File);

    /// <summary>A file, or an object within, that names tokens.</summary>
    private sealed record Source(JsonObject Json, string File)
    {
        public Named? Token(string key) => Json[key] is { } value ? NeedToken(value, key) : null;

        public Named NeedToken(JsonNode? value, string path) => TryToken(value, path) ?? throw Wrong(path, value, "a token");

        public Named? TryToken(JsonNode? value, string key) => value switch
        {
            JsonValue text when text.TryGetValue(out string? content) => new(content, null, File),
            JsonObject flags when flags.ContainsKey("content") => Flagged(new Source(flags, File).AddedToken(key, -1)),
            _ => null,
        };

        public IEnumerable<Named> List(string key) =>
            Json[key] is JsonArray list ? list.Select((item, i) => NeedToken(item, $"{key}[{i}]")) : [];

        private Named Flagged(AddedToken token) => new(token.Content, token with { Special = true }, File);

        /// <summary>A token with its flags; absent ones as the reference has them.</summary>
        public AddedToken AddedToken(string path, int id)
        {
            var special = Flag(path, "special") ?? false;
            var content = Json["content"] is JsonValue value && value.TryGetValue(out string? text) ? text
                : throw Wrong($"{path}.content", Json["content"], "a text");
            return new(id, content, Flag(path, "single_word") ?? false, Flag(path, "lstrip") ?? false, Flag(path, "rstrip") ?? false,
                Flag(path, "normalized") ?? !special, special);
        }

        private bool? Flag(string path, string key) => Json[key] is not { } value ? null
            : value.GetValueKind() is JsonValueKind.True or JsonValueKind.False ? value.GetValue<bool>()
            : throw Wrong($"{path}.{key}", value, "true or false");

        public InputException Wrong(string path, JsonNode? value, string expected) =>
            new($"{File}: {path} is {value?.ToJsonString() ?? "null"}, but must be {expected}");
    }
}
