using Handbook.Text.Tokenizers;

namespace Handbook.Models.Constraints;

/// <summary>The tokens of a vocabulary by the bytes that they add to a text, in the order of their bytes: those that begin alike stand
/// together.</summary>
internal sealed class TokenTable
{
    private readonly (byte[] Bytes, int Id, int Common)[] _tokens;
    private readonly byte[]?[] _byId;
    private readonly int[] _silent;

    /// <param name="vocabulary">Rows of the logits, which may be more than the tokenizer has tokens.</param>
    /// <param name="spelled">Special tokens that stand for their own letters.</param>
    public TokenTable(Tokenizer tokenizer, int vocabulary, IReadOnlyList<string> spelled)
    {
        Vocabulary = vocabulary;
        _byId = [.. Enumerable.Range(0, vocabulary).Select(tokenizer.BytesOf)];
        foreach (var special in spelled)
            if (tokenizer.TokenToId(special) is { } id && id < vocabulary)
                _byId[id] = System.Text.Encoding.UTF8.GetBytes(special);
        _silent = [.. Enumerable.Range(0, vocabulary).Where(id => _byId[id] is not { Length: > 0 })];
        var sorted = _byId.Index().Where(token => token.Item is { Length: > 0 }).ToArray();
        Array.Sort(sorted, (a, b) => a.Item.AsSpan().SequenceCompareTo(b.Item));
        _tokens = [.. sorted.Select((token, i) => (token.Item!, token.Index,
            i == 0 ? 0 : token.Item.AsSpan().CommonPrefixLength(sorted[i - 1].Item)))];
    }

    public int Vocabulary { get; }

    /// <summary>The bytes of a token; null where it adds none.</summary>
    public byte[]? BytesOf(int id) => _byId[id];

    /// <summary>Which tokens may come in a state; a bit for each id.</summary>
    public ulong[] Allowed(GrammarMachine machine, GrammarMachine.State from)
    {
        var allowed = new ulong[(Vocabulary + 63) / 64];
        var states = new List<GrammarMachine.State> { from };       // behind each byte of the token before
        var dead = int.MaxValue;                                    // bytes of the token before of which the last must not come
        foreach (var (bytes, id, common) in _tokens)
        {
            if (common >= dead)
                continue;
            dead = int.MaxValue;
            states.RemoveRange(common + 1, states.Count - common - 1);
            for (var i = common; i < bytes.Length; i++)
            {
                var next = machine.Step(states[i], bytes[i]);
                if (!next.CanGoOn && !next.CanEnd)
                {
                    dead = i + 1;
                    break;
                }
                states.Add(next);
            }
            if (dead == int.MaxValue)
                allowed[id >> 6] |= 1UL << (id & 63);
        }
        // Where nothing is bound yet, tokens that add nothing to the text come as they would without a grammar.
        if (from.TakesAnything)
            foreach (var id in _silent)
                allowed[id >> 6] |= 1UL << (id & 63);
        return allowed;
    }
}
