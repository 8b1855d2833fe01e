using Handbook.Base;
using Handbook.Text.Tokenizers.PreTokenizers;
using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>pre_tokenizer</c> section of a tokenizer.json.</summary>
internal static class PreTokenizerReader
{
    private const string Known = "Sequence, ByteLevel, Split, Digits, Metaspace, Punctuation, Whitespace, WhitespaceSplit, "
        + "BertPreTokenizer, CharDelimiterSplit, UnicodeScripts, FixedLength";

    public static PreTokenizer Read(ConfigNode node) => node.Find("type")?.AsText() switch
    {
        "Sequence" => new SequencePreTokenizer([.. node.Need("pretokenizers").Items().Select(Read)]),
        "ByteLevel" => new ByteLevel(node.Flag("add_prefix_space"), node.Flag("use_regex", true)),
        "Split" => new Split(PatternReader.Read(node.Need("pattern")),
            Behavior(node.Need("behavior")), node.Flag("invert")),
        "Digits" => new Split(new PointMatcher(Properties.IsNumeric),
            node.Flag("individual_digits") ? SplitBehavior.Isolated : SplitBehavior.Contiguous),
        "Metaspace" => new Metaspace(Replacement(node), Scheme(node), node.Flag("split", true)),
        "Punctuation" => new Split(new PointMatcher(Properties.IsPunctuation),
            node.Find("behavior") is { } behavior ? Behavior(behavior) : SplitBehavior.Isolated),
        "Whitespace" => new Split(new WhitespaceMatcher(), SplitBehavior.Removed, invert: true),
        "WhitespaceSplit" => new Split(new PointMatcher(Properties.IsWhiteSpace), SplitBehavior.Removed),
        "BertPreTokenizer" => new BertPreTokenizer(),
        "CharDelimiterSplit" => Delimiter(OnePoint(node.Need("delimiter"))),
        "UnicodeScripts" => new UnicodeScripts(),
        "FixedLength" => new FixedLength(node.Number("length") is > 0 and var length ? length
            : throw node.Need("length").Wrong("at least 1")),
        _ => throw PipelineReader.Unknown(node, "pre-tokenizer", Known),
    };

    /// <summary>The same, but a byte-level one puts a space before a text as the class's configuration says.</summary>
    public static PreTokenizer Read(ConfigNode node, bool prefixSpace) => node.Find("type")?.AsText() == "ByteLevel"
        ? new ByteLevel(prefixSpace, node.Flag("use_regex", true)) : Read(node);

    /// <summary>The character that stands for a space; also read by the decoder of that name.</summary>
    public static int Replacement(ConfigNode node) => OnePoint(node.Need("replacement"));

    /// <summary><c>prepend_scheme</c>, or <c>add_prefix_space</c> in older files.</summary>
    public static PrependScheme Scheme(ConfigNode node)
    {
        var scheme = node.Text("prepend_scheme", "") switch
        {
            "" => (PrependScheme?)null,
            "always" => PrependScheme.Always,
            "first" => PrependScheme.First,
            "never" => PrependScheme.Never,
            _ => throw node.Need("prepend_scheme").Wrong("\"always\", \"first\" or \"never\""),
        };
        if (node.Find("add_prefix_space")?.AsFlag() != false)
            return scheme ?? PrependScheme.Always;
        if (scheme is not null and not PrependScheme.Never)
            throw new InputException($"{node.Path} has add_prefix_space false, but prepend_scheme {node.Need("prepend_scheme").Shown}",
                "they contradict each other", "remove add_prefix_space");
        return PrependScheme.Never;
    }

    private static Split Delimiter(int delimiter) => new(new PointMatcher(point => point == delimiter), SplitBehavior.Removed);

    private static int OnePoint(ConfigNode node) => CodePoints.Of(node.AsText()) is [var point] ? point : throw node.Wrong("one character");

    private static SplitBehavior Behavior(ConfigNode node) =>
        Enum.GetValues<SplitBehavior>().Cast<SplitBehavior?>().FirstOrDefault(behavior => $"{behavior}" == node.AsText())
        ?? throw node.Wrong(string.Join(", ", Enum.GetNames<SplitBehavior>()));
}
