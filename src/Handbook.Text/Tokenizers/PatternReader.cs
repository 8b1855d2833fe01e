using Handbook.Base;
using Handbook.Text.Tokenizers.Patterns;

namespace Handbook.Text.Tokenizers;

/// <summary>Reads <c>{"String": …}</c> and <c>{"Regex": …}</c>.</summary>
internal static class PatternReader
{
    public static IMatcher Read(ConfigNode node)
    {
        if (node.Find("String") is { } literal)
            return literal.AsText().Length == 0 ? new Pattern("") : new LiteralMatcher(literal.AsText());
        return Regex(node.Find("Regex") ?? throw node.Wrong("{\"String\": …} or {\"Regex\": …}"));
    }

    private static IMatcher Regex(ConfigNode node)
    {
        var source = node.AsText();
        try
        {
            return SplitScanner.For(source) ?? (IMatcher)new Pattern(source);
        }
        catch (PatternException mistake)
        {
            throw new InputException($"{node.Path} is not a regular expression, at "
                + $"character {mistake.Position + 1}: {mistake.Message}\n    {source}\n    {new string(' ', mistake.Position)}^",
                fix: "compare it with the published tokenizer.json; the syntax is Oniguruma's", inner: mistake);
        }
    }
}
