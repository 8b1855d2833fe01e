using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Patterns;

internal enum PatternOp : byte
{
    /// <summary>One code point of Set.</summary>
    Set,
    /// <summary>A to B code points of Set (B −1: no limit), as many as possible, giving back one by one.</summary>
    Greedy,
    Lazy,
    Possessive,
    /// <summary>Goes on at A; tries B when that fails.</summary>
    Split,
    Jump,
    /// <summary>Jumps to A unless the next code point is in Set.</summary>
    Guard,
    /// <summary>Stores the position in register A.</summary>
    Save,
    /// <summary>Jumps to B where nothing was consumed since register A was stored.</summary>
    Progress,
    /// <summary>Runs the part that follows up to its Match once, then goes on at A.</summary>
    Atomic,
    LookAhead,
    NotAhead,
    /// <summary>As LookAhead, for text that ends here and is B to C long.</summary>
    LookBehind,
    NotBehind,
    Anchor,
    BackReference,
    /// <summary>Holds where the look behind that is under way has reached the place it looks from.</summary>
    BehindEnd,
    Match,
}

/// <param name="C">Longest text of a look behind.</param>
internal readonly record struct PatternInstruction(PatternOp Op, int A = 0, int B = 0, int C = 0, CharacterClass? Set = null);

/// <summary>Turns the tree of a pattern into instructions for the backtracking machine.</summary>
internal sealed class PatternCompiler
{
    private const int MaxInstructions = 20_000;
    private const int MaxLookBehind = 255;

    private readonly List<PatternInstruction> _code = [];
    private int _registers;

    public static (PatternInstruction[] Code, int Registers) Compile(PatternNode tree, int captures)
    {
        var compiler = new PatternCompiler { _registers = captures * 2 };
        compiler.Emit(tree);
        compiler.Add(new(PatternOp.Match));
        return ([.. compiler._code], compiler._registers);
    }

    /// <summary>The set that a match must begin with; null where the node can match nothing at all, or begins with a condition.</summary>
    public static CharacterClass? FirstOf(PatternNode node)
    {
        switch (node)
        {
            case CharacterSetNode set:
                return set.Set;
            case CaptureNode capture:
                return FirstOf(capture.Body);
            case AtomicNode atomic:
                return FirstOf(atomic.Body);
            case RepeatNode { Min: > 0 } repeat:
                return FirstOf(repeat.Body);
            case ChoiceNode choice:
                return Union([.. choice.Choices.Select(FirstOf)]);
            case SequenceNode sequence:
                var sets = new List<CharacterClass?>();
                foreach (var part in sequence.Parts)
                {
                    if (part is LookNode or AnchorNode { Kind: not AnchorKind.Keep })
                        continue;               // a condition narrows, so what follows is still a bound
                    if (FirstOf(part) is { } first)
                    {
                        sets.Add(first);
                        return Union(sets);
                    }
                    if (part is not RepeatNode { Min: 0 } optional || FirstOf(optional.Body) is not { } skipped)
                        return null;
                    sets.Add(skipped);
                }
                return null;
            default:
                return null;
        }
    }

    private static CharacterClass? Union(List<CharacterClass?> sets) =>
        sets.Count == 1 ? sets[0] : sets.Any(set => set is null) ? null : new(point => sets.Any(set => set!.Contains(point)));

    private int Add(PatternInstruction instruction)
    {
        if (_code.Count >= MaxInstructions)
            throw new PatternException("the pattern is too large once its repetitions are written out", 0);
        _code.Add(instruction);
        return _code.Count - 1;
    }

    private void Emit(PatternNode node)
    {
        switch (node)
        {
            case CharacterSetNode set:
                Add(new(PatternOp.Set, Set: set.Set));
                break;
            case SequenceNode sequence:
                foreach (var part in sequence.Parts)
                    Emit(part);
                break;
            case ChoiceNode choice:
                EmitChoice(choice);
                break;
            case RepeatNode repeat:
                EmitRepeat(repeat);
                break;
            case CaptureNode capture:
                Add(new(PatternOp.Save, capture.Number * 2 - 2));
                Emit(capture.Body);
                Add(new(PatternOp.Save, capture.Number * 2 - 1));
                break;
            case AtomicNode atomic:
                EmitPart(new(PatternOp.Atomic), atomic.Body);
                break;
            case LookNode { Behind: false } look:
                EmitPart(new(look.Negative ? PatternOp.NotAhead : PatternOp.LookAhead), look.Body);
                break;
            case LookNode look:
                var (min, max) = Lengths(look.Body);
                if (max is < 0 or > MaxLookBehind)
                    throw new PatternException("a look behind without a bound on its length is not supported", 0);
                EmitPart(new(look.Negative ? PatternOp.NotBehind : PatternOp.LookBehind, B: min, C: max), look.Body);
                break;
            case AnchorNode anchor:
                Add(new(PatternOp.Anchor, (int)anchor.Kind));
                break;
            case BackReferenceNode reference:
                Add(new(PatternOp.BackReference, reference.Number, reference.IgnoreCase ? 1 : 0));
                break;
        }
    }

    private void EmitPart(PatternInstruction head, PatternNode body)
    {
        var at = Add(head);
        Emit(body);
        if (head.Op is PatternOp.LookBehind or PatternOp.NotBehind)
            Add(new(PatternOp.BehindEnd));
        Add(new(PatternOp.Match));
        _code[at] = head with { A = _code.Count };
    }

    private void EmitChoice(ChoiceNode choice)
    {
        var ends = new List<int>();
        for (var i = 0; i < choice.Choices.Length; i++)
        {
            var last = i == choice.Choices.Length - 1;
            var first = FirstOf(choice.Choices[i]);
            int guard = -1, split = -1;
            if (!last)
            {
                if (first is not null)
                    guard = Add(default);
                split = Add(default);
            }
            Emit(choice.Choices[i]);
            if (last)
                break;
            ends.Add(Add(default));
            _code[split] = new(PatternOp.Split, split + 1, _code.Count);
            if (guard >= 0)
                _code[guard] = new(PatternOp.Guard, _code.Count, Set: first);
        }
        foreach (var end in ends)
            _code[end] = new(PatternOp.Jump, _code.Count);
    }

    private void EmitRepeat(RepeatNode repeat)
    {
        if (repeat.Body is CharacterSetNode set)
        {
            var op = repeat.Kind switch
            {
                RepeatKind.Lazy => PatternOp.Lazy,
                RepeatKind.Possessive => PatternOp.Possessive,
                _ => PatternOp.Greedy
            };
            Add(new(op, repeat.Min, repeat.Max, Set: set.Set));
            return;
        }
        if (repeat.Kind == RepeatKind.Possessive)
        {
            EmitPart(new(PatternOp.Atomic), repeat with { Kind = RepeatKind.Greedy });
            return;
        }
        for (var i = 0; i < repeat.Min; i++)
            Emit(repeat.Body);
        var splits = new List<int>();
        if (repeat.Max < 0)
        {
            var register = _registers++;
            var start = Add(default);
            splits.Add(start);
            Add(new(PatternOp.Save, register));
            Emit(repeat.Body);
            Add(new(PatternOp.Progress, register, _code.Count + 2));
            Add(new(PatternOp.Jump, start));
        }
        else
            for (var i = repeat.Min; i < repeat.Max; i++)
            {
                splits.Add(Add(default));
                Emit(repeat.Body);
            }
        foreach (var split in splits)
            _code[split] = repeat.Kind == RepeatKind.Lazy ? new(PatternOp.Split, _code.Count, split + 1)
                : new(PatternOp.Split, split + 1, _code.Count);
    }

    /// <summary>Shortest and longest text of a node; −1 for no bound.</summary>
    private static (int Min, int Max) Lengths(PatternNode node)
    {
        switch (node)
        {
            case CharacterSetNode:
                return (1, 1);
            case SequenceNode sequence:
                var sum = (Min: 0, Max: 0);
                foreach (var part in sequence.Parts)
                {
                    var (min, max) = Lengths(part);
                    sum = (sum.Min + min, sum.Max < 0 || max < 0 ? -1 : sum.Max + max);
                }
                return sum;
            case ChoiceNode choice:
                var lengths = choice.Choices.Select(Lengths).ToArray();
                return (lengths.Min(l => l.Min), lengths.Any(l => l.Max < 0) ? -1 : lengths.Max(l => l.Max));
            case RepeatNode repeat:
                var body = Lengths(repeat.Body);
                return (body.Min * repeat.Min, body.Max == 0 ? 0 : body.Max < 0 || repeat.Max < 0 ? -1 : body.Max * repeat.Max);
            case CaptureNode capture:
                return Lengths(capture.Body);
            case AtomicNode atomic:
                return Lengths(atomic.Body);
            case BackReferenceNode:
                return (0, -1);
            default:
                return (0, 0);
        }
    }
}
