using System.Collections.Frozen;

namespace Handbook.Data.Decontamination;

/// <summary>What a text shares with a reference.</summary>
/// <param name="Set">The reference set.</param>
/// <param name="Text">The text of it, in words.</param>
/// <param name="Kind"><c>whole text</c>, or <c>13 words</c>.</param>
/// <param name="Excerpt">The beginning of what is shared, as the row has it in normal form.</param>
internal sealed record SharedText(string Set, string Text, string Kind, string Excerpt);

/// <summary>Finds texts of reference sets in other texts. Any number of threads may ask.</summary>
/// <remarks>
/// A reference text is found as a whole by the hash of its first characters at every place of a text, and proven by the digest of as many
/// characters as it has. A run of words is found by its hash alone: of 10⁹ runs compared with 10⁵, one in 20,000 comparisons of whole sets
/// would be mistaken.
/// </remarks>
internal sealed class ReferenceIndex
{
    private const int LongestExcerpt = 80;

    private readonly IReadOnlyList<(string Set, ReferenceText Text)> _texts;
    private readonly (int Window, FrozenDictionary<ulong, int[]> Starts)[] _windows;
    private readonly FrozenDictionary<ulong, int[]> _grams;
    private readonly int _words;
    private readonly double _overlap;

    [ThreadStatic]
    private static TextHash? t_hash;

    [ThreadStatic]
    private static List<int>? t_starts;

    /// <param name="sets">The reference sets.</param>
    /// <param name="words">Words in a run; 0 looks for whole texts alone.</param>
    /// <param name="overlap">The share of a reference text's runs that must be found; 0 for one.</param>
    public ReferenceIndex(IReadOnlyList<ReferenceSet> sets, int words, double overlap)
    {
        (_words, _overlap) = (words, overlap);
        _texts = [.. sets.SelectMany(set => set.Texts.Select(text => (set.Name, text)))];
        _windows = [.. _texts.Index().Where(entry => entry.Item.Text.Length > 0)
            .GroupBy(entry => ReferenceText.Window(entry.Item.Text.Length)).OrderByDescending(group => group.Key)
            .Select(group => (group.Key, Grouped(group.Select(entry => (entry.Item.Text.Start, entry.Index)))))];
        _grams = Grouped(words == 0 ? [] : _texts.Index().SelectMany(entry => entry.Item.Text.Grams.Select(gram => (gram, entry.Index))));
    }

    /// <summary>How many texts are looked for.</summary>
    public int Count => _texts.Count;

    /// <summary>What a text shares with the references; null where it shares nothing.</summary>
    public SharedText? Find(string text)
    {
        var (hash, starts) = (t_hash ??= new(), t_starts ??= []);
        return Whole(text, hash) ?? (_grams.Count > 0 ? Run(text, hash, starts) : null);
    }

    private SharedText? Whole(string text, TextHash hash)
    {
        if (_windows.Length == 0)
            return null;
        var normal = NormalText.Of(text);
        hash.Read(normal);
        foreach (var (window, known) in _windows)
            for (var at = 0; at + window <= normal.Length; at++)
                if (known.TryGetValue(hash.Of(at, window), out var candidates))
                    foreach (var number in candidates)
                    {
                        var (set, reference) = _texts[number];
                        if (at + reference.Length <= normal.Length
                            && ReferenceText.DigestOf(normal.AsSpan(at, reference.Length)) == reference.Digest)
                            return new(set, reference.Name, "whole text", Cut(normal.Substring(at, reference.Length)));
                    }
        return null;
    }

    private SharedText? Run(string text, TextHash hash, List<int> starts)
    {
        var spelled = NormalText.Words(text, starts);
        if (starts.Count < _words)
            return null;
        hash.Read(spelled);
        Dictionary<int, (HashSet<ulong> Found, int First)> shared = [];
        for (var i = 0; i + _words <= starts.Count; i++)
        {
            var gram = ReferenceText.Gram(hash, spelled, starts, i, _words);
            if (!_grams.TryGetValue(gram, out var holders))
                continue;
            foreach (var number in holders)
            {
                if (!shared.TryGetValue(number, out var entry))
                    shared[number] = entry = ([], i);
                entry.Found.Add(gram);
                if (entry.Found.Count >= Math.Max(1, _overlap * _texts[number].Text.Grams.Length))
                    return new(_texts[number].Set, _texts[number].Text.Name, $"{_words} words",
                        Cut(spelled[starts[entry.First]..Math.Min(spelled.Length, starts[entry.First] + LongestExcerpt + 1)]));
            }
        }
        return null;
    }

    private static FrozenDictionary<ulong, int[]> Grouped(IEnumerable<(ulong Hash, int Number)> entries) =>
        entries.GroupBy(entry => entry.Hash).ToFrozenDictionary(group => group.Key, group => group.Select(entry => entry.Number).ToArray());

    private static string Cut(string text) => text.Length <= LongestExcerpt ? text : text[..LongestExcerpt] + "…";
}
