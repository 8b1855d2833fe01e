using System.Collections.Concurrent;

namespace Handbook.Text.Templates;

/// <summary>What a template writes between the words of two messages, on one side of the assistant's.</summary>
/// <param name="Text">What stands there.</param>
/// <param name="IsCall">Whether the assistant's words there are a call of a tool.</param>
/// <param name="IsWithin">Whether the message goes on at the other side.</param>
/// <param name="IsLast">Whether no message follows.</param>
internal readonly record struct Seam(string Text, bool IsCall, bool IsWithin, bool IsLast);

/// <summary>Where the assistant's turns begin and end in the seams of one template; shared by all rows and threads.</summary>
internal sealed class TurnSeams
{
    /// <summary>Seams before the assistant's words: what stands before its turn.</summary>
    public SeamTable Heads { get; } = new();

    /// <summary>Seams behind the assistant's words: what of it belongs to its turn.</summary>
    public SeamTable Tails { get; } = new();
}

/// <summary>Seams and the place in each.</summary>
internal sealed class SeamTable
{
    // A template has a handful; one that writes data of the row between its messages would fill memory.
    private const int Most = 1024;
    private const int Longest = 400;
    private readonly ConcurrentDictionary<Seam, int> _known = new();

    public int? Recall(Seam seam) => _known.TryGetValue(seam, out var place) ? place : null;

    public void Learn(Seam seam, int place)
    {
        if (seam.Text.Length <= Longest && _known.Count < Most)
            _known.TryAdd(seam, place);
    }
}
