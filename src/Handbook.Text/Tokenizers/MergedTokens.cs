using System.Numerics;

namespace Handbook.Text.Tokenizers;

/// <summary>Ids of tokens while merges are read, of which a large file has hundreds of thousands.</summary>
/// <remarks>Safe for use from several threads at once. Most parts of a merge are short, and are found in a table of their own with one look at memory, where a dictionary of strings
/// takes three. Files list merges in the order of the tokens that they make, so that the next one is mostly near the last.</remarks>
internal sealed class MergedTokens
{
    private const int ShortLength = 3;

    /// <summary>How far from the last one the next token is looked for.</summary>
    private const int Near = 3;

    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _find;
    private readonly string?[] _tokens;
    private readonly (ulong Key, int Id)[] _short;      // open addressing; a key is never 0
    private readonly int _shift;

    public MergedTokens(Dictionary<string, int> vocabulary)
    {
        _find = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        _tokens = new string?[vocabulary.Count];
        var size = BitOperations.RoundUpToPowerOf2((uint)(16 + 2 * vocabulary.Keys.Count(IsShort)));
        _short = new (ulong, int)[size];
        _shift = 64 - BitOperations.Log2(size);
        foreach (var (token, id) in vocabulary)
        {
            if (id < _tokens.Length)
                _tokens[id] = token;
            if (IsShort(token))
                _short[Slot(Key(token))] = (Key(token), id);
        }
    }

    /// <summary>The id of a token; −1 where there is none.</summary>
    public int Find(ReadOnlySpan<char> token)
    {
        if (token.Length is 0 or > ShortLength)
            return _find.TryGetValue(token, out var id) ? id : -1;
        var (key, found) = _short[Slot(Key(token))];
        return key == 0 ? -1 : found;
    }

    /// <summary>The same for the token that a merge makes.</summary>
    /// <param name="last">The id of the merge before, and then of this one.</param>
    public int FindNext(ReadOnlySpan<char> token, ref int last)
    {
        for (var id = last; id < _tokens.Length && id < last + Near; id++)
            if (_tokens[id] is { } near && token.SequenceEqual(near))
                return last = id;
        var found = Find(token);
        if (found >= 0)
            last = found;
        return found;
    }

    private static bool IsShort(string token) => token.Length is > 0 and <= ShortLength;

    private static ulong Key(ReadOnlySpan<char> token)
    {
        var key = (ulong)token.Length << 48;
        for (var i = 0; i < token.Length; i++)
            key |= (ulong)token[i] << (16 * i);
        return key;
    }

    /// <summary>Where a key stands, or would.</summary>
    private int Slot(ulong key)
    {
        var slot = (int)((key * 0x9E3779B97F4A7C15) >> _shift);
        while (_short[slot].Key != 0 && _short[slot].Key != key)
            slot = (slot + 1) & (_short.Length - 1);
        return slot;
    }
}
