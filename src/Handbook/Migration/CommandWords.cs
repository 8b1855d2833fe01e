using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Migration;

/// <summary>The words behind a Python script as settings: <c>--name value</c>, <c>--name=value</c>, <c>--flag</c>, <c>--no_flag</c>, and
/// several values of a list.</summary>
internal static class CommandWords
{
    /// <param name="words">What stands behind the script.</param>
    /// <param name="positional">Gets the words in front of the first option.</param>
    public static IReadOnlyList<ForeignKey> Settings(IReadOnlyList<ShellWord> words, out IReadOnlyList<ShellWord> positional)
    {
        var first = 0;
        while (first < words.Count && !IsOption(words[first]))
            first++;
        positional = [.. words.Take(first)];
        List<ForeignKey> settings = [];
        for (var at = first; at < words.Count;)
        {
            var word = words[at++];
            var equals = word.Text.IndexOf('=');
            var name = (equals < 0 ? word.Text[2..] : word.Text[2..equals]).Replace('-', '_');
            List<ShellWord> values = equals < 0 ? [] : [Behind(word, equals + 1)];
            while (at < words.Count && equals < 0 && !IsOption(words[at]))
                values.Add(words[at++]);
            if (values.Count == 0 && RecipeKeys.Find(name) is null && name.StartsWith("no_", StringComparison.Ordinal)
                && RecipeKeys.Find(name[3..]) is not null)
                settings.Add(Setting(name[3..], word with { Text = "false" }, word.Line));
            else
                settings.Add(values switch
                {
                    [] => Setting(name, word with { Text = "true" }, word.Line),
                    [var only] => Setting(name, only, word.Line),
                    _ => new(name, new ListNode(Span(word), [.. values.Select(value => new ScalarNode(Span(value), value.Text,
                        Quoted: false))]),
                        word.Line),
                });
        }
        return settings;
    }

    /// <summary>The first variable in settings that nothing sets, with its line.</summary>
    public static ShellWord? Unknown(IEnumerable<ShellWord> words) =>
        words.Where(word => word.Unknown is not null).Select(word => (ShellWord?)word).FirstOrDefault();

    private static ForeignKey Setting(string name, ShellWord value, int line)
    {
        var node = value.Text.AsSpan().TrimStart() is ['{' or '[', ..]
            && YamlReader.Read(value.Text, null, new Diagnostics("")) is { } structured
            ? RecipeBinder.Moved(structured, Span(value)) : new ScalarNode(Span(value), value.Text, Quoted: false);
        return new(name, node, line);
    }

    private static bool IsOption(ShellWord word) => word.Text.Length > 2 && word.Text.StartsWith("--", StringComparison.Ordinal);

    /// <summary>The value behind the equals sign of an option.</summary>
    private static ShellWord Behind(ShellWord word, int start) => word with
    {
        Text = word.Text[start..],
        Column = word.Column + start,
        Length = Math.Max(1, word.Length - start),
    };

    // No source: a value of a command line, whose lists have commas. ScriptPlace finds the script's line.
    private static SourceSpan Span(ShellWord word) => word.Column > 0 ? new(null, word.Line, word.Column, word.Length, word.Text)
        : new(null, 0, 1, Math.Max(1, word.Text.Length), word.Text);
}
