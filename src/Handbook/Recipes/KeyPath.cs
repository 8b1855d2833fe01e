using Handbook.Base.Keys;
using Handbook.Text.Tokenizers.PreTokenizers;

namespace Handbook.Recipes;

/// <summary>The parts of a dotted override: a name in a map may hold dots itself, as files and data sets do.</summary>
internal static class KeyPath
{
    /// <summary>Splits at dots; between double quotes none is one.</summary>
    public static string[] Split(string written)
    {
        var parts = new List<string>();
        var (start, quoted) = (0, false);
        for (var i = 0; i < written.Length; i++)
        {
            quoted ^= written[i] == '"';
            if (written[i] == '.' && !quoted)
            {
                parts.Add(written[start..i]);
                start = i + 1;
            }
        }
        parts.Add(written[start..]);
        return [.. parts.Select(part => part is ['"', .. var inner, '"'] ? inner : part)];
    }

    /// <summary>The names below a key, as far as what the recipe has and the key's type tell where one ends.</summary>
    /// <param name="node">What the recipe has there; null for nothing.</param>
    /// <param name="path">The parts between dots, the key first.</param>
    public static string[] Below(RecipeKey key, RecipeNode? node, IReadOnlyList<string> path)
    {
        var (names, type, at) = (new List<string>(), (Type?)key.Type, 1);
        while (at < path.Count)
        {
            var (name, next) = Next(node, type, path, at);
            names.Add(name);
            (type, node, at) = (Inner(type, name), Child(node, name), next);
        }
        return [.. names];
    }

    private static (string Name, int Next) Next(RecipeNode? node, Type? type, IReadOnlyList<string> path, int at)
    {
        if (type is null || !IsMap(type))
            return (path[at], at + 1);
        // The longest name that is there already; else all of the rest, where a value and no further map stands below it.
        if (node is MapNode map)
            for (var end = path.Count; end > at; end--)
                if (map[string.Join('.', path.Skip(at).Take(end - at))] is not null)
                    return (string.Join('.', path.Skip(at).Take(end - at)), end);
        return type.GenericTypeArguments[1] == typeof(object) ? (path[at], at + 1) : (string.Join('.', path.Skip(at)), path.Count);
    }

    private static bool IsMap(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IReadOnlyDictionary<,>);

    private static Type? Inner(Type? type, string name) => type switch
    {
        null => null,
        _ when IsMap(type) => type.GenericTypeArguments[1],
        { IsGenericType: true } when RecipeBinder.IsList(type) => type.GenericTypeArguments[0],
        _ => type.GetProperties().FirstOrDefault(property => RecipeNames.Key(property.Name) == name)?.PropertyType,
    };

    private static RecipeNode? Child(RecipeNode? node, string name) => node switch
    {
        MapNode map => map[name],
        ListNode list when int.TryParse(name, out var index) && index >= 0 && index < list.Items.Count => list.Items[index],
        _ => null,
    };
}
