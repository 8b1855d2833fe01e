using System.Diagnostics.CodeAnalysis;
using System.Numerics;

namespace Handbook.Text.Templates;

/// <summary>Python's dictionary: keeps the order of insertion, and 1, 1.0 and True are one key.</summary>
internal sealed class PyDict
{
    // A message has two or three keys: looking along them beats hashing.
    private const int Indexed = 9;
    private object?[] _keys;
    private object?[] _values;
    private Dictionary<object, int>? _index;

    public PyDict(int capacity = 4)
    {
        _keys = new object?[capacity];
        _values = new object?[capacity];
    }

    public int Count { get; private set; }

    public object? KeyAt(int index) => _keys[index];

    public object? ValueAt(int index) => _values[index];

    public bool TryGet(object? key, out object? value)
    {
        var at = Find(key);
        value = at < 0 ? null : _values[at];
        return at >= 0;
    }

    public bool Contains(object? key) => Find(key) >= 0;

    public void Set(object? key, object? value)
    {
        var at = Find(key);
        if (at >= 0)
        {
            _values[at] = value;
            return;
        }
        if (Count == _keys.Length)
        {
            Array.Resize(ref _keys, Math.Max(4, Count * 2));
            Array.Resize(ref _values, Math.Max(4, Count * 2));
        }
        _keys[Count] = key;
        _values[Count] = value;
        Count++;
        if (_index is not null)
            _index.Add(key ?? None, Count - 1);
        else if (Count >= Indexed)
            BuildIndex();
    }

    /// <summary>Takes a key out; later keys move up.</summary>
    public void Remove(string key)
    {
        if (Find(key) is not (>= 0 and var at))
            return;
        Count--;
        Array.Copy(_keys, at + 1, _keys, at, Count - at);
        Array.Copy(_values, at + 1, _values, at, Count - at);
        if (_index is not null)
            BuildIndex();
    }

    public PyDict Copy()
    {
        var copy = new PyDict(Count);
        copy.Update(this);
        return copy;
    }

    public void Update(PyDict other)
    {
        for (var i = 0; i < other.Count; i++)
            Set(other._keys[i], other._values[i]);
    }

    private static readonly object None = new();

    private void BuildIndex()
    {
        _index = new(KeyComparer.Instance);
        for (var i = 0; i < Count; i++)
            _index.Add(_keys[i] ?? None, i);
    }

    private int Find(object? key)
    {
        if (_index is not null)
        {
            KeyComparer.Check(key);
            return _index.TryGetValue(key ?? None, out var at) ? at : -1;
        }
        if (key is string text)
        {
            for (var i = 0; i < Count; i++)
                if (_keys[i] is string other ? other == text : _keys[i] is Markup safe && safe.Text == text)
                    return i;
            return -1;
        }
        KeyComparer.Check(key);
        for (var i = 0; i < Count; i++)
            if (PyCompare.Equal(_keys[i], key))
                return i;
        return -1;
    }

    /// <summary>Equality and hashing of dictionary keys, and of the values that <c>unique</c> has seen.</summary>
    internal sealed class KeyComparer : IEqualityComparer<object>
    {
        public static readonly KeyComparer Instance = new();

        public static void Check(object? key)
        {
            switch (key)
            {
                case List<object?> or PyDict or PySlice:
                    throw JinjaException.Type($"unhashable type: '{PyType.Name(key)}'");
                case PyTuple tuple:
                    Array.ForEach(tuple.Items, Check);
                    break;
            }
        }

        public new bool Equals(object? x, object? y) => ReferenceEquals(x, y) || PyCompare.Equal(x, y);

        public int GetHashCode([DisallowNull] object key) => key switch
        {
            string text => text.GetHashCode(),
            Markup safe => safe.Text.GetHashCode(),
            bool truth => truth ? 1 : 0,
            long integer => integer.GetHashCode(),
            double number when number == Math.Floor(number) && Math.Abs(number) < 9e18 => ((long)number).GetHashCode(),
            double number when number == Math.Floor(number) && double.IsFinite(number) => new BigInteger(number).GetHashCode(),
            PyTuple tuple => tuple.Items.Aggregate(17, (hash, item) => HashCode.Combine(hash, item is null ? 0 : GetHashCode(item))),
            Undefined => 0,
            _ => key.GetHashCode(),
        };
    }
}
