using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Tokenizers.Formats;
using Handbook.Text.Tokenizers.PostProcessors;

namespace Handbook.Text.Tokenizers;

/// <summary>The keys of tokenizer_config.json that change ids or decoded text, by the rules of transformers 5.</summary>
internal sealed class TokenizerRules
{
    private const string Name = "tokenizer_config.json";

    /// <summary>Classes of GPT-2's kind, which put the space before a text as their configuration says, in every release.</summary>
    private static readonly string[] PrefixClasses = ["GPT2Tokenizer", "CodeGenTokenizer", "GPTNeoXTokenizer", "BloomTokenizer",
        "RobertaTokenizer", "BartTokenizer", "BlenderbotTokenizer", "DebertaTokenizer"];

    private readonly bool? _addsBegin, _addsEnd;
    private readonly bool _cleansUp, _cleansUpBpe;

    public TokenizerRules(TokenizerFolder files)
    {
        var config = files.Config ?? [];
        Tokens = ConfiguredTokens.Read(files);
        (_addsBegin, _addsEnd) = (Flag(config, "add_bos_token"), Flag(config, "add_eos_token"));
        if (PrefixClasses.Contains(TokenizerClass.Of(config, null)) && config["add_prefix_space"] is not null)
            PrefixSpace = Flag(config, "add_prefix_space");
        SplitsSpecial = Flag(config, "split_special_tokens") ?? false;
        _cleansUp = Flag(config, "clean_up_tokenization_spaces") ?? false;
        _cleansUpBpe = Flag(config, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output") ?? false;
        if (Flag(config, "fix_mistral_regex") ?? false)
            throw new InputException($"{Name}: fix_mistral_regex is true, but the repaired pattern is not put in here",
                "the text would be cut as the file says, not as the key asks",
                "save the tokenizer with transformers once the key is set: its tokenizer.json then holds the repaired pattern");
    }

    /// <summary>Named and added tokens.</summary>
    public ConfiguredTokens Tokens { get; }

    /// <summary>Whether a byte-level pre-tokenizer puts a space before a text, whatever tokenizer.json says; null for as it says.</summary>
    public bool? PrefixSpace { get; }

    /// <summary>Whether special tokens that stand in a text are split like any other text.</summary>
    public bool SplitsSpecial { get; }

    /// <summary>Whether decoded text loses spaces before punctuation. That of a BPE model, which writes its spaces itself, only where a key
    /// insists.</summary>
    public bool CleansUp(bool isBpe) => _cleansUp && (!isBpe || _cleansUpBpe);

    /// <summary>What stands around a text: where add_bos_token or add_eos_token is there, the two say so; otherwise the file's
    /// post-processor.</summary>
    /// <param name="idOf">The id of a token; null where it has none.</param>
    public PostProcessor? Frame(PostProcessor? published, Func<string, int?> idOf)
    {
        if (_addsBegin is null && _addsEnd is null)
            return published;
        var contents = Tokens.Contents.ToDictionary();
        var begin = Special(_addsBegin, "bos_token");
        var end = Special(_addsEnd, "eos_token");
        // The same ids: the published one stays, for its finer offsets.
        if (published is { Frame: var (before, after) } && Same(before, begin) && Same(after, end))
            return published;
        TemplateItem[] single = [.. Items(begin, 0), new(0, 0, null, ""), .. Items(end, 0)];
        return new TemplateProcessor(single, [.. single, .. Items(begin, 1), new(1, 1, null, ""), .. Items(end, 1)]);

        (int Id, string Token)[] Special(bool? adds, string role) =>
            adds == true && contents.TryGetValue(role, out var content) && idOf(content) is { } id ? [(id, content)] : [];

        static bool Same(int[] ids, (int Id, string Token)[] tokens) => ids.AsSpan().SequenceEqual([.. tokens.Select(token => token.Id)]);

        static IEnumerable<TemplateItem> Items((int Id, string Token)[] tokens, int type) =>
            tokens.Select(token => new TemplateItem(-1, type, [token], token.Token));
    }

    /// <summary>Takes out the spaces that a word-based tokenizer puts before punctuation and contractions: those before <c>. ? ! ,</c>, then
    /// the two around an apostrophe, then those before <c>n't 'm 's 've 're</c>; as one replacement after the other would.</summary>
    public static string CleanUp(string text)
    {
        var buffer = ArrayPool<char>.Shared.Rent(text.Length);
        var kept = TakeOut(text, buffer, static rest => rest is [_, '.' or '?' or '!' or ',', ..] ? 1 : 0);
        if (buffer.AsSpan(0, kept).Contains('\''))
        {
            kept = TakeOut(buffer.AsSpan(0, kept), buffer, static rest => rest is [_, '\'', ' ', ..] ? 2 : 0);
            kept = TakeOut(buffer.AsSpan(0, kept), buffer, static rest =>
                rest is [_, '\'', 'm' or 's', ..] or [_, '\'', 'v' or 'r', 'e', ..] or [_, 'n', '\'', 't', ..] ? 1 : 0);
        }
        var clean = kept == text.Length ? text : new string(buffer, 0, kept);
        ArrayPool<char>.Shared.Return(buffer);
        return clean;
    }

    /// <summary>Copies a text without some of its spaces; the target may be the text's own memory.</summary>
    /// <param name="spaces">How many spaces go, from the text that begins with a space: none, that one, or that and the next but one.</param>
    private static int TakeOut(ReadOnlySpan<char> text, Span<char> target, Func<ReadOnlySpan<char>, int> spaces)
    {
        var kept = 0;
        while (text.IndexOf(' ') is >= 0 and var at)
        {
            text[..at].CopyTo(target[kept..]);
            kept += at;
            text = text[at..];
            var gone = spaces(text);
            if (gone != 1)
                target[kept++] = gone == 0 ? ' ' : text[1];
            text = text[(gone == 2 ? 3 : 1)..];
        }
        text.CopyTo(target[kept..]);
        return kept + text.Length;
    }

    /// <summary>A switch of the Python class, which has its own value where the file has none or null.</summary>
    public static bool ClassFlag(JsonObject config, string key, bool otherwise) =>
        config[key] is null ? otherwise : Flag(config, key) ?? otherwise;

    /// <summary>A switch; null where it is absent. A null in the file is there, and off.</summary>
    private static bool? Flag(JsonObject config, string key)
    {
        if (!config.TryGetPropertyValue(key, out var value))
            return null;
        return value?.GetValueKind() switch
        {
            null => false,
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw new InputException($"{Name}: {key} is {value!.ToJsonString()}, but must be true or false"),
        };
    }
}
