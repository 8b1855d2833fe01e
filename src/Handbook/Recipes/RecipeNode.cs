using Handbook.Base;

namespace Handbook.Recipes;

/// <summary>A value as the user wrote it, with its place.</summary>
internal abstract record RecipeNode(SourceSpan Span);

/// <summary>A text. <paramref name="Quoted"/> ones are never null.</summary>
internal sealed record ScalarNode(SourceSpan Span, string Text, bool Quoted) : RecipeNode(Span)
{
    /// <summary>The tag in front of it, such as <c>!function</c>; null for none.</summary>
    public string? Tag { get; init; }

    public bool IsNull => !Quoted && Text is "" or "~" or "null" or "Null" or "NULL" or "None";
}

internal sealed record ListNode(SourceSpan Span, IReadOnlyList<RecipeNode> Items) : RecipeNode(Span);

internal sealed record MapNode(SourceSpan Span, IReadOnlyList<MapEntry> Entries) : RecipeNode(Span)
{
    public RecipeNode? this[string key] => Entries.FirstOrDefault(entry => entry.Key.Text == key)?.Value;

    /// <summary>The same map with one entry set; a new one goes last.</summary>
    public MapNode With(ScalarNode key, RecipeNode value)
    {
        var entry = new MapEntry(key, value);
        return this with
        {
            Entries = Entries.Any(e => e.Key.Text == key.Text)
                ? [.. Entries.Select(e => e.Key.Text == key.Text ? entry : e)]
                : [.. Entries, entry],
        };
    }
}

internal sealed record MapEntry(ScalarNode Key, RecipeNode Value);
