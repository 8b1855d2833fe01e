namespace Handbook.Text.Templates;

/// <summary>The variables of one scope; names are numbers given by the parser. What a scope lacks, the scopes around it may have.</summary>
internal sealed class Frame
{
    private const int Inline = 4;
    private readonly Frame? _outer;
    private readonly bool _isRoot;
    private int[] _names;
    private object?[] _values;
    private int _count;

    public Frame(Frame outer)
    {
        _outer = outer;
        _names = new int[Inline];
        _values = new object?[Inline];
    }

    /// <summary>The outermost scope: a place for every name of the template; <see cref="Arguments.Absent"/> where
    /// there is no variable.</summary>
    public Frame(object?[] values)
    {
        _isRoot = true;
        _names = [];
        _values = values;
    }

    public bool TryGet(int name, out object? value)
    {
        var frame = this;
        for (; !frame._isRoot; frame = frame._outer!)
            for (var i = 0; i < frame._count; i++)
                if (frame._names[i] == name)
                {
                    value = frame._values[i];
                    return true;
                }
        value = frame._values[name];
        return !ReferenceEquals(value, Arguments.Absent);
    }

    public void Set(int name, object? value)
    {
        if (_isRoot)
        {
            _values[name] = value;
            return;
        }
        for (var i = 0; i < _count; i++)
            if (_names[i] == name)
            {
                _values[i] = value;
                return;
            }
        if (_count == _names.Length)
        {
            Array.Resize(ref _names, _count * 2);
            Array.Resize(ref _values, _count * 2);
        }
        _names[_count] = name;
        _values[_count++] = value;
    }

    /// <summary>Forgets this scope's variables, for the next turn of a loop.</summary>
    public void Clear() => _count = 0;

    public Frame Root()
    {
        var frame = this;
        while (!frame._isRoot)
            frame = frame._outer!;
        return frame;
    }
}
