using System.Buffers.Binary;
using System.Numerics;
using System.Text;
using Handbook.Base;

namespace Handbook.Models.Files;

/// <summary>A name that a pickle asks to be imported; here it is only ever a name.</summary>
internal sealed record PickledGlobal(string Module, string Name)
{
    public override string ToString() => $"{Module}.{Name}";
}

/// <summary>A dictionary of a pickle; keys may be anything.</summary>
internal sealed class PickledDict
{
    public List<(object? Key, object? Value)> Items { get; } = [];

    /// <summary>The value of a text key, the last one where it was set twice; null where it is absent.</summary>
    public object? this[string key] => Items.FindLast(i => i.Key is string text && text == key).Value;
}

/// <summary>A pickled tensor: a view into a storage.</summary>
internal sealed record PickledTensor(PickledStorage Storage, long Offset, long[] Shape, long[] Strides, string? TypeName = null);

/// <summary>A run of elements that tensors share, named by its key in the file.</summary>
/// <param name="TypeName">Class of the storage, e.g. <c>FloatStorage</c>.</param>
/// <param name="Count">Elements, or bytes of an untyped storage.</param>
internal sealed record PickledStorage(string TypeName, string Key, long Count);

/// <summary>Reads Python's pickle format into numbers, texts, lists, dictionaries and tensors, and nothing else.</summary>
/// <remarks>
/// A pickle is a small program for a stack machine, and its danger is that it may name any function to call. This machine knows a
/// handful of names that build tensors and containers; any other is refused by name, and nothing is ever executed. Protocols 2 to 5.
/// </remarks>
/// <param name="file">For messages.</param>
internal sealed class Unpickler(string file)
{
    private static readonly object _mark = new();

    private readonly List<object?> _stack = [];
    private readonly Dictionary<int, object?> _memo = [];

    /// <summary>Runs one pickle.</summary>
    /// <param name="bytes">The pickle, and perhaps more behind it.</param>
    /// <param name="length">How many bytes it took.</param>
    public object? Read(ReadOnlySpan<byte> bytes, out int length)
    {
        _stack.Clear();
        _memo.Clear();
        var reader = new PickleReader(bytes, file);
        while (true)
        {
            var at = reader.Position;
            var code = (char)reader.Byte();
            if (code == '.')
            {
                length = reader.Position;
                return Pop();
            }
            Step(code, at, ref reader);
        }
    }

    private void Step(char code, int at, ref PickleReader reader)
    {
        switch (code)
        {
            case '\x80':
                var protocol = reader.Byte();
                if (protocol is < 2 or > 5)
                    throw Broken($"is pickled with protocol {protocol}; known are 2 to 5");
                break;
            case '\x95': reader.Skip(8); break;
            case '(': Push(_mark); break;
            case '0': Pop(); break;
            case '1': PopToMark(); break;
            case '2': Push(Peek()); break;
            case 'N': Push(null); break;
            case '\x88': Push(true); break;
            case '\x89': Push(false); break;
            case 'K': Push((long)reader.Byte()); break;
            case 'M': Push((long)BinaryPrimitives.ReadUInt16LittleEndian(reader.Take(2))); break;
            case 'J': Push((long)BinaryPrimitives.ReadInt32LittleEndian(reader.Take(4))); break;
            case '\x8a': PushWhole(reader.Take(reader.Byte())); break;
            case '\x8b': PushWhole(reader.Take(reader.Length(4))); break;
            case 'G': Push(BinaryPrimitives.ReadDoubleBigEndian(reader.Take(8))); break;
            case '\x8c': Push(Text(reader.Take(reader.Byte()))); break;
            case 'X': Push(Text(reader.Take(reader.Length(4)))); break;
            case '\x8d': Push(Text(reader.Take(reader.Length(8)))); break;
            case 'U': Push(Encoding.Latin1.GetString(reader.Take(reader.Byte()))); break;
            case 'T': Push(Encoding.Latin1.GetString(reader.Take(reader.Length(4)))); break;
            case 'C': Push(reader.Take(reader.Byte()).ToArray()); break;
            case 'B': Push(reader.Take(reader.Length(4)).ToArray()); break;
            case '\x8e' or '\x96': Push(reader.Take(reader.Length(8)).ToArray()); break;
            case ')': Push(Array.Empty<object?>()); break;
            case '\x85': Push(new[] { Pop() }); break;
            case '\x86': PushTuple(2); break;
            case '\x87': PushTuple(3); break;
            case 't': Push(PopToMark().ToArray()); break;
            case ']' or '\x8f': Push(new List<object?>()); break;
            case 'l' or '\x91': Push(PopToMark()); break;
            case 'a': Add([Pop()]); break;
            case 'e' or '\x90': Add(PopToMark()); break;
            case '}': Push(new PickledDict()); break;
            case 'd': var pairs = PopToMark(); Push(new PickledDict()); Set(pairs); break;
            case 's': var value = Pop(); Set([Pop(), value]); break;
            case 'u': Set(PopToMark()); break;
            case 'q': _memo[reader.Byte()] = Peek(); break;
            case 'r': _memo[reader.Length(4)] = Peek(); break;
            case '\x94': _memo[_memo.Count] = Peek(); break;
            case 'h': Push(Remembered(reader.Byte())); break;
            case 'j': Push(Remembered(reader.Length(4))); break;
            case 'c': Push(new PickledGlobal(reader.Line(), reader.Line())); break;
            case '\x93': var name = Pop(); Push(new PickledGlobal(As<string>(Pop()), As<string>(name))); break;
            case 'Q': Push(Storage(Pop())); break;
            case 'R': var arguments = As<object?[]>(Pop()); Push(PickledObjects.Make(file, As<PickledGlobal>(Pop()), arguments)); break;
            // Attributes of a container, such as the version notes of a state dictionary: the container is what we read.
            case 'b': Pop(); _ = As<PickledDict>(Peek()); break;
            case '\x81' or '\x92':
                throw Broken($"asks to make an object of {_stack.OfType<PickledGlobal>().LastOrDefault()}, which is "
                + "refused: only tensors and plain containers are read");
            default:
                throw Broken($"has the pickle instruction 0x{(int)code:x2} at byte {at}, which builds more than tensors, containers, "
                + "numbers and texts");
        }
    }

    private PickledStorage Storage(object? id)
    {
        if (id is object?[] { Length: >= 5 } tuple && tuple[0] is "storage" && tuple[1] is PickledGlobal type && tuple[2] is string key
            && tuple[4] is long count and >= 0
            && PickledObjects.IsStorage(type) && (tuple.Length == 5 || tuple[5] is null))
            return new(type.Name, key, count);
        throw Broken(id is object?[] { Length: >= 2 } other && other[1] is PickledGlobal global && !PickledObjects.IsStorage(global)
            ? $"asks for a storage of type {global}, which is not one of PyTorch's"
            : "refers to something outside the pickle that is not a tensor storage");
    }

    private void PushTuple(int count)
    {
        var items = new object?[count];
        for (var i = count - 1; i >= 0; i--)
            items[i] = Pop();
        Push(items);
    }

    private void Add(List<object?> items) => As<List<object?>>(Peek()).AddRange(items);

    private void Set(List<object?> pairs)
    {
        if (pairs.Count % 2 != 0)
            throw Broken("sets a dictionary's key without a value");
        var dict = As<PickledDict>(Peek());
        for (var i = 0; i < pairs.Count; i += 2)
            dict.Items.Add((pairs[i], pairs[i + 1]));
    }

    private void Push(object? item) => _stack.Add(item);

    private object? Peek() => _stack.Count > 0 && _stack[^1] != _mark ? _stack[^1] : throw Broken("takes from an empty stack");

    private object? Pop()
    {
        var item = Peek();
        _stack.RemoveAt(_stack.Count - 1);
        return item;
    }

    private List<object?> PopToMark()
    {
        var mark = _stack.LastIndexOf(_mark);
        if (mark < 0)
            throw Broken("ends a list that was not begun");
        var items = _stack.GetRange(mark + 1, _stack.Count - mark - 1);
        _stack.RemoveRange(mark, _stack.Count - mark);
        return items;
    }

    private object? Remembered(int index) => _memo.TryGetValue(index, out var item) ? item
        : throw Broken($"refers to item {index}, which it has not built");

    private T As<T>(object? item) where T : class =>
        item as T ?? throw Broken($"has {item?.GetType().Name ?? "nothing"} where {typeof(T).Name} belongs");

    private string Text(ReadOnlySpan<byte> utf8)
    {
        try
        {
            return _strict.GetString(utf8);
        }
        catch (DecoderFallbackException)
        {
            throw Broken("has a text that is not UTF-8");
        }
    }

    private static readonly UTF8Encoding _strict = new(false, throwOnInvalidBytes: true);

    /// <summary>A whole number in as few bytes as it needs; one beyond 64 bits stays a BigInteger.</summary>
    private void PushWhole(ReadOnlySpan<byte> littleEndian)
    {
        var number = new BigInteger(littleEndian);
        if (number >= long.MinValue && number <= long.MaxValue)
            Push((long)number);
        else
            Push(number);
    }

    private InputException Broken(string what) => PickleReader.Broken(file, what);
}

/// <summary>Takes bytes from a pickle, never beyond its end.</summary>
internal ref struct PickleReader(ReadOnlySpan<byte> bytes, string file)
{
    private readonly ReadOnlySpan<byte> _bytes = bytes;

    public int Position { get; private set; }

    public byte Byte() => Take(1)[0];

    public void Skip(int count) => Take(count);

    public ReadOnlySpan<byte> Take(int count)
    {
        if (count > _bytes.Length - Position)
            throw Broken(file, "ends in the middle of its pickle");
        Position += count;
        return _bytes.Slice(Position - count, count);
    }

    /// <summary>A length in four or eight bytes; what does not fit cannot be there either.</summary>
    public int Length(int size)
    {
        var length = size == 4 ? BinaryPrimitives.ReadUInt32LittleEndian(Take(4)) : BinaryPrimitives.ReadUInt64LittleEndian(Take(8));
        return length <= int.MaxValue ? (int)length : throw Broken(file, $"has an item of {length} bytes in its pickle");
    }

    /// <summary>A line of text without its end.</summary>
    public string Line()
    {
        var length = _bytes[Position..].IndexOf((byte)'\n');
        if (length < 0)
            throw Broken(file, "ends in the middle of its pickle");
        var line = Encoding.UTF8.GetString(Take(length));
        Position++;
        return line;
    }

    public static InputException Broken(string file, string what) =>
        new($"{file}: {what}", why: "a PyTorch file is read without running anything it contains",
            fix: "fetch the file again, or a .safetensors version of the same weights");
}
