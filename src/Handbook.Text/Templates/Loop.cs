namespace Handbook.Text.Templates;

/// <summary>The special variable <c>loop</c>: it looks one item ahead, and reads to the end only when asked for the length.</summary>
internal sealed class Loop
{
    private readonly ForNode _node;
    private readonly Frame _outer;
    private readonly int _depth;
    private IEnumerator<object?> _items;
    private int? _length;
    private bool _hasAhead;
    private object? _ahead;
    private object? _before;
    private object? _current;
    private PyTuple? _lastChanged;

    public Loop(ForNode node, Frame outer, IEnumerable<object?> items, int? length, int depth)
    {
        _node = node;
        _outer = outer;
        _items = items.GetEnumerator();
        _length = length;
        _depth = depth;
        Index = 0;
    }

    /// <summary>Place of the current item, from 1.</summary>
    public int Index { get; private set; }

    public int Length
    {
        get
        {
            if (_length is { } known)
                return known;
            var rest = new List<object?>();
            while (_items.MoveNext())
                rest.Add(_items.Current);
            _items = rest.GetEnumerator();
            _length = rest.Count + Index + (_hasAhead ? 1 : 0);
            return _length.Value;
        }
    }

    public bool Next(out object? item)
    {
        item = null;
        if (!Peek())
            return false;
        _hasAhead = false;
        Index++;
        _before = _current;
        item = _current = _ahead;
        return true;
    }

    /// <summary>What a template gets that walks <c>loop</c> itself: pairs of item and loop.</summary>
    public IEnumerable<object?> Rest()
    {
        while (Next(out var item))
            yield return new PyTuple([item, this]);
    }

    public bool TryAttribute(string name, out object? value)
    {
        value = name switch
        {
            "index" => Boxes.Of((long)Index),
            "index0" => Boxes.Of(Index - 1L),
            "first" => Boxes.Of(Index == 1),
            "last" => Boxes.Of(!Peek()),
            "length" => Boxes.Of((long)Length),
            "revindex" => Boxes.Of(Length - Index + 1L),
            "revindex0" => Boxes.Of((long)(Length - Index)),
            "depth" => Boxes.Of(_depth + 1L),
            "depth0" => Boxes.Of((long)_depth),
            "previtem" => Index <= 1 ? new Undefined("there is no previous item") : _before,
            "nextitem" => Peek() ? _ahead : new Undefined("there is no next item"),
            "cycle" => new Function("cycle", "*",
                (_, a) => a.Count > 0 ? a[(Index - 1) % a.Count] : throw JinjaException.Type("no items for cycling given")),
            "changed" => new Function("changed", "*", (_, a) => Changed(new PyTuple(a.Positional))),
            _ => Arguments.Absent,
        };
        return !ReferenceEquals(value, Arguments.Absent);
    }

    /// <summary><c>loop(items)</c>: the body once more, one level deeper.</summary>
    public object? Call(Render render, Arguments arguments)
    {
        if (!_node.Recursive)
            throw JinjaException.Type("The loop must have the 'recursive' marker to be called recursively.");
        if (arguments.Count != 1)
            throw JinjaException.Type("loop() takes one argument: the items to go on with");
        return _node.RunToText(render, _outer, arguments[0], _depth + 1);
    }

    private bool Peek()
    {
        if (_hasAhead)
            return true;
        if (!_items.MoveNext())
            return false;
        _ahead = _items.Current;
        return _hasAhead = true;
    }

    private object Changed(PyTuple values)
    {
        if (_lastChanged is not null && PyCompare.Equal(_lastChanged, values))
            return Boxes.False;
        _lastChanged = values;
        return Boxes.True;
    }
}
