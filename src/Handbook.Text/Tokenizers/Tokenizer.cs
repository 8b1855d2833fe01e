using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers.PostProcessors;

namespace Handbook.Text.Tokenizers;

/// <summary>Text to token ids and back, exactly as the Hugging Face library does it from the same files.</summary>
/// <remarks>Safe for use from several threads at once.</remarks>
public sealed class Tokenizer
{
    private readonly Pipeline _pipeline;
    private readonly TokenizerFolder _files;
    private readonly TokenizerSettings _settings;
    private readonly Lazy<string> _fingerprint;

    private Tokenizer(TokenizerFolder files, Pipeline pipeline, TokenizerSettings settings)
    {
        _files = files;
        _pipeline = pipeline;
        _settings = settings;
        _fingerprint = new(() =>
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            hash.AppendData(files.Tokenizer);
            hash.AppendData(pipeline.Changes);
            return Convert.ToHexStringLower(hash.GetHashAndReset());
        });
        VocabularySize = pipeline.Model.Vocabulary.Count
            + pipeline.Added.Tokens.Count(token => !pipeline.Model.Vocabulary.ContainsKey(token.Content));
    }

    /// <summary>What turns text into ids and back.</summary>
    internal Pipeline Pipeline => _pipeline;

    /// <summary>The tokenizer.json that it was made from; UTF-8.</summary>
    internal ReadOnlyMemory<byte> Json => _files.Tokenizer;

    /// <summary>Number of tokens, added ones included.</summary>
    public int VocabularySize { get; }

    /// <summary>Number of tokens of the model alone.</summary>
    public int ModelVocabularySize => _pipeline.Model.Vocabulary.Count;

    /// <summary>SHA-256 (hex) over everything that changes ids.</summary>
    public string Fingerprint => _fingerprint.Value;

    /// <summary>The named special tokens: <c>bos_token</c> → <c>&lt;s&gt;</c> and so on, for the variables of chat templates.</summary>
    public IReadOnlyDictionary<string, string> SpecialTokens => _settings.SpecialTokens;

    /// <summary>The longest input the model was made for; <see cref="int.MaxValue"/> where the files do not say.</summary>
    public int ModelMaxLength => _settings.ModelMaxLength;

    /// <summary>Source of the default chat template; null where there is none.</summary>
    public string? ChatTemplate => _settings.ChatTemplate;

    /// <summary>Every chat template by name; the default one is called <c>default</c>.</summary>
    public IReadOnlyDictionary<string, string> ChatTemplates => _settings.ChatTemplates;

    /// <summary>The id that begins a text; null where the files name no begin token, or one that the vocabulary lacks.</summary>
    public int? BosId => IdOf("bos_token");

    /// <summary>The id that ends a text; null where the files name no end token, or one that the vocabulary lacks.</summary>
    public int? EosId => IdOf("eos_token");

    /// <summary>The id that fills short rows; null where the files name no such token, or one that the vocabulary lacks.</summary>
    public int? PadId => IdOf("pad_token");

    /// <summary>The id that stands for unknown text; null where the model knows every byte.</summary>
    public int? UnkId => IdOf("unk_token");

    /// <summary>Opens a tokenizer.</summary>
    /// <param name="folderOrFile">A folder with tokenizer.json or tokenizer.json.gz (and tokenizer_config.json, special_tokens_map.json,
    /// chat_template.jinja), or the file itself.</param>
    /// <exception cref="InputException">The files cannot be read, or use a component that is not supported.</exception>
    public static Tokenizer Load(string folderOrFile) => Create(TokenizerFolder.Read(folderOrFile));

    /// <summary>Opens a tokenizer from the text of a tokenizer.json alone.</summary>
    /// <param name="json">UTF-8.</param>
    /// <param name="name">Name for messages.</param>
    public static Tokenizer FromJson(ReadOnlySpan<byte> json, string name = "tokenizer.json") =>
        Create(new() { Name = name, Tokenizer = json.ToArray() });

    internal static Tokenizer Create(TokenizerFolder files)
    {
        using var document = TokenizerFolder.Parse(files.Tokenizer, files.Name);
        var rules = new TokenizerRules(files);
        var pipeline = PipelineReader.Read(document.RootElement, files.Name, rules);
        return new(files, pipeline, TokenizerSettings.From(files, pipeline, rules));
    }

    /// <summary>Ids of a text.</summary>
    /// <param name="addSpecialTokens">Whether the post-processor adds what the model expects around a text, such as a begin token.</param>
    public int[] Encode(string text, bool addSpecialTokens = true) => _pipeline.Encode(text, addSpecialTokens);

    /// <summary>Ids of a text with what the post-processor adds around it, but not twice: a text that was rendered with a chat template has
    /// its begin token.</summary>
    /// <param name="addSpecialTokens">Whether anything is added at all.</param>
    public int[] EncodeOnce(string text, bool addSpecialTokens = true) => _pipeline.Encode(text, addSpecialTokens, once: true);

    /// <summary>Ids of a text that goes on: with what the post-processor adds before it, once, and nothing behind it.</summary>
    /// <param name="addSpecialTokens">Whether anything is added at all.</param>
    public int[] EncodePrompt(string text, bool addSpecialTokens = true) =>
        _pipeline.Encode(text, addSpecialTokens, once: true, open: true);

    /// <summary>Ids of a text with the code points of the original text that each covers.</summary>
    public Encoding EncodeWithOffsets(string text, bool addSpecialTokens = true)
    {
        var encoded = _pipeline.EncodeFully(text, null, addSpecialTokens);
        return new([.. encoded.Ids], [.. encoded.Offsets]);
    }

    /// <summary>Everything about a text or a pair of texts.</summary>
    internal EncodedPart EncodeFully(string text, string? pair, bool addSpecialTokens) =>
        _pipeline.EncodeFully(text, pair, addSpecialTokens);

    /// <summary>Ids of many texts, on all cores.</summary>
    public int[][] EncodeAll(IReadOnlyList<string> texts, bool addSpecialTokens = true)
    {
        var ids = new int[texts.Count][];
        Parallel.For(0, texts.Count, i => ids[i] = _pipeline.Encode(texts[i], addSpecialTokens));
        return ids;
    }

    /// <summary>Text of ids; ids outside the vocabulary give nothing.</summary>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens = false)
    {
        var text = _pipeline.Decode(ids, skipSpecialTokens);
        return _settings.CleansUp ? TokenizerRules.CleanUp(text) : text;
    }

    /// <summary>Text of ids as the decoder gives it, without the clean-up of the configuration: what grows as ids are added.</summary>
    internal string DecodePlain(ReadOnlySpan<int> ids, bool skipSpecialTokens) => _pipeline.Decode(ids, skipSpecialTokens);

    /// <summary>The bytes that an id adds to a text, before the steps that look at a whole text; null for a special token, and where there is
    /// none.</summary>
    /// <exception cref="Base.InputException">The tokenizer's decoder looks at several tokens at once.</exception>
    internal byte[]? BytesOf(int id) => _pipeline.BytesOf(id);

    /// <summary>Decodes as version 0.23 of the reference does: added tokens in their normalized form.</summary>
    internal string DecodeNormalized(ReadOnlySpan<int> ids, bool skipSpecialTokens) =>
        _pipeline.Decode(ids, skipSpecialTokens, normalized: true);

    /// <summary>A decoder for one growing sequence of ids.</summary>
    public StreamDecoder CreateStreamDecoder(bool skipSpecialTokens = true) => new(this, skipSpecialTokens);

    /// <summary>The id of a token as the vocabulary spells it, added ones included; null where there is none.</summary>
    public int? TokenToId(string token) => _pipeline.IdOf(token);

    /// <summary>The token of an id as the vocabulary spells it, which need not be the text it decodes to; null
    /// where there is none.</summary>
    public string? IdToToken(int id) => _pipeline.TokenOf(id);

    /// <summary>Whether an id is a special token: one that <c>skipSpecialTokens</c> leaves out.</summary>
    public bool IsSpecial(int id) => _pipeline.TokenOf(id) is { } token && _pipeline.Added.IsSpecial(token);

    /// <summary>Every added token, by id.</summary>
    public IEnumerable<(int Id, string Content, bool Special)> AddedTokens =>
        _pipeline.Added.Tokens.Select(token => (token.Id, token.Content, token.Special));

    /// <summary>What the tokenizer is made of, in the order of the pipeline, e.g. <c>pre_tokenizer</c> and
    /// <c>Sequence(Digits, ByteLevel)</c>.</summary>
    public IReadOnlyList<(string Part, string Text)> Parts => TokenizerParts.Of(_files);

    /// <summary>A changed copy.</summary>
    /// <param name="eosToken">New end token; null keeps it.</param>
    /// <param name="padToken">New padding token; null keeps it.</param>
    /// <param name="chatTemplate">New default template; null keeps it.</param>
    /// <exception cref="InputException">The token is not in the vocabulary.</exception>
    public Tokenizer With(string? eosToken = null, string? padToken = null, string? chatTemplate = null)
    {
        var settings = _settings;
        if (eosToken is not null)
            settings = settings.WithToken("eos_token", Known(eosToken, "eos_token"));
        if (padToken is not null)
            settings = settings.WithToken("pad_token", Known(padToken, "pad_token"));
        if (chatTemplate is not null)
            settings = settings.WithTemplate(chatTemplate);
        return new(_files, _pipeline, settings);
    }

    /// <summary>A copy with more special tokens: a token of the vocabulary keeps its id, any other gets the next one.</summary>
    /// <param name="special">Contents of the tokens; those that are special tokens already stay as they are.</param>
    /// <param name="roles">New names: <c>bos_token</c>, <c>eos_token</c>, <c>pad_token</c> and so on, and the token of each; null for
    /// none.</param>
    /// <exception cref="InputException">A token is empty, or a named one is not in the vocabulary.</exception>
    /// <remarks>A model whose embedding has no row for a new id needs one first: see <c>handbook tokenizer add</c>.</remarks>
    public Tokenizer WithTokens(IReadOnlyList<string> special, IReadOnlyDictionary<string, string>? roles = null)
    {
        var named = roles ?? new Dictionary<string, string>();
        var changed = Create(NewTokens.Into(_files, _pipeline.Model, _pipeline.Added.Tokens, special, named));
        var settings = changed._settings with { ChatTemplates = _settings.ChatTemplates };
        foreach (var (role, token) in _settings.SpecialTokens.Where(pair => !named.ContainsKey(pair.Key)))
            settings = settings.WithToken(role, token);
        return new(changed._files, changed._pipeline, settings);
    }

    /// <summary>About how many bytes <see cref="Save"/> writes.</summary>
    public long SavedBytes => _files.Tokenizer.Length
        + 4L * ((ChatTemplate?.Length ?? 0) + _files.AdditionalTemplates.Values.Sum(template => template.Length)) + (64 << 10);

    /// <summary>Writes the tokenizer in its published layout: tokenizer.json unchanged, tokenizer_config.json, special_tokens_map.json,
    /// chat_template.jinja.</summary>
    public void Save(string folder) => _settings.Save(folder, _files, this);

    private string Known(string token, string role) => TokenToId(token) is not null ? token
        : throw new InputException($"{role} \"{token}\" is not in the vocabulary of {_files.Name}",
            "a token without an id cannot be asked for or predicted",
            $"use one of its special tokens, "
                + $"e.g. {string.Join(", ", _pipeline.Added.Tokens.Where(t => t.Special).Take(8).Select(t => $"\"{t.Content}\""))}");

    private int? IdOf(string role) => SpecialTokens.TryGetValue(role, out var token) ? TokenToId(token) : null;
}
