using System.Collections.Concurrent;
using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Patterns;

/// <summary>A regular expression over code points, in the syntax and with the Unicode meaning of tokenizer files.</summary>
internal sealed class Pattern : IMatcher
{
    private readonly PatternInstruction[] _code;
    private readonly int _registers;
    private readonly CharacterClass? _first;
    private readonly ConcurrentBag<PatternMachine> _machines = [];

    /// <exception cref="PatternException">The pattern has a mistake.</exception>
    public Pattern(string pattern)
    {
        var (tree, captures) = PatternParser.Parse(pattern);
        (_code, _registers) = PatternCompiler.Compile(tree, captures);
        _first = PatternCompiler.FirstOf(tree);
    }

    /// <summary>Matches one after the other; an empty match directly behind the last one does not count.</summary>
    public void FindAll(ReadOnlySpan<int> text, List<(int Start, int End, bool Match)> ranges)
    {
        if (text.Length == 0)
            return;
        if (!_machines.TryTake(out var machine))
            machine = new(_code, _registers);
        var open = 0;
        var from = 0;
        var lastEnd = -1;
        while (from <= text.Length)
        {
            var (start, end) = Search(machine, text, from);
            if (end < 0)
                break;
            if (start == end && end == lastEnd)
            {
                from = Math.Max(from, end) + 1;
                continue;
            }
            if (open < start)
                ranges.Add((open, start, false));
            ranges.Add((start, end, true));
            open = from = lastEnd = end;
        }
        if (open < text.Length)
            ranges.Add((open, text.Length, false));
        _machines.Add(machine);
    }

    private (int Start, int End) Search(PatternMachine machine, ReadOnlySpan<int> text, int from)
    {
        for (var at = from; at <= text.Length; at++)
        {
            if (_first is not null && (at == text.Length || !_first.Contains(text[at])))
                continue;
            var match = machine.MatchAt(text, at, from);
            if (match.End >= 0)
                return match;
        }
        return (0, -1);
    }
}
