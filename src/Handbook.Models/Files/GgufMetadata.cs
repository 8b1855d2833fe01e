using Handbook.Base;

namespace Handbook.Models.Files;

/// <summary>The kinds of values in a GGUF file's metadata, by their numbers there.</summary>
internal enum GgufKind
{
    UInt8, Int8, UInt16, Int16, UInt32, Int32, Float32, Bool, Text, List, UInt64, Int64, Float64,
}

/// <summary>What a GGUF file says about itself: keys and values in the file's order.</summary>
/// <remarks>Whole numbers are kept as <see cref="long"/> (<see cref="ulong"/> where they do not fit), floats as <see cref="double"/>, lists
/// as arrays: <c>string[]</c>, <c>long[]</c>, <c>double[]</c>, <c>bool[]</c>, or <c>object[]</c> of lists.</remarks>
/// <param name="file">The file's name, for messages.</param>
internal sealed class GgufMetadata(string file)
{
    private readonly List<(string Key, GgufKind Kind, GgufKind Element, object Value)> _entries = [];
    private readonly Dictionary<string, object> _values = new(StringComparer.Ordinal);

    /// <summary>The file's name, for messages.</summary>
    public string File => file;

    /// <summary>Keys, kinds and values; of a list the kind of its elements, too.</summary>
    public IReadOnlyList<(string Key, GgufKind Kind, GgufKind Element, object Value)> Entries => _entries;

    public bool Has(string key) => _values.ContainsKey(key);

    /// <summary>Adds a value of a kind; a null value is left out.</summary>
    public void Add(string key, GgufKind kind, object? value, GgufKind element = default)
    {
        if (value is null)
            return;
        if (!_values.TryAdd(key, value))
            throw new InputException($"{file}: the key \"{key}\" stands there twice", fix: "fetch the file again");
        _entries.Add((key, kind, element, value));
    }

    public void Add(string key, string? value) => Add(key, GgufKind.Text, value);

    public void Add(string key, int? value) => Add(key, GgufKind.UInt32, value is { } number ? (long)number : null);

    public void Add(string key, double? value) => Add(key, GgufKind.Float32, value is { } number ? (double)(float)number : null);

    public void Add(string key, bool? value) => Add(key, GgufKind.Bool, value);

    public void Add(string key, string[] values) => Add(key, GgufKind.List, values, GgufKind.Text);

    /// <param name="kind">The kind of the elements.</param>
    public void Add(string key, long[] values, GgufKind kind = GgufKind.Int32) => Add(key, GgufKind.List, values, kind);

    public void Add(string key, double[] values) => Add(key, GgufKind.List, Array.ConvertAll(values, value => (double)(float)value),
        GgufKind.Float32);

    public void Add(string key, bool[] values) => Add(key, GgufKind.List, values, GgufKind.Bool);

    /// <summary>A text; null where the key is absent.</summary>
    /// <exception cref="InputException">The value is of another kind.</exception>
    public string? Text(string key) => Get<string>(key, "a text");

    /// <summary>A whole number; null where the key is absent.</summary>
    /// <inheritdoc cref="Text"/>
    public int? Whole(string key) => !_values.TryGetValue(key, out var value) ? null
        : value is long number and >= int.MinValue and <= int.MaxValue ? (int)number : throw Wrong(key, value, "a whole number");

    /// <summary>A number; null where the key is absent.</summary>
    /// <inheritdoc cref="Text"/>
    public double? Number(string key) => !_values.TryGetValue(key, out var value) ? null : value switch
    {
        double number when double.IsFinite(number) => number,
        long number => number,
        _ => throw Wrong(key, value, "a finite number"),
    };

    /// <summary>True or false; null where the key is absent.</summary>
    /// <inheritdoc cref="Text"/>
    public bool? Flag(string key) => !_values.TryGetValue(key, out var value) ? null : value as bool? ?? throw Wrong(key, value,
        "true or false");

    /// <summary>A list of texts; null where the key is absent.</summary>
    /// <inheritdoc cref="Text"/>
    public string[]? Texts(string key) => Get<string[]>(key, "a list of texts");

    /// <summary>A list of whole numbers, which a single number stands for as well; null where the key is absent.</summary>
    /// <inheritdoc cref="Text"/>
    public long[]? Wholes(string key) => _values.GetValueOrDefault(key) is long one ? [one] : Get<long[]>(key, "a list of whole numbers");

    /// <summary>A list of numbers; null where the key is absent.</summary>
    /// <inheritdoc cref="Text"/>
    public double[]? Numbers(string key) => Get<double[]>(key, "a list of numbers");

    /// <summary>The value of a key that every such file has.</summary>
    /// <exception cref="InputException">The key is absent.</exception>
    public T Need<T>(T? value, string key) where T : struct => value ?? throw Missing(key);

    /// <inheritdoc cref="Need{T}(T?, string)"/>
    public T Need<T>(T? value, string key) where T : class => value ?? throw Missing(key);

    private InputException Missing(string key) => new($"{file}: lacks the key \"{key}\"",
        why: "the model cannot be described without it", fix: "fetch the file again, or convert the model anew");

    private T? Get<T>(string key, string expected) where T : class => !_values.TryGetValue(key, out var value) ? null
        : value as T ?? throw Wrong(key, value, expected);

    private InputException Wrong(string key, object value, string expected) =>
        new($"{file}: {key} is {Shown(value)}, but must be {expected}",
        fix: "fetch the file again, or convert the model anew");

    private static string Shown(object value) => value switch
    {
        string text => $"\"{(text.Length > 40 ? text[..40] + "…" : text)}\"",
        Array list => $"a list of {list.Length}",
        _ => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"{value}"),
    };
}
