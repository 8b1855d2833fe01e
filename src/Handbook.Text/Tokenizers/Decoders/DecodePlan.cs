using System.Buffers;
using System.Runtime.CompilerServices;
using System.Text.Unicode;

namespace Handbook.Text.Tokenizers.Decoders;

/// <summary>A decoder as bytes for each id, found once: most steps look at a token alone, and whether it is the first or last.</summary>
/// <remarks>The steps themselves are the plain version, and make the bytes; a test holds the two together on random ids.</remarks>
internal sealed class DecodePlan
{
    /// <summary>A token beside another, so that this one is not the first or the last.</summary>
    private const string Neighbour = "x";

    private static ReadOnlySpan<byte> Replacement => "\uFFFD"u8;

    private readonly Func<int, string?> _tokenOf;
    private readonly Func<int, bool> _isSpecial;
    private readonly SequenceDecoder _local;
    private readonly DecoderKind _join;
    private readonly SequenceDecoder _tail;
    private readonly Entry[] _middle;           // by id, made when an id first occurs

    /// <summary>What a token is in a text: most are so short that their bytes lie here themselves.</summary>
    private struct Entry
    {
        public const int Inline = sizeof(ulong);

        public ulong Short;
        public byte[]? Long;
        public int Length;
        public bool IsByte, IsSpecial, IsToken;

        /// <summary>Set last, so that another thread sees all of it or nothing.</summary>
        public bool IsMade;
    }

    /// <summary>What an id beyond the table is.</summary>
    private static readonly Entry None;

    private DecodePlan((Func<int, string?> TokenOf, Func<int, bool> IsSpecial, int Count) ids, TokenDecoder[] local, DecoderKind join,
        TokenDecoder[] tail)
    {
        (_tokenOf, _isSpecial, var count) = ids;
        _local = new(local);
        _join = join;
        _tail = new(tail);
        _middle = new Entry[count];
    }

    /// <param name="tokenOf">The token of an id.</param>
    /// <param name="isSpecial">Whether an id is a special token's.</param>
    /// <param name="count">One more than the largest id.</param>
    /// <returns>null where a step looks at more than one token at a time.</returns>
    public static DecodePlan? Of(TokenDecoder decoder, Func<int, string?> tokenOf, Func<int, bool> isSpecial, int count)
    {
        var ids = (tokenOf, isSpecial, count);
        TokenDecoder[] steps = [.. decoder.Steps];
        var local = steps.TakeWhile(step => step.Kind == DecoderKind.Local).ToArray();
        var rest = steps[local.Length..];
        return rest switch
        {
            [] => new(ids, local, DecoderKind.Fuse, []),
            [{ Kind: DecoderKind.Fuse or DecoderKind.Bytes } join, .. var tail] => new(ids, local, join.Kind, tail),
            [{ Kind: DecoderKind.Fallback }] => new(ids, local, DecoderKind.Fallback, []),
            [{ Kind: DecoderKind.Fallback }, { Kind: DecoderKind.Fuse }, .. var tail] => new(ids, local, DecoderKind.Fallback, tail),
            _ => null,
        };
    }

    /// <summary>The text of ids; those without a token give nothing.</summary>
    public string Decode(ReadOnlySpan<int> ids, bool skipSpecialTokens)
    {
        // The first and the last token that count.
        int first = 0, last = ids.Length - 1;
        while (first <= last && !Counts(ids[first], skipSpecialTokens))
            first++;
        while (last > first && !Counts(ids[last], skipSpecialTokens))
            last--;
        var bytes = ArrayPool<byte>.Shared.Rent(Math.Max(64, ids.Length * 8));
        int count = 0, run = 0;                 // run: byte tokens at the end, which wait for their character
        for (var i = first; i <= last; i++)
        {
            var edge = default(Entry);
            if (i == first || i == last)
                edge = Make(ids[i], i == first, i == last);
            ref readonly var entry = ref i > first && i < last ? ref EntryOf(ids[i]) : ref edge;
            if (!entry.IsToken || (skipSpecialTokens && entry.IsSpecial))
                continue;
            if (run > 0 && !entry.IsByte)
                Close(ref bytes, ref count, ref run);
            if (count + Math.Max(entry.Length, Entry.Inline) > bytes.Length)
                Grow(ref bytes, count, Math.Max(entry.Length, Entry.Inline));
            if (entry.Long is null)
                Unsafe.WriteUnaligned(ref bytes[count], entry.Short);
            else
                entry.Long.CopyTo(bytes, count);
            count += entry.Length;
            if (entry.IsByte)
                run++;
        }
        Close(ref bytes, ref count, ref run);
        var text = System.Text.Encoding.UTF8.GetString(bytes, 0, count);
        ArrayPool<byte>.Shared.Return(bytes);
        return _tail.IsEmpty ? text : string.Concat(_tail.Apply([text]));
    }

    /// <summary>The bytes that an id adds to a text between others; null for a special token, and where there is none.</summary>
    public byte[]? BytesOf(int id)
    {
        ref readonly var entry = ref EntryOf(id);
        if (!entry.IsToken || entry.IsSpecial)
            return null;
        return entry.Long ?? [.. BitConverter.GetBytes(entry.Short).Take(entry.Length)];
    }

    private bool Counts(int id, bool skipSpecialTokens)
    {
        ref readonly var entry = ref EntryOf(id);
        return entry.IsToken && !(skipSpecialTokens && entry.IsSpecial);
    }

    private ref readonly Entry EntryOf(int id)
    {
        if ((uint)id >= (uint)_middle.Length)
            return ref None;
        ref var entry = ref _middle[id];
        if (!Volatile.Read(ref entry.IsMade))
        {
            var made = Make(id, first: false, last: false);
            (entry.Short, entry.Long, entry.Length) = (made.Short, made.Long, made.Length);
            (entry.IsByte, entry.IsSpecial, entry.IsToken) = (made.IsByte, made.IsSpecial, made.IsToken);
            Volatile.Write(ref entry.IsMade, true);
        }
        return ref entry;
    }

    /// <summary>A run of byte tokens that is not UTF-8 gives one U+FFFD a byte.</summary>
    private static void Close(ref byte[] bytes, ref int count, ref int run)
    {
        if (run > 0 && !Utf8.IsValid(bytes.AsSpan(count - run, run)))
        {
            count -= run;
            if (count + run * Replacement.Length > bytes.Length)
                Grow(ref bytes, count, run * Replacement.Length);
            for (; run > 0; run--, count += Replacement.Length)
                Replacement.CopyTo(bytes.AsSpan(count));
        }
        run = 0;
    }

    private static void Grow(ref byte[] bytes, int count, int more)
    {
        var larger = ArrayPool<byte>.Shared.Rent(Math.Max(bytes.Length * 2, count + more));
        bytes.AsSpan(0, count).CopyTo(larger);
        ArrayPool<byte>.Shared.Return(bytes);
        bytes = larger;
    }

    private Entry Make(int id, bool first, bool last)
    {
        if (_tokenOf(id) is not { } token)
            return default;
        List<string> tokens = [.. first ? [] : (string[])[Neighbour], token, .. last ? [] : (string[])[Neighbour]];
        var text = _local.Apply(tokens)[first ? 0 : 1];
        var value = _join == DecoderKind.Fallback ? ByteFallbackDecoder.ByteOf(text) : null;
        var bytes = new List<byte>();
        if (value is { } one)
            bytes.Add(one);
        else if (_join == DecoderKind.Bytes)
            ByteLevelDecoder.Append(text, bytes);
        else
            bytes.AddRange(System.Text.Encoding.UTF8.GetBytes(text));
        var entry = new Entry { Length = bytes.Count, IsByte = value is not null, IsSpecial = _isSpecial(id), IsToken = true };
        if (bytes.Count > Entry.Inline)
            entry.Long = [.. bytes];
        else
            for (var i = 0; i < bytes.Count; i++)
                entry.Short |= (ulong)bytes[i] << (8 * i);       // little-endian, as it is written
        return entry;
    }
}
