using Handbook.Base;
using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>Runs a compiled pattern with its own stack of choices, so that no text is too long for it.</summary>
internal sealed class PatternMachine(PatternInstruction[] code, int registers)
{
    private const int Branch = -1, LazyLoop = -2, Restore = -3;     // third word of a frame; 0 and more: a greedy loop's lowest position

    // As Oniguruma has it: what goes back so often at one place of a text would not end in any time.
    private const int MostReturns = 10_000_000;

    private readonly int[] _registers = new int[registers];
    private int _returns;
    private int[] _stack = new int[192];
    private int _top;
    private int _searchStart;
    private int _keep;
    private int _behindEnd;

    /// <summary>The match that begins at a place; end −1 where there is none.</summary>
    public (int Start, int End) MatchAt(ReadOnlySpan<int> text, int at, int searchStart)
    {
        Array.Fill(_registers, -1);
        _top = 0;
        _returns = 0;
        _searchStart = searchStart;
        _keep = at;
        var end = Run(text, 0, at);
        return (_keep, end);
    }

    private int Run(ReadOnlySpan<int> text, int pc, int at)
    {
        var bottom = _top;
        while (true)
        {
            ref readonly var i = ref code[pc];
            var ok = true;
            switch (i.Op)
            {
                case PatternOp.Set:
                    ok = at < text.Length && i.Set!.Contains(text[at]);
                    at++;
                    pc++;
                    break;
                case PatternOp.Greedy:
                case PatternOp.Possessive:
                    var start = at;
                    var limit = i.B < 0 || i.B > text.Length - at ? text.Length : at + i.B;
                    while (at < limit && i.Set!.Contains(text[at]))
                        at++;
                    ok = at - start >= i.A;
                    pc++;
                    if (ok && i.Op == PatternOp.Greedy && at > start + i.A)
                        Push(pc, at - 1, start + i.A);
                    break;
                case PatternOp.Lazy:
                    for (var n = 0; n < i.A && ok; n++, at++)
                        ok = at < text.Length && i.Set!.Contains(text[at]);
                    if (ok && (i.B < 0 || i.B > i.A))
                    {
                        Push(i.B < 0 ? -1 : i.B - i.A, 0, Branch);      // how often more, below the frame proper
                        Push(pc, at, LazyLoop);
                    }
                    pc++;
                    break;
                case PatternOp.Split:
                    Push(i.B, at, Branch);
                    pc = i.A;
                    break;
                case PatternOp.Jump:
                    pc = i.A;
                    break;
                case PatternOp.Guard:
                    pc = at < text.Length && i.Set!.Contains(text[at]) ? pc + 1 : i.A;
                    break;
                case PatternOp.Save:
                    Push(i.A, _registers[i.A], Restore);
                    _registers[i.A] = at;
                    pc++;
                    break;
                case PatternOp.Progress:
                    pc = _registers[i.A] == at ? i.B : pc + 1;
                    break;
                case PatternOp.Atomic:
                    at = Run(text, pc + 1, at);
                    ok = at >= 0;
                    pc = i.A;
                    break;
                case PatternOp.LookAhead:
                    ok = Run(text, pc + 1, at) >= 0;
                    pc = i.A;
                    break;
                case PatternOp.NotAhead:
                    ok = Run(text, pc + 1, at) < 0;
                    pc = i.A;
                    break;
                case PatternOp.LookBehind:
                    ok = Behind(text, pc, at);
                    pc = i.A;
                    break;
                case PatternOp.NotBehind:
                    ok = !Behind(text, pc, at);
                    pc = i.A;
                    break;
                case PatternOp.Anchor:
                    ok = Holds((AnchorKind)i.A, text, at);
                    pc++;
                    break;
                case PatternOp.BackReference:
                    ok = Again(text, ref at, i.A, i.B == 1);
                    pc++;
                    break;
                case PatternOp.BehindEnd:
                    ok = at == _behindEnd;
                    pc++;
                    break;
                case PatternOp.Match:
                    _top = bottom;
                    return at;
            }
            if (!ok && !Back(text, bottom, ref pc, ref at))
                return -1;
        }
    }

    /// <summary>Takes the latest choice back; false where none is left.</summary>
    private bool Back(ReadOnlySpan<int> text, int bottom, ref int pc, ref int at)
    {
        if (++_returns > MostReturns)
            throw new InputException($"a regular expression of the tokenizer takes back more than {MostReturns:N0} choices at one place of a text",
                "one of its repetitions stands in another, so that the number of ways to match doubles with each character",
                "compare the pattern with the one of the published tokenizer.json");
        while (_top > bottom)
        {
            _top -= 3;
            var kind = _stack[_top + 2];
            (pc, at) = (_stack[_top], _stack[_top + 1]);
            switch (kind)
            {
                case Restore:
                    _registers[pc] = at;
                    continue;
                case LazyLoop:
                    _top -= 3;
                    var more = _stack[_top];
                    if (at >= text.Length || !code[pc].Set!.Contains(text[at]))
                        continue;
                    at++;
                    if (more != 1)
                    {
                        Push(more < 0 ? -1 : more - 1, 0, Branch);
                        Push(pc, at, LazyLoop);
                    }
                    pc++;
                    return true;
                case Branch:
                    return true;
                default:
                    if (at > kind)
                        Push(pc, at - 1, kind);
                    return true;
            }
        }
        return false;
    }

    private bool Behind(ReadOnlySpan<int> text, int pc, int at)
    {
        var outer = _behindEnd;
        _behindEnd = at;
        var found = false;
        for (var length = code[pc].B; length <= code[pc].C && length <= at && !found; length++)
            found = Run(text, pc + 1, at - length) == at;
        _behindEnd = outer;
        return found;
    }

    private bool Holds(AnchorKind kind, ReadOnlySpan<int> text, int at)
    {
        switch (kind)
        {
            case AnchorKind.LineStart:
                return at == 0 || (text[at - 1] == '\n' && at < text.Length);
            case AnchorKind.LineEnd:
                return at == text.Length || text[at] == '\n';
            case AnchorKind.TextStart:
                return at == 0;
            case AnchorKind.TextEnd:
                return at == text.Length;
            case AnchorKind.TextEndBeforeNewline:
                return at == text.Length || (at == text.Length - 1 && text[at] == '\n');
            case AnchorKind.SearchStart:
                return at == _searchStart;
            case AnchorKind.Keep:
                _keep = at;
                return true;
            default:
                var before = at > 0 && ClassNames.Word.Contains(text[at - 1]);
                var after = at < text.Length && ClassNames.Word.Contains(text[at]);
                return before != after == (kind == AnchorKind.WordBoundary);
        }
    }

    private bool Again(ReadOnlySpan<int> text, ref int at, int group, bool ignoreCase)
    {
        var (start, end) = (_registers[group * 2 - 2], _registers[group * 2 - 1]);
        if (start < 0 || end < start || at + end - start > text.Length)
            return false;
        for (var i = start; i < end; i++, at++)
            if (text[i] != text[at] && !(ignoreCase && CaseFolding.Variants(text[i]).Contains(text[at])))
                return false;
        return true;
    }

    private void Push(int pc, int at, int kind)
    {
        if (_top + 3 > _stack.Length)
            Array.Resize(ref _stack, _stack.Length * 2);
        _stack[_top] = pc;
        _stack[_top + 1] = at;
        _stack[_top + 2] = kind;
        _top += 3;
    }
}
