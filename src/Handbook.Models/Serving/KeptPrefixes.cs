using Handbook.Models.Generation;

namespace Handbook.Models.Serving;

/// <summary>Keys and values of earlier prompts and answers: a prompt that begins as one of them reads only what is new. The least lately
/// used go first.</summary>
internal sealed class KeptPrefixes : IDisposable
{
    /// <summary>Fewer tokens in common are read again.</summary>
    public const int WorthSharing = 16;

    /// <summary>Most texts that are kept; looking through them takes less than a step of the network.</summary>
    private const int Most = 256;

    private readonly LinkedList<Entry> _entries = [];       // most lately used first

    private sealed record Entry(Decoder Model, int[] Tokens, KeyValueCache Cache);

    public int Count => _entries.Count;

    /// <summary>The text with the longest beginning in common; null where none has enough.</summary>
    /// <param name="tokens">Its last token is never taken from another text: what follows it is asked for.</param>
    /// <returns>A cache that stays the list's own, and how many of its tokens are those of the prompt.</returns>
    public (KeyValueCache Cache, int Common)? Find(Decoder model, ReadOnlySpan<int> tokens)
    {
        var (best, most) = (default(LinkedListNode<Entry>), WorthSharing - 1);
        for (var node = _entries.First; node is not null; node = node.Next)
            if (node.Value.Model == model && tokens[..^1].CommonPrefixLength(node.Value.Tokens) is var common && common > most)
                (best, most) = (node, common);
        if (best is null)
            return null;
        _entries.Remove(best);
        _entries.AddFirst(best);
        return (best.Value.Cache, most);
    }

    /// <summary>Keeps a text.</summary>
    /// <param name="tokens">As many as the cache has.</param>
    /// <param name="cache">It is held from here on.</param>
    public void Keep(Decoder model, int[] tokens, KeyValueCache cache)
    {
        if (tokens.Length < WorthSharing)
            return;
        for (var node = _entries.First; node is not null;)
        {
            var (next, other) = (node.Next, node.Value);
            if (other.Model == model && tokens.AsSpan().CommonPrefixLength(other.Tokens) is var common)
            {
                if (common == tokens.Length)        // it is there, and perhaps more
                {
                    _entries.Remove(node);
                    _entries.AddFirst(node);
                    return;
                }
                if (common == other.Tokens.Length)
                    Drop(node);
            }
            node = next;
        }
        _entries.AddFirst(new Entry(model, tokens, cache.Hold()));
        if (_entries.Count > Most)
            DropOldest();
    }

    /// <summary>Forgets all texts of a network.</summary>
    public void Drop(Decoder model)
    {
        for (var node = _entries.First; node is not null;)
        {
            var next = node.Next;
            if (node.Value.Model == model)
                Drop(node);
            node = next;
        }
    }

    /// <summary>Forgets the text that was used least lately.</summary>
    /// <returns>Whether there was one.</returns>
    public bool DropOldest()
    {
        if (_entries.Last is not { } last)
            return false;
        Drop(last);
        return true;
    }

    private void Drop(LinkedListNode<Entry> node)
    {
        _entries.Remove(node);
        node.Value.Cache.Dispose();
    }

    public void Dispose()
    {
        while (DropOldest())
        {
        }
    }
}
