using Handbook.Base;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Handbook.Recipes;

/// <summary>YAML text to a tree in which every value knows its place; problems go to the report.</summary>
internal sealed class YamlReader
{
    private const int MaxDepth = 64;            // deeper than any recipe; keeps the recursion far from the end of the stack
    private const int MaxNodes = 200_000;       // aliases may repeat whole trees: counts every repetition

    private readonly string? _source;
    private readonly string[] _lines;
    private readonly Diagnostics _report;
    private readonly Parser _parser;
    private readonly Dictionary<string, (RecipeNode Node, int Size)> _anchors = [];
    private int _nodes;

    private YamlReader(string text, string? source, Diagnostics report)
    {
        _source = source;
        _lines = text.Split('\n');
        _report = report;
        _parser = new Parser(new StringReader(text));
    }

    /// <param name="source">The file's path; null for a value on the command line.</param>
    /// <returns>The document, or null when it is empty or broken; a broken one is in the report.</returns>
    public static RecipeNode? Read(string text, string? source, Diagnostics report) => new YamlReader(text, source, report).ReadDocument();

    /// <summary>A value on the command line, which is text in brackets or braces.</summary>
    /// <param name="argument">The value's place in its argument; problems are shown there.</param>
    /// <returns>The value, its places counted from its own beginning; null where it is broken, which the report tells.</returns>
    public static RecipeNode? Read(string text, SourceSpan argument, Diagnostics report)
    {
        var own = new Diagnostics(report.File);
        var node = Read(text, source: null, own);
        foreach (var problem in own.Errors)
            report.ErrorAt(problem.At is { } at ? argument.Part(Math.Min(at.Column, argument.Length) - 1, 1) : argument, problem.What,
                problem.Why,
                problem.Fix);
        return own.HasErrors ? null : node;
    }

    private RecipeNode? ReadDocument()
    {
        try
        {
            _parser.Consume<StreamStart>();
            if (_parser.Accept<StreamEnd>(out _))
                return null;
            _parser.Consume<DocumentStart>();
            var node = ReadNode(0);
            _parser.Consume<DocumentEnd>();
            if (_parser.Accept<DocumentStart>(out var second))
                throw new Broken(Span(second.Start, second.Start), "a second YAML document begins here", "a recipe is one document",
                    "remove the line `---`");
            return node;
        }
        catch (Broken broken)
        {
            _report.ErrorAt(broken.At, broken.Message, broken.Why, broken.Fix);
        }
        catch (YamlException problem)
        {
            ReportSyntax(problem.Start, problem.End, problem.Message);
        }
        catch (Exception problem) when (problem
            is InvalidOperationException or ArgumentException or FormatException or OverflowException or IndexOutOfRangeException)
        {
            var at = _parser.Current?.End ?? Mark.Empty;        // the parser gives up on some broken files without a place
            ReportSyntax(at, at, "");
        }
        return null;
    }

    private void ReportSyntax(Mark start, Mark end, string message)
    {
        // the parser blames the line before the tab
        var tabbed = Array.FindIndex(_lines, Math.Clamp((int)start.Line - 1, 0, _lines.Length), line =>
            line.AsSpan()[..^line.AsSpan().TrimStart().Length].Contains('\t'));
        if (tabbed >= 0)
            _report.ErrorAt(new SourceSpan(_source, tabbed + 1, _lines[tabbed].IndexOf('\t') + 1, 1, LineText(tabbed + 1)),
                "a tab stands in the indentation",
                "YAML allows only spaces there", "replace the tab with two spaces");
        else
        {
            var (what, fix) = YamlMistake.Of(message, LineText((int)start.Line), LineText((int)start.Line - 1));
            _report.ErrorAt(Span(start, end), $"this is not YAML: {what}", fix: fix);
        }
    }

    private RecipeNode ReadNode(int depth)
    {
        var parsed = _parser.Current!;
        if (depth > MaxDepth)
            throw new Broken(Span(parsed.Start, parsed.End), $"values are nested more than {MaxDepth} deep", null,
                "a recipe is a flat list of keys");
        var before = _nodes;
        Count(1, parsed);
        RecipeNode node;
        switch (parsed)
        {
            case AnchorAlias alias:
                _parser.MoveNext();
                if (!_anchors.TryGetValue(alias.Value.Value, out var anchored))
                    throw new Broken(Span(alias.Start, alias.End), $"the alias *{alias.Value.Value} has no anchor before it", null,
                        $"put &{alias.Value.Value} in front of the value it repeats");
                Count(anchored.Size, alias);
                return anchored.Node with { Span = Span(alias.Start, alias.End) };
            case Scalar scalar:
                _parser.MoveNext();
                node = new ScalarNode(Span(scalar.Start, scalar.End), scalar.Value, scalar.Style is not ScalarStyle.Plain)
                {
                    Tag = scalar.Tag.IsEmpty ? null : scalar.Tag.Value
                };
                break;
            case SequenceStart sequence:
                _parser.MoveNext();
                List<RecipeNode> items = [];
                while (!_parser.Accept<SequenceEnd>(out _))
                    items.Add(ReadNode(depth + 1));
                node = new ListNode(Span(sequence.Start, _parser.Consume<SequenceEnd>().End), items);
                break;
            case MappingStart mapping:
                _parser.MoveNext();
                var entries = ReadEntries(depth);
                node = new MapNode(Span(mapping.Start, _parser.Consume<MappingEnd>().End), entries);
                break;
            default:
                throw new Broken(Span(parsed.Start, parsed.End), "this is not a value", null, null);
        }
        if (parsed is NodeEvent { Anchor.IsEmpty: false } named)
            _anchors[named.Anchor.Value] = (node, _nodes - before);
        return node;
    }

    private List<MapEntry> ReadEntries(int depth)
    {
        List<MapEntry> entries = [];
        List<MapEntry> merged = [];
        while (!_parser.Accept<MappingEnd>(out _))
        {
            var at = _parser.Current!;
            if (ReadNode(depth + 1) is not ScalarNode key)
            {
                var (what, fix) = YamlMistake.OfValue(LineText((int)at.Start.Line)) ?? ("a key must be a word", "write `key: value`");
                throw new Broken(Span(at.Start, at.End), what, null, fix);
            }
            var value = ReadNode(depth + 1);
            if (key is { Text: "<<", Quoted: false })
                merged.AddRange(value switch
                {
                    MapNode map => map.Entries,
                    ListNode list => list.Items.OfType<MapNode>().SelectMany(map => map.Entries),
                    _ => throw new Broken(value.Span, "<< takes a map", null, "write `<<: *name` of an anchored map"),
                });
            else if (entries.Find(entry => entry.Key.Text == key.Text) is { } first)
                _report.ErrorAt(key.Span, $"{key.Text} is given twice, first in line {first.Key.Span.Line}",
                    "only one of the two could count", "remove one of the lines");
            else
                entries.Add(new(key, value));
        }
        foreach (var entry in merged)       // an entry of the map itself wins over a merged one, an earlier merged one over a later
            if (!entries.Exists(own => own.Key.Text == entry.Key.Text))
                entries.Add(entry);
        return entries;
    }

    private void Count(int nodes, ParsingEvent at)
    {
        _nodes += nodes;
        if (_nodes > MaxNodes)
            throw new Broken(Span(at.Start, at.End), $"more than {MaxNodes} values, repetitions by alias included", null,
                "a recipe is a short file; is this one?");
    }

    private SourceSpan Span(Mark start, Mark end)
    {
        var text = LineText((int)start.Line);
        var (line, column) = ((int)start.Line, (int)start.Column);
        var length = end.Line == start.Line ? (int)end.Column - column : text.TrimEnd().Length - column + 1;
        return new(_source, _source is null ? 0 : Math.Max(1, line), Math.Max(1, column), Math.Max(1, length), text);
    }

    private string LineText(int line) => line >= 1 && line <= _lines.Length ? _lines[line - 1].TrimEnd('\r') : "";

    private sealed class Broken(SourceSpan at, string what, string? why, string? fix) : Exception(what)
    {
        public SourceSpan At => at;

        public string? Why => why;

        public string? Fix => fix;
    }
}
