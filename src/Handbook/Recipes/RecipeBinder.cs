using System.Globalization;
using System.Reflection;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Training;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>Turns what the user wrote into the type that a key needs; what does not fit goes to the report.</summary>
/// <remarks>The key's type decides, not the spelling: <c>5e-7</c> is a number, <c>no</c> is a strategy or a truth value, as the key needs
/// it.</remarks>
internal sealed class RecipeBinder(Diagnostics report)
{
    /// <param name="key">The key as the user spelled it, dotted below maps.</param>
    /// <returns>Whether the value fits; a problem is in the report otherwise.</returns>
    public bool TryBind(RecipeNode node, Type type, string key, out object? value)
    {
        value = null;
        var target = Nullable.GetUnderlyingType(type) ?? type;
        if (node is ScalarNode written && IsMap(target) && written.Text.AsSpan().TrimStart() is ['{', ..])
        {
            if (Inside(written, key) is not { } map)
                return false;
            node = map;
        }
        if (node is ScalarNode { IsNull: true })
        {
            if (!type.IsValueType || target != type)
                return true;
            if (target == typeof(bool))     // `bf16: null` means: as usual
            {
                value = Unset;
                return true;
            }
            return Fail(node, key, "is empty", $"write {Described(target)}, or remove the line to take the default");
        }
        if (target == typeof(object))
            value = Free(node);
        else if (target == typeof(string) || target == typeof(bool) || target == typeof(int) || target == typeof(long)
            || target == typeof(double) || target == typeof(StepInterval) || target.IsEnum)
            return node is ScalarNode scalar ? TryScalar(scalar, target, key, out value)
                : Fail(node, key, $"is {Kind(node)}, not {Described(target)}", $"write one value: {Example(target, key)}");
        else if (target == typeof(IReadOnlyList<string>))
            return TryTexts(node, key, out value);
        else if (target == typeof(IReadOnlyList<double>))
            return TryNumbers(node, key, out value);
        else if (target.IsGenericType && target.GetGenericTypeDefinition() == typeof(IReadOnlyList<>))
            return TryRecords(node, target.GenericTypeArguments[0], key, out value);
        else if (target.IsGenericType && target.GetGenericTypeDefinition() == typeof(IReadOnlyDictionary<,>))
            return TryMap(node, target.GenericTypeArguments[1], key, out value);
        else
            return TryRecord(node, target, key, out value);
        return true;
    }

    /// <summary>Stands for: keep the default.</summary>
    public static object Unset { get; } = new();

    /// <summary>A type as the reference page names it.</summary>
    public static string Described(Type type) => (Nullable.GetUnderlyingType(type) ?? type) switch
    {
        var t when t == typeof(bool) => "true or false",
        var t when t == typeof(int) || t == typeof(long) => "a whole number",
        var t when t == typeof(double) => "a number",
        var t when t == typeof(StepInterval) => "a number of steps, or a share below 1",
        var t when t == typeof(string) => "a text",
        var t when t.IsEnum => string.Join(", ", RecipeNames.Spellings(t).Where(s => s.IsFirst).Select(s => s.Name)),
        var t when t == typeof(object) => "anything",
        var t when t == typeof(IReadOnlyList<string>) => "a list of texts",
        var t when t == typeof(IReadOnlyList<double>) => "a list of numbers",
        var t when t.IsGenericType && t.GetGenericTypeDefinition() == typeof(IReadOnlyList<>) => "a list of maps",
        _ => "a map",
    };

    /// <summary>Whether a value for this type may be written as several words or with commas.</summary>
    public static bool IsList(Type type) => type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IReadOnlyList<>);

    /// <summary>Whether a value for this type is written with braces.</summary>
    public static bool IsStructured(Type type) =>
        type == typeof(object) || IsList(type) || !type.IsValueType && type != typeof(string);

    private static bool IsMap(Type type) => type != typeof(object) && !IsList(type) && IsStructured(type);

    /// <summary>The map that a text in braces is, as the Python trainers read one; null where it is broken, which the report tells.</summary>
    private RecipeNode? Inside(ScalarNode text, string key)
    {
        var own = new Diagnostics(report.File);
        var read = YamlReader.Read(text.Text, source: null, own);
        if (!own.HasErrors && read is MapNode map)
            return Moved(map, text.Span);
        var wrong = own.Errors is [var first, ..] ? $": {first.What}" : "";
        Fail(text, key, $"is {Shown(text)}, a text that is no map{wrong}", "write {name: value}, without quotes around it");
        return null;
    }

    /// <summary>The same value, all of it at one place.</summary>
    internal static RecipeNode Moved(RecipeNode node, SourceSpan span) => node switch
    {
        MapNode inner => new MapNode(span, [.. inner.Entries.Select(entry => new MapEntry(entry.Key with { Span = span },
            Moved(entry.Value, span)))]),
        ListNode list => new ListNode(span, [.. list.Items.Select(item => Moved(item, span))]),
        _ => node with { Span = span },
    };

    private bool TryScalar(ScalarNode node, Type type, string key, out object? value)
    {
        value = null;
        var text = node.Text.Trim();
        if (type == typeof(string))
            value = node.Text;
        else if (type == typeof(bool))
            value = Truth(text);
        else if (type == typeof(int) || type == typeof(long))
        {
            if (node.Span.Source is not null && !node.Quoted && LeadingZero(text) is { } octal)
                return Fail(node, key, $"is {text}, which YAML 1.1 reads as {octal} and YAML 1.2 as {text.TrimStart('0')}",
                    $"write {text.TrimStart('0')} or {octal}, as it is meant");
            if ((Hexadecimal(text) ?? Number(text)) is { } whole)
            {
                if (whole != Math.Floor(whole))
                    return Fail(node, key, $"is {node.Text}, not a whole number", $"write {Example(type, key)}");
                var largest = type == typeof(int) ? int.MaxValue : (1L << 53) - 1;
                if (Math.Abs(whole) > largest)
                    return Fail(node, key, $"is {node.Text}, which is too large", $"the largest is {largest}");
                value = type == typeof(int) ? (int)whole : (object)(long)whole;
            }
        }
        else if (type == typeof(double))
            value = Number(text);
        else if (type == typeof(StepInterval))
            value = Number(text) is { } steps ? new StepInterval(steps) : null;
        else
            return TryName(node, type, key, out value);
        return value is not null || Fail(node, key, $"is {Shown(node)}, not {Described(type)}", $"write {Example(type, key)}");
    }

    private bool TryName(ScalarNode node, Type type, string key, out object? value)
    {
        var text = node.Text.Trim();
        var names = RecipeNames.Spellings(type);
        value = names.FirstOrDefault(spelling => spelling.Name == text).Value;
        if (value is not null)
            return true;
        if (type == typeof(OptimizerKind) && OtherOptimizers.Known.Contains(text))
            return Fail(node, key, $"is {text}, an optimiser that is not built yet",
                "write optim: adamw_torch, or another of "
                + $"{string.Join(", ", names.Where(spelling => spelling.IsFirst).Select(spelling => spelling.Name))}");
        var nearest = Spelling.Nearest(text, names.Select(spelling => spelling.Name));
        var choice = $"one of {string.Join(", ", names.Where(spelling => spelling.IsFirst).Select(spelling => spelling.Name))}";
        // Aliases are read but not listed: the one that is meant stands in the list.
        var listed = nearest is null ? null : names.First(spelling => spelling.IsFirst
            && Equals(spelling.Value, names.First(other => other.Name == nearest).Value)).Name;
        return Fail(node, key, $"is {Shown(node)}, not {choice}", listed is not null ? $"did you mean {listed}?"
            : $"write one that is listed, such as {names.First(spelling => spelling.IsFirst).Name}");
    }

    private bool TryTexts(RecipeNode node, string key, out object? value)
    {
        value = null;
        switch (node)
        {
            case ScalarNode scalar:     // `tensorboard`, or `a, b`
                var pieces = Pieces(scalar);
                value = scalar.Quoted || scalar.Span.Source is not null && !pieces.All(IsPlain) ? new[] { scalar.Text } : pieces;
                return true;
            case ListNode list when key != "dataset_configs" && list.Items.FirstOrDefault(item => item is ScalarNode { IsNull: true }) is { } none:
                return Fail(none, key, "has an empty entry", "remove it, or write a text");
            case ListNode list when list.Items.All(item => item is ScalarNode):
                // a data set without configurations has an empty one
                value = list.Items.Select(item => item is ScalarNode { IsNull: false } scalar ? scalar.Text : "").ToArray();
                return true;
            default:
                return Fail(node, key, $"is {Kind(node)}, not a list of texts", "write [first, second]");
        }
    }

    private static string[] Pieces(ScalarNode words) =>
        words.Text.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Whether a piece between commas is a name: in a file a comma may also belong to a pattern or to a sentence.</summary>
    private static bool IsPlain(string piece) => piece.All(c => char.IsLetterOrDigit(c) || "_-./:@<>|".Contains(c));

    private bool TryNumbers(RecipeNode node, string key, out object? value)
    {
        value = null;
        IReadOnlyList<RecipeNode> items = node switch
        {
            ListNode list => list.Items,
            ScalarNode { Quoted: false } words when words.Text.Contains(',') => [.. Pieces(words).Select(word => words with { Text = word })],
            _ => [node],
        };
        var numbers = items.Select(item => item is ScalarNode scalar ? Number(scalar.Text.Trim()) : null).ToArray();
        var wrong = Array.IndexOf(numbers, null);
        if (wrong >= 0)
            return Fail(items[wrong], key, $"has {Kind(items[wrong])}, not a number", "write [1.0, 0.5]");
        value = numbers.Select(number => number!.Value).ToArray();
        return true;
    }

    private bool TryRecords(RecipeNode node, Type type, string key, out object? value)
    {
        value = null;
        if (node is not ListNode list)
            return Fail(node, key, $"is {Kind(node)}, not a list", "put a line `- id: …` for each data set below it");
        var records = Array.CreateInstance(type, list.Items.Count);
        var fits = true;
        for (var i = 0; i < list.Items.Count; i++)
        {
            fits &= TryRecord(list.Items[i], type, $"{key}.{i}", out var record);
            records.SetValue(record, i);
        }
        value = records;
        return fits;
    }

    private bool TryMap(RecipeNode node, Type type, string key, out object? value)
    {
        value = null;
        if (node is not MapNode map)
            return Fail(node, key, $"is {Kind(node)}, not a map", "write {name: value}");
        var fits = true;
        if (type == typeof(double))
            value = Fill<double>();
        else if (type == typeof(string))
            value = Fill<string>();
        else
            value = Fill<object?>();
        return fits;

        Dictionary<string, T> Fill<T>()
        {
            var filled = new Dictionary<string, T>();
            foreach (var (entryKey, entry) in map.Entries)
            {
                object? bound = null;
                fits &= typeof(T) == typeof(string) && entry is ScalarNode { IsNull: true }
                    ? Fail(entry, $"{key}.{entryKey.Text}", "is empty", "write a text")
                    : TryBind(entry, typeof(T), $"{key}.{entryKey.Text}", out bound);
                if (bound is T || bound is null && default(T) is null)
                    filled[entryKey.Text] = (T)bound!;
            }
            return filled;
        }
    }

    private bool TryRecord(RecipeNode node, Type type, string key, out object? value)
    {
        value = null;
        var properties = type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .ToDictionary(property => RecipeNames.Key(property.Name));
        if (node is not MapNode map)
            return Fail(node, key, $"is {Kind(node)}, not a map", $"it has the keys {string.Join(", ", properties.Keys)}");
        var fits = true;
        value = Activator.CreateInstance(type)!;
        foreach (var (name, entry) in map.Entries)
        {
            if (!properties.TryGetValue(name.Text, out var property))
            {
                var nearest = Spelling.Nearest(name.Text, properties.Keys);
                report.ErrorAt(name.Span, $"{key} has no key {name.Text}",
                    fix: nearest is null ? $"it has {string.Join(", ", properties.Keys)}" : $"did you mean {nearest}?");
                fits = false;
            }
            else if (entry is not ScalarNode { IsNull: true })
            {
                if (TryBind(entry, property.PropertyType, $"{key}.{name.Text}", out var bound))
                    property.SetValue(value, bound);
                else
                    fits = false;
            }
        }
        return fits;
    }

    /// <summary>A value whose type nobody prescribes: the types of YAML 1.2, with 1.1's numbers.</summary>
    internal static object? Free(RecipeNode node) => node switch
    {
        ScalarNode { IsNull: true } => null,
        ScalarNode { Quoted: true } quoted => quoted.Text,
        ScalarNode { Text: "true" or "True" } => true,
        ScalarNode { Text: "false" or "False" } => false,
        ScalarNode scalar => Number(scalar.Text.Trim()) switch
        {
            null => scalar.Text,
            { } number when number == Math.Floor(number) && Math.Abs(number) < 1L << 53 && !scalar.Text.AsSpan().ContainsAny(".eE") =>
            (long)number,
            { } number => number,
        },
        ListNode list => list.Items.Select(Free).ToArray(),
        MapNode map => map.Entries.ToDictionary(entry => entry.Key.Text, entry => Free(entry.Value)),
        _ => null,
    };

    internal static object? Truth(string text) => text switch
    {
        "true" or "True" or "TRUE" or "yes" or "Yes" or "YES" or "on" or "On" or "ON" or "y" or "Y" or "t" or "T" or "1" => true,
        "false" or "False" or "FALSE" or "no" or "No" or "NO" or "off" or "Off" or "OFF" or "n" or "N" or "f" or "F" or "0" => false,
        _ => null,
    };

    internal static double? Number(string text) =>
        text.Length > 0 && (char.IsAsciiDigit(text[0]) || text[0] is '-' or '+' or '.') && !text.EndsWith('_')
        && double.TryParse(text.Replace("_", ""), NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
            && double.IsFinite(number)
            ? number : null;

    /// <summary>What YAML 1.1 takes digits behind a zero for: a number to the base 8; null for others.</summary>
    private static long? LeadingZero(string text) => text.Length is > 1 and < 20 && text[0] == '0' && text.TrimStart('0').Length > 0
        && text.All(c => c is >= '0' and <= '7') ? text.Aggregate(0L, (sum, digit) => sum * 8 + (digit - '0')) : null;

    private static double? Hexadecimal(string text) => text.StartsWith("0x", StringComparison.Ordinal)
        && long.TryParse(text.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var number) && number >= 0
            ? number : null;

    private static string Kind(RecipeNode node) => node switch
    {
        ListNode => "a list",
        MapNode => "a map",
        ScalarNode scalar => Shown(scalar),
        _ => "something else",
    };

    private static string Shown(ScalarNode scalar)
    {
        var text = scalar.Text.ReplaceLineEndings(" ");
        return $"\"{(text.Length > 40 ? text[..40] + "…" : text)}\"";
    }

    /// <summary>What a key takes, with a value that suits it: mostly its default.</summary>
    private static string Example(Type type, string key) => (Nullable.GetUnderlyingType(type) ?? type) switch
    {
        var t when t == typeof(bool) => "true or false",
        var t when t == typeof(int) || t == typeof(long) =>
        $"a whole number, such as {RecipeKeys.Find(key)?.Default switch { int and >= 0 and not 1 and var usual => usual, _ => 8 }}",
        var t when t == typeof(double) => RecipeKeys.Find(key) switch
        {
            { Default: null } => "a number",
            { Default: double and > 0 and not 2e-5 and var usual } => $"a number, such as {YamlWriter.Flow(usual)}",
            { Default: 0.0 } => "a number, such as 0.1",
            _ => "a number, such as 2.0e-5",
        },
        var t when t == typeof(StepInterval) => "100, or 0.1 for ten times in a run",
        var t => Described(t),
    };

    private bool Fail(RecipeNode node, string key, string what, string fix)
    {
        report.ErrorAt(node.Span, $"{key} {what}", fix: fix);
        return false;
    }
}
