namespace Handbook.Models.Constraints;

/// <summary>Follows a grammar byte by byte: a state is the set of all ways in which what came so far can go on, and states are made
/// once.</summary>
/// <remarks>A way is a stack of the parts that are still to come. Grammars whose rules begin with themselves have no end here; those of
/// JSON do not. One thread at a time.</remarks>
internal sealed class GrammarMachine
{
    private readonly Dictionary<(Grammar Part, Way? Below), Way> _ways = [];
    private readonly Dictionary<Key, State> _states = [];

    public GrammarMachine(Grammar grammar)
    {
        Start = Reached(new([Push(grammar, null)]));
    }

    /// <summary>Before the first byte.</summary>
    public State Start { get; }

    /// <summary>States that were met so far.</summary>
    public int States => _states.Count;

    /// <summary>Ways to go on.</summary>
    internal sealed class State(Way[] ways, bool canEnd)
    {
        private readonly State?[] _next = new State?[256];

        public IReadOnlyList<Way> Ways { get; } = ways;

        /// <summary>Whether what came is whole.</summary>
        public bool CanEnd { get; } = canEnd;

        /// <summary>Whether anything can come.</summary>
        public bool CanGoOn => Ways.Count > 0;

        /// <summary>Whether any byte can come, as in a text that is bound by nothing yet.</summary>
        public bool TakesAnything { get; } =
            ways.Aggregate(default(UInt256), (all, way) => all | ((Grammar.Bytes)way.Part).Set) == UInt256.All;

        /// <summary>The state behind any one character that strings hold as it is, where it is the same behind all of them.</summary>
        internal (bool IsKnown, State? State) BehindPlain { get; set; }

        public ref State? Next(byte value) => ref _next[value];
    }

    /// <summary>A stack of parts to come; its top is a set of bytes where it stands in a state.</summary>
    internal sealed class Way(Grammar part, Way? below, int number)
    {
        public Grammar Part { get; } = part;

        public Way? Below { get; } = below;

        public int Number { get; } = number;
    }

    /// <summary>The state behind a byte; one that cannot go on nor end where the byte must not come.</summary>
    public State Step(State from, byte value)
    {
        ref var next = ref from.Next(value);
        if (next is not null)
            return next;
        var open = new Stack<Way?>();
        foreach (var way in from.Ways)
            if (((Grammar.Bytes)way.Part).Set.Has(value))
                open.Push(way.Below);
        return next = Reached(open);
    }

    /// <summary>The state behind one character, where it is the same for every character but controls, quote and backslash, as within a
    /// string; null where it is not.</summary>
    public State? StepPlain(State from)
    {
        if (from.BehindPlain.IsKnown)
            return from.BehindPlain.State;
        var next = Step(from, (byte)' ');
        var same = true;
        for (var value = 0x21; same && value < 0x80; value++)
            same = value is '"' or '\\' || Step(from, (byte)value) == next;
        // RFC 3629, §4: the first and second bytes of each length; all others are 80 to BF.
        foreach (var (first, last, low, high, more) in (ReadOnlySpan<(int, int, int, int, int)>)[(0xC2, 0xDF, 0x80, 0xBF, 0),
            (0xE0, 0xE0, 0xA0, 0xBF, 1), (0xE1, 0xEC, 0x80, 0xBF, 1), (0xED, 0xED, 0x80, 0x9F, 1), (0xEE, 0xEF, 0x80, 0xBF, 1),
            (0xF0, 0xF0, 0x90, 0xBF, 2), (0xF1, 0xF3, 0x80, 0xBF, 2), (0xF4, 0xF4, 0x80, 0x8F, 2)])
            for (var value = first; same && value <= last; value++)
            {
                // All continuations of a first byte lead to one state at each place.
                var at = Only(Step(from, (byte)value), low, high);
                for (var i = 0; i < more && at is not null; i++)
                    at = Only(at, 0x80, 0xBF);
                same = at == next;
            }
        from.BehindPlain = (true, same ? next : null);
        return from.BehindPlain.State;

        State? Only(State state, int low, int high)
        {
            var only = Step(state, (byte)low);
            for (var value = low + 1; value <= high; value++)
                if (Step(state, (byte)value) != only)
                    return null;
            return only;
        }
    }

    /// <summary>The state of all sets of bytes that some ways can begin with. A list of what is still open, and not a call within a call: a
    /// grammar may be deeper than a thread's stack, and a rule may lead to itself.</summary>
    /// <param name="open">The ways; null for the end. It is emptied.</param>
    private State Reached(Stack<Way?> open)
    {
        var (found, seen, ends) = (new HashSet<Way>(), new HashSet<Way>(), false);
        while (open.TryPop(out var way))
        {
            if (way is null)
            {
                ends = true;
                continue;
            }
            if (!seen.Add(way))
                continue;
            switch (way.Part)
            {
                case Grammar.Bytes:
                    found.Add(way);
                    break;
                case Grammar.Sequence sequence:
                    var at = way.Below;
                    for (var i = sequence.Parts.Count - 1; i >= 0; i--)
                        at = Push(sequence.Parts[i], at);
                    open.Push(at);
                    break;
                case Grammar.Choice choice:
                    foreach (var one in choice.Ways)
                        open.Push(Push(one, way.Below));
                    break;
                case Grammar.Repeat repeat:
                    if (repeat.Least == 0)
                        open.Push(way.Below);
                    if (repeat.Most != 0)
                        open.Push(Push(repeat.Part, Push(repeat.Less, way.Below)));
                    break;
                case Grammar.Rule rule:
                    open.Push(Push(rule.Body, way.Below));
                    break;
            }
        }
        return Make(found, ends);
    }

    private Way Push(Grammar part, Way? below)
    {
        if (!_ways.TryGetValue((part, below), out var way))
            _ways[(part, below)] = way = new(part, below, _ways.Count + 1);
        return way;
    }

    private State Make(HashSet<Way> ways, bool ends)
    {
        Way[] sorted = [.. ways.OrderBy(way => way.Number)];
        var key = new Key([.. sorted.Select(way => way.Number)], ends);
        return _states.TryGetValue(key, out var state) ? state : _states[key] = new(sorted, ends);
    }

    private readonly record struct Key(int[] Ways, bool Ends)
    {
        public bool Equals(Key other) => Ends == other.Ends && Ways.AsSpan().SequenceEqual(other.Ways);

        public override int GetHashCode()
        {
            var hash = new HashCode();
            foreach (var way in Ways)
                hash.Add(way);
            hash.Add(Ends);
            return hash.ToHashCode();
        }
    }
}
