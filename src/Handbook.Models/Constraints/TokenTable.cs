using System.Buffers;
using System.Text;
using Handbook.Text.Tokenizers;

namespace Handbook.Models.Constraints;

/// <summary>The tokens of a vocabulary by the bytes that they add to a text, in the order of their bytes: those that begin alike stand
/// together.</summary>
internal sealed class TokenTable
{
    private readonly (byte[] Bytes, int Id, int Common)[] _tokens;
    private readonly byte[]?[] _byId;
    private readonly int[] _silent;
    private readonly (byte[] Bytes, int Id, int Common)[] _others;              // those that are not plain
    private readonly int[][] _plain;                                            // by their number of characters, from 1 on
    private readonly Lazy<(byte[] Bytes, int Id, int Common)[]>[] _longer;      // those, and plain ones of more than 1, 2, … characters

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
        var all = sorted.Select(token => (Bytes: token.Item!, Id: token.Index, Characters: Characters(token.Item))).ToArray();
        _tokens = Sorted([.. all.Select(token => (token.Bytes, token.Id))]);
        _others = Sorted([.. all.Where(token => token.Characters == 0).Select(token => (token.Bytes, token.Id))]);
        _plain = [.. Enumerable.Range(1, all.Select(token => token.Characters).DefaultIfEmpty().Max()).Select(length =>
            all.Where(token => token.Characters == length).Select(token => token.Id).ToArray())];
        _longer = [.. Enumerable.Range(1, _plain.Length).Select(length => new Lazy<(byte[], int, int)[]>(() =>
            Sorted([.. all.Where(token => token.Characters == 0 || token.Characters > length).Select(token => (token.Bytes, token.Id))])))];
    }

    public int Vocabulary { get; }

    /// <summary>The bytes of a token; null where it adds none.</summary>
    public byte[]? BytesOf(int id) => _byId[id];

    /// <summary>Which tokens may come in a state; a bit for each id.</summary>
    /// <remarks>Within a string most tokens are whole characters that all lead to the same states: how many of them there are decides, and
    /// only the others are walked.</remarks>
    public ulong[] Allowed(GrammarMachine machine, GrammarMachine.State from)
    {
        var allowed = new ulong[(Vocabulary + 63) / 64];
        var (count, state, isOver) = (0, from, false);
        for (; count < _plain.Length && !isOver && machine.StepPlain(state) is { } next; state = next)
            if (next.CanGoOn || next.CanEnd)
                count++;
            else
                isOver = true;      // no character may come any more
        // Where a state tells characters apart longer tokens are walked.
        for (var length = 0; length < count; length++)
            foreach (var id in _plain[length])
                allowed[id >> 6] |= 1UL << (id & 63);
        Walk(machine, from, isOver || count == _plain.Length ? _others : count == 0 ? _tokens : _longer[count - 1].Value, allowed);
        // Where nothing is bound yet, tokens that add nothing to the text come as they would without a grammar.
        if (from.TakesAnything)
            foreach (var id in _silent)
                allowed[id >> 6] |= 1UL << (id & 63);
        return allowed;
    }

    /// <summary>The same by walking every token byte by byte, for comparison.</summary>
    public ulong[] AllowedOneByOne(GrammarMachine machine, GrammarMachine.State from)
    {
        var allowed = new ulong[(Vocabulary + 63) / 64];
        Walk(machine, from, _tokens, allowed);
        if (from.TakesAnything)
            foreach (var id in _silent)
                allowed[id >> 6] |= 1UL << (id & 63);
        return allowed;
    }

    private static void Walk(GrammarMachine machine, GrammarMachine.State from, (byte[] Bytes, int Id, int Common)[] tokens,
        ulong[] allowed)
    {
        var states = new List<GrammarMachine.State> { from };       // behind each byte of the token before
        var dead = int.MaxValue;                                    // bytes of the token before of which the last must not come
        foreach (var (bytes, id, common) in tokens)
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
    }

    // How many whole characters a token has that strings hold as they are; 0 where it has another or a half one.
    private static int Characters(ReadOnlySpan<byte> bytes)
    {
        var count = 0;
        for (; bytes.Length > 0; count++)
        {
            if (Rune.DecodeFromUtf8(bytes, out var rune, out var length) != OperationStatus.Done || rune.Value is < 0x20 or '"' or '\\')
                return 0;
            bytes = bytes[length..];
        }
        return count;
    }

    private static (byte[] Bytes, int Id, int Common)[] Sorted(IReadOnlyList<(byte[] Bytes, int Id)> tokens) =>
        [.. tokens.Select((token, i) => (token.Bytes, token.Id,
            i == 0 ? 0 : token.Bytes.AsSpan().CommonPrefixLength(tokens[i - 1].Bytes)))];
}
