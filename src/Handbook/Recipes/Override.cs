using Handbook.Base;

namespace Handbook.Recipes;

/// <summary>One override: the key's path and its value with a place in the argument.</summary>
internal sealed record Override(string Spelled, IReadOnlyList<string> Path, RecipeNode Value, SourceSpan KeySpan)
{
    /// <summary>The words behind <c>--key</c> that are its values: one, or several for a list; none for a flag.</summary>
    public static IEnumerable<string> ValuesAfter(IReadOnlyList<string> words, int index)
    {
        if (words[index].Contains('='))
            return [];
        var key = RecipeKeys.Find(Spell(words[index][2..].Split('.')[0]));
        if (key is null && LauncherOptions.Contains(words[index][2..]))
            return words.Skip(index + 1).Take(LauncherOptions.TakesValue(words[index][2..]) ? 1 : 0)
                .Where(word => !word.StartsWith("--", StringComparison.Ordinal));
        var following = words.Skip(index + 1).TakeWhile(word => !word.StartsWith("--", StringComparison.Ordinal));
        if (key is null)
            return words[index].StartsWith("--no", StringComparison.Ordinal) && Negated(Spell(words[index][2..])) is not null ? []
                : following.Take(1).Where(word => !IsRecipe(word));
        if (RecipeBinder.IsList(key.Type) && !words[index].Contains('.'))
            return following.TakeWhile(word => !IsRecipe(word));
        if ((Nullable.GetUnderlyingType(key.Type) ?? key.Type) == typeof(bool))
            return following.Take(1).Where(word =>
                word is "true" or "True" or "false" or "False" or "yes" or "no" or "y" or "n" or "t" or "f" or "1" or "0" or "null");
        return following.Take(1);
    }

    /// <summary>Reads the words of a command line; what cannot be read goes to the report.</summary>
    public static IReadOnlyList<Override> Parse(IReadOnlyList<string> words, Diagnostics report)
    {
        List<Override> overrides = [];
        for (var i = 0; i < words.Count; i++)
        {
            var word = words[i];
            if (!word.StartsWith("--", StringComparison.Ordinal) || word.Length == 2)
            {
                report.ErrorAt(Argument(word, 0, word.Length), $"{word} is not an override", fix: "write --key=value");
                continue;
            }
            var equals = word.IndexOf('=');
            var written = equals < 0 ? word[2..] : word[2..equals];
            string[] values = [.. ValuesAfter(words, i)];
            i += values.Length;
            var path = KeyPath.Split(written);
            path[0] = Spell(path[0]);
            var text = equals >= 0 ? word[(equals + 1)..] : values.Length > 0 ? string.Join(' ', values) : null;
            var whole = equals >= 0 || values.Length == 0 ? word : $"{word} {text}";
            var keySpan = Argument(whole, 2, written.Length);
            if (text is null && path[0].StartsWith("no_", StringComparison.Ordinal) && RecipeKeys.Find(path[0]) is null
                && RecipeKeys.Find(path[0][3..]) is { } other && Negated(path[0]) is null)
            {
                report.ErrorAt(keySpan, $"--{written} is not a key of a recipe",
                    $"--no_ turns off a key that is true or false, and {other.Name} is {RecipeBinder.Described(other.Type)}",
                    $"write --{other.Name}=VALUE, or leave it out for its default");
                continue;
            }
            if (text is null && Negated(path[0]) is { } positive)
            {
                path[0] = positive;
                text = "false";
            }
            var type = RecipeKeys.Find(path[0])?.Type;
            var isFlag = type is not null && (Nullable.GetUnderlyingType(type) ?? type) == typeof(bool);
            if (text is null && type is not null && !isFlag)
            {
                report.ErrorAt(keySpan, $"--{written} has no value", fix: $"write --{written}=VALUE; it is {RecipeBinder.Described(type)}");
                continue;
            }
            var span = text is null || whole == word && equals < 0 ? keySpan : Argument(whole, whole.Length - text.Length, text.Length);
            if (Node(text ?? "true", values, type, path.Length > 1, span, report) is { } node)
                overrides.Add(new(written, path, node, keySpan));
        }
        return overrides;
    }

    private static RecipeNode? Node(string text, string[] words, Type? type, bool inner, SourceSpan span, Diagnostics report)
    {
        if (type is not null && RecipeBinder.IsList(type) && !inner && words.Length > 1)
            return new ListNode(span, [.. words.Select(word => new ScalarNode(span, word, Quoted: false))]);
        if ((inner || type is not null && RecipeBinder.IsStructured(type)) && text.AsSpan().TrimStart() is ['{' or '[' or '"', ..])
            return YamlReader.Read(text, span, report) is { } parsed ? Placed(parsed, span) : null;
        return new ScalarNode(span, text, Quoted: false);
    }

    // places inside the value are places inside the argument
    private static RecipeNode Placed(RecipeNode node, SourceSpan span)
    {
        var at = span.Part(node.Span.Column - 1, node.Span.Length);
        return node switch
        {
            ListNode list => list with { Span = at, Items = [.. list.Items.Select(item => Placed(item, span))] },
            MapNode map => map with
            {
                Span = at,
                Entries = [.. map.Entries.Select(entry =>
            new MapEntry((ScalarNode)Placed(entry.Key, span), Placed(entry.Value, span)))]
            },
            _ => node with { Span = at },
        };
    }

    private static SourceSpan Argument(string word, int start, int length) => new(null, 0, start + 1, Math.Max(1, length), word);

    private static string Spell(string key) => key.Replace('-', '_');

    private static string? Negated(string key) =>
        key.StartsWith("no_", StringComparison.Ordinal) && RecipeKeys.Find(key) is null && RecipeKeys.Find(key[3..]) is { } known
        && (Nullable.GetUnderlyingType(known.Type) ?? known.Type) == typeof(bool) ? key[3..] : null;

    private static bool IsRecipe(string word) => word.EndsWith(".yaml", StringComparison.Ordinal)
        || word.EndsWith(".yml", StringComparison.Ordinal);
}
