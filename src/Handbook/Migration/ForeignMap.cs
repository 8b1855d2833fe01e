using Handbook.Recipes;

namespace Handbook.Migration;

/// <summary>A map among the settings of another trainer: one of its data sets, mostly.</summary>
internal sealed class ForeignMap(MapNode map)
{
    private readonly ForeignKey[] _entries =
        [.. map.Entries.Select(entry => new ForeignKey(entry.Key.Text, entry.Value, entry.Key.Span.Line)).Where(entry => !entry.IsEmpty)];

    /// <summary>The maps of a setting that is a list of them, or one; what is none is a problem.</summary>
    public static IReadOnlyList<ForeignMap> Each(MigrationDraft draft, ForeignKey setting)
    {
        IReadOnlyList<RecipeNode> items = setting.Value is ListNode list ? list.Items : [setting.Value];
        foreach (var item in items.Where(item => item is not MapNode))
            draft.Wrong(setting, $"{setting.Name} has {(item is ScalarNode text ? $"\"{text.Text}\"" : "a list")}, which is no map of "
                + "what a data set is", fix: $"write - path: {(item is ScalarNode name ? name.Text : "NAME")}", at: item);
        return [.. items.OfType<MapNode>().Select(item => new ForeignMap(item))];
    }

    /// <summary>An entry by its name; null where it is not set.</summary>
    public ForeignKey? this[string name] => Array.Find(_entries, entry => entry.Name == name);

    /// <summary>The text of an entry; null where it has none.</summary>
    public string? Text(string name) => this[name]?.Text;

    /// <summary>The entries under one of these names.</summary>
    public IEnumerable<ForeignKey> Among(IReadOnlyList<string> names) => _entries.Where(entry => names.Contains(entry.Name));

    /// <summary>Tells of all entries but these.</summary>
    public void LeaveOthers(MigrationDraft draft, params IReadOnlyList<string> known)
    {
        foreach (var entry in _entries.Where(entry => !known.Contains(entry.Name)))
            draft.Leave(entry, "data sets have no such setting here");
    }
}
