using Handbook.Text.Tokenizers.Patterns;
using Handbook.Text.Tokenizers.PreTokenizers;
using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads the <c>pre_tokenizer</c> section of a tokenizer.json.</summary>
internal static class PreTokenizerReader
{
    public static PreTokenizer Read(ConfigNode node) => node.Find("type")?.AsText() switch
    {
        "Sequence" => new SequencePreTokenizer([.. node.Need("pretokenizers").Items().Select(Read)]),
        "ByteLevel" => new ByteLevel(node.Flag("add_prefix_space"), node.Flag("use_regex", true)),
        "Split" => new Split(Pattern(node.Need("pattern")), Behavior(node.Need("behavior")), node.Flag("invert")),
        "Digits" => new Split(new PointMatcher(Properties.IsNumber), node.Flag("individual_digits") ? SplitBehavior.Isolated : SplitBehavior.Contiguous),
        _ => throw PipelineReader.Unknown(node, "pre-tokenizer", "Sequence"),
    };

    private static IMatcher Pattern(ConfigNode node) =>
        node.Find("Regex") is { } regex ? SplitScanner.For(regex.AsText()) ?? throw regex.Wrong("a known pattern")
        : node.Find("String") is { } literal ? new LiteralMatcher(literal.AsText()) : throw node.Wrong("{\"String\": …} or {\"Regex\": …}");

    private static SplitBehavior Behavior(ConfigNode node) => Enum.TryParse<SplitBehavior>(node.AsText(), out var behavior) && Enum.IsDefined(behavior)
        ? behavior : throw node.Wrong(string.Join(", ", Enum.GetNames<SplitBehavior>()));
}
