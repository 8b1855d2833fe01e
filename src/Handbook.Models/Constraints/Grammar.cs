namespace Handbook.Models.Constraints;

/// <summary>A part of a grammar over bytes.</summary>
internal abstract class Grammar
{
    private protected Grammar()
    {
    }

    /// <summary>Nothing.</summary>
    public static Grammar Empty { get; } = new Sequence([]);

    /// <summary>One byte of a set.</summary>
    public sealed class Bytes(UInt256 set) : Grammar
    {
        public UInt256 Set { get; } = set;
    }

    /// <summary>One behind another.</summary>
    public sealed class Sequence(IReadOnlyList<Grammar> parts) : Grammar
    {
        public IReadOnlyList<Grammar> Parts { get; } = parts;
    }

    /// <summary>One of several.</summary>
    public sealed class Choice(IReadOnlyList<Grammar> ways) : Grammar
    {
        public IReadOnlyList<Grammar> Ways { get; } = ways;
    }

    /// <summary>One part several times.</summary>
    public sealed class Repeat : Grammar
    {
        private Repeat? _less;

        /// <param name="part">It is never empty.</param>
        /// <param name="least">Fewest times.</param>
        /// <param name="most">Most times; null for any number.</param>
        public Repeat(Grammar part, int least, int? most) => (Part, Least, Most) = (part, least, most);

        public Grammar Part { get; }

        public int Least { get; }

        public int? Most { get; }

        /// <summary>What may follow when the part came once more.</summary>
        public Repeat Less => Least == 0 && Most is null ? this : _less ??= new(Part, Math.Max(Least - 1, 0), Most - 1);
    }

    /// <summary>A rule that is filled in later, so that rules may name one another.</summary>
    public sealed class Rule : Grammar
    {
        public Grammar Body { get; set; } = Empty;
    }

    private static readonly Bytes[] s_single = [.. Enumerable.Range(0, 256).Select(b => new Bytes(UInt256.Of((byte)b, (byte)b)))];

    public static Grammar Text(string text) => new Sequence([.. System.Text.Encoding.UTF8.GetBytes(text).Select(b => s_single[b])]);

    /// <summary>A byte of some stretches, each named by its first and last character.</summary>
    public static Grammar Any(params ReadOnlySpan<string> stretches)
    {
        var set = default(UInt256);
        foreach (var stretch in stretches)
            set |= UInt256.Of((byte)stretch[0], (byte)stretch[^1]);
        return new Bytes(set);
    }

    public static Grammar Range(byte first, byte last) => new Bytes(UInt256.Of(first, last));

    public static Grammar Of(params Grammar[] parts) => new Sequence(parts);

    public static Grammar Or(params Grammar[] ways) => new Choice(ways);

    /// <summary>Any bytes; what follows a mark when it comes.</summary>
    /// <param name="mark">It never comes otherwise. Each beginning of it that fails is a text again, as Knuth, Morris and Pratt
    /// search.</param>
    /// <param name="then">What stands behind the mark, given the whole as a rule.</param>
    public static Grammar Until(string mark, Func<Grammar, Grammar> then)
    {
        var bytes = System.Text.Encoding.UTF8.GetBytes(mark);
        Rule[] matched = [.. bytes.Select(_ => new Rule())];        // so many bytes of the mark stand at the end
        var follows = then(matched[0]);
        for (var i = 0; i < bytes.Length; i++)
        {
            var next = new Dictionary<int, UInt256>();
            for (var value = 0; value < 256; value++)
            {
                var length = i + 1;
                while (length > 0 && !(bytes[length - 1] == value
                    && bytes.AsSpan(0, length - 1).SequenceEqual(bytes.AsSpan(i - length + 1, length - 1))))
                    length--;
                next[length] = next.GetValueOrDefault(length) | UInt256.Of((byte)value, (byte)value);
            }
            matched[i].Body = new Choice([Empty, .. next.Select(pair =>
                Of(new Bytes(pair.Value), pair.Key == bytes.Length ? follows : matched[pair.Key]))]);
        }
        return matched[0];
    }

    public static Grammar Maybe(Grammar part) => new Choice([Empty, part]);

    public static Grammar Times(Grammar part, int least, int? most) => new Repeat(part, least, most);
}

/// <summary>A set of bytes.</summary>
internal readonly record struct UInt256(ulong A, ulong B, ulong C, ulong D)
{
    public bool Has(byte value) => ((value >> 6) switch { 0 => A, 1 => B, 2 => C, _ => D } >> (value & 63) & 1) != 0;

    public static UInt256 Of(byte first, byte last)
    {
        Span<ulong> words = stackalloc ulong[4];
        for (int value = first; value <= last; value++)
            words[value >> 6] |= 1UL << (value & 63);
        return new(words[0], words[1], words[2], words[3]);
    }

    /// <summary>All bytes.</summary>
    public static UInt256 All { get; } = new(ulong.MaxValue, ulong.MaxValue, ulong.MaxValue, ulong.MaxValue);

    public static UInt256 operator |(UInt256 x, UInt256 y) => new(x.A | y.A, x.B | y.B, x.C | y.C, x.D | y.D);

    public UInt256 Without(byte value)
    {
        var one = Of(value, value);
        return new(A & ~one.A, B & ~one.B, C & ~one.C, D & ~one.D);
    }
}
