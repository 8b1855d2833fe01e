using Handbook.Base;
using Handbook.Training.Methods;

namespace Handbook.Recipes;

/// <summary>The keys that the user wrote, file and command line merged: what the command line says wins.</summary>
internal sealed class RecipeEntries
{
    private static readonly string?[] s_sources = ["dataset_mixer", "dataset_mixture", "dataset_name"];
    private static readonly string[] s_ofSources = ["dataset_splits", "dataset_configs", "dataset_config"];

    private readonly Dictionary<string, RecipeEntry> _entries = [];

    public IReadOnlyCollection<RecipeEntry> All => _entries.Values;

    public RecipeEntry? this[string key] => _entries.GetValueOrDefault(key);

    public static RecipeEntries Merge(MapNode? file, IReadOnlyList<Override> overrides, TrainingMethod method, Diagnostics report)
    {
        var merged = new RecipeEntries();
        foreach (var (name, value) in file?.Entries ?? [])
            if (Known(name.Text, name.Text, name.Span, method, report) is { } key)
                merged.AddFromFile(key, name, value, report);
        merged.ReplaceSources(overrides, report);
        foreach (var change in overrides)
            if (Known(change.Path[0], $"--{change.Spelled.Split('.')[0]}", change.KeySpan, method, report) is { } key)
                merged._entries[key.Name] = new(key, change.Path[0], change.KeySpan,
                    change.Path.Count == 1 ? change.Value : Changed(merged[key.Name]?.Value,
                    KeyPath.Below(key, merged[key.Name]?.Value, change.Path), change), FromFile: false);
        return merged;
    }

    // The three ways to name the data exclude each other: the one on the command line takes the place of the file's, with all that belongs
    // to it.
    private void ReplaceSources(IReadOnlyList<Override> overrides, Diagnostics report)
    {
        if (overrides.LastOrDefault(change => change.Path.Count == 1 && change.Value is not ScalarNode { IsNull: true }
            && s_sources.Contains(RecipeKeys.Find(change.Path[0])?.Name)) is not { } named)
            return;
        var name = RecipeKeys.Find(named.Path[0])!.Name;
        var replaced = _entries.Values.Where(entry => s_sources.Contains(entry.Key.Name) && entry.Key.Name != name
            && entry.Value is not ScalarNode { IsNull: true }).ToArray();
        if (replaced.Length == 0)
            return;
        foreach (var entry in replaced.Concat(_entries.Values.Where(entry => s_ofSources.Contains(entry.Key.Name))).ToArray())
        {
            _entries.Remove(entry.Key.Name);
            report.Note(entry.KeySpan, $"{entry.Spelled} is left out: --{named.Spelled} names the data");
        }
    }

    /// <summary>The spelling and the place of a key's value, for messages; dotted keys lead into maps and lists.</summary>
    public (string Name, SourceSpan? At) Locate(string key)
    {
        if (_entries.TryGetValue(key, out var whole))
            return (whole.Spelled, whole.Value.Span);
        var dot = key.IndexOf('.');
        if (dot < 0 || !_entries.TryGetValue(key[..dot], out var entry))
            return (key, null);
        return ($"{entry.Spelled}{key[dot..]}", Find(entry.Value, key[(dot + 1)..]).Span);
    }

    // a data set's name may contain dots: the longest name that fits leads on
    private static RecipeNode Find(RecipeNode node, string path)
    {
        if (node is MapNode map && map.Entries.OrderByDescending(e => e.Key.Text.Length)
            .FirstOrDefault(e => path == e.Key.Text || path.StartsWith(e.Key.Text + ".", StringComparison.Ordinal)) is { } entry)
            return path == entry.Key.Text ? entry.Value
                : entry.Value is ScalarNode && path[(entry.Key.Text.Length + 1)..] == "id" ? entry.Key         // a name that stands as a key
                : Find(entry.Value, path[(entry.Key.Text.Length + 1)..]);
        var parts = path.Split('.', 2);
        if (node is ListNode list && int.TryParse(parts[0], out var index) && index < list.Items.Count)
            return parts.Length == 1 ? list.Items[index] : Find(list.Items[index], parts[1]);
        return node;
    }

    /// <summary>Puts other keys in the place of one that names them; what the user wrote of them stays.</summary>
    /// <returns>Keys that the user wrote otherwise.</returns>
    public IReadOnlyList<string> Expand(RecipeEntry entry, IEnumerable<(string Key, string Value)> keys)
    {
        var other = new List<string>();
        _entries.Remove(entry.Key.Name);
        foreach (var (name, value) in keys)
            if (_entries.TryGetValue(name, out var written))
            {
                if (written.Value is not ScalarNode { Text: var text } || text != value)
                    other.Add(name);
            }
            else
                _entries[name] = entry with { Key = RecipeKeys.Find(name)!, Value = new ScalarNode(entry.Value.Span, value, Quoted: false) };
        return other;
    }

    private static RecipeKey? Known(string name, string shown, SourceSpan at, TrainingMethod method, Diagnostics report)
    {
        if (RecipeKeys.Find(name) is { } key)
            return key;
        if (LauncherOptions.Contains(name))
        {
            report.ErrorAt(at, $"{shown} is not a key of a recipe", LauncherOptions.Why, LauncherOptions.Fix(name));
            return null;
        }
        var nearest = RecipeKeys.Nearest(name, method);
        report.ErrorAt(at, $"{shown} is not a key of a recipe", "a key that is ignored would be a run that is not what it says",
            nearest is null ? "`handbook explain` lists every key" : $"did you mean {nearest}?");
        return null;
    }

    private void AddFromFile(RecipeKey key, ScalarNode name, RecipeNode value, Diagnostics report)
    {
        if (name.Text != key.Name && value is ScalarNode { IsNull: true })
            return;         // `max_seq_length: null` leaves max_length at its default
        var entry = new RecipeEntry(key, name.Text, name.Span, value, FromFile: true);
        if (_entries.TryGetValue(key.Name, out var other) && !Same(other.Value, value))
            report.ErrorAt(value.Span, $"{name.Text} and {other.Spelled} (line {other.KeySpan.Line}) are two names of one key, with "
                + "different values",
                "only one of the two could count", $"keep {key.Name}");
        else
            _entries[key.Name] = entry;
    }

    private static bool Same(RecipeNode one, RecipeNode other) => (one, other) switch
    {
        (ScalarNode a, ScalarNode b) => a.Text == b.Text,
        (ListNode a, ListNode b) => a.Items.Count == b.Items.Count && a.Items.Zip(b.Items).All(pair => Same(pair.First, pair.Second)),
        (MapNode a, MapNode b) => a.Entries.Count == b.Entries.Count
            && a.Entries.All(entry => b[entry.Key.Text] is { } value && Same(entry.Value, value)),
        _ => false,
    };

    private static RecipeNode Changed(RecipeNode? node, ReadOnlySpan<string> path, Override change)
    {
        if (path.Length == 0)
            return change.Value;
        if (node is ListNode list && int.TryParse(path[0], out var index) && index >= 0 && index < list.Items.Count)
        {
            var inner = Changed(list.Items[index], path[1..], change);
            return list with { Items = [.. list.Items.Select((item, i) => i == index ? inner : item)] };
        }
        var map = node as MapNode ?? new MapNode(change.Value.Span, []);
        var name = new ScalarNode(change.KeySpan, path[0], Quoted: false);
        return map.With(name, Changed(map[path[0]], path[1..], change));
    }
}

/// <summary>One key that the user wrote.</summary>
/// <param name="Spelled">As it was spelled: the key's name or an alias.</param>
internal sealed record RecipeEntry(RecipeKey Key, string Spelled, SourceSpan KeySpan, RecipeNode Value, bool FromFile);
