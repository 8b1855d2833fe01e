using Handbook.Recipes;

namespace Handbook.Migration;

/// <summary>A map among the settings of another trainer: one of its data sets, mostly.</summary>
internal sealed class ForeignMap(MapNode map)
{
    private readonly ForeignKey[] _entries =
        [.. map.Entries.Select(entry => new ForeignKey(entry.Key.Text, entry.Value, entry.Key.Span.Line)).Where(entry => !entry.IsEmpty)];

    /// <summary>An entry by its name; null where it is not set.</summary>
    public ForeignKey? this[string name] => Array.Find(_entries, entry => entry.Name == name);

    /// <summary>The text of an entry; null where it has none.</summary>
    public string? Text(string name) => this[name]?.Text;

    /// <summary>Tells of all entries but these.</summary>
    public void LeaveOthers(MigrationDraft draft, params IReadOnlyList<string> known)
    {
        foreach (var entry in _entries.Where(entry => !known.Contains(entry.Name)))
            draft.Leave(entry, "data sets have no such setting here");
    }
}
