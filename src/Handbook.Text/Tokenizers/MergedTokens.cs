namespace Handbook.Text.Tokenizers;

/// <summary>Ids of tokens while merges are read: files list merges in the order of the tokens that they make, so that the next one is
/// mostly found without a search.</summary>
internal sealed class MergedTokens
{
    /// <summary>How far from the last one the next token is looked for.</summary>
    private const int Near = 3;

    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _find;
    private readonly string?[] _tokens;
    private int _last;

    public MergedTokens(Dictionary<string, int> vocabulary)
    {
        _find = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        _tokens = new string?[vocabulary.Count];
        foreach (var (token, id) in vocabulary)
            if (id < _tokens.Length)
                _tokens[id] = token;
    }

    /// <summary>The id of a token; −1 where there is none.</summary>
    public int Find(ReadOnlySpan<char> token) => _find.TryGetValue(token, out var id) ? id : -1;

    /// <summary>The same for the token that a merge makes.</summary>
    public int FindNext(ReadOnlySpan<char> token)
    {
        for (var id = _last; id < _tokens.Length && id < _last + Near; id++)
            if (_tokens[id] is { } near && token.SequenceEqual(near))
                return _last = id;
        var found = Find(token);
        if (found >= 0)
            _last = found;
        return found;
    }
}
