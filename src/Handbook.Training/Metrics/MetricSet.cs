using System.Collections;
using System.Globalization;
using System.Text.Json;

namespace Handbook.Training.Metrics;

/// <summary>A number that remembers whether it counts something: <c>train_samples</c> is written 250, <c>epoch</c> 1.0.</summary>
public readonly record struct MetricValue(double Value, bool IsCount)
{
    /// <inheritdoc cref="FromDouble"/>
    public static implicit operator MetricValue(double value) => new(value, false);

    /// <inheritdoc cref="FromInt64"/>
    public static implicit operator MetricValue(long count) => new(count, true);

    /// <inheritdoc cref="FromInt32"/>
    public static implicit operator MetricValue(int count) => new(count, true);

    /// <summary>A measure: written with a point, also where it is whole.</summary>
    public static MetricValue FromDouble(double value) => value;

    /// <summary>A count: written without a point.</summary>
    public static MetricValue FromInt64(long count) => count;

    /// <summary>A count: written without a point.</summary>
    public static MetricValue FromInt32(int count) => count;

    internal string ToJson() => IsCount ? ((long)Value).ToString(CultureInfo.InvariantCulture) : PythonJson.Number(Value);

    /// <summary>A JSON number is a count where it is written without point and exponent; null is NaN.</summary>
    internal static MetricValue Read(JsonElement element)
    {
        if (element.ValueKind != JsonValueKind.Number)
            return double.NaN;
        var isCount = element.GetRawText().AsSpan().IndexOfAny('.', 'e', 'E') < 0;
        return isCount && element.TryGetInt64(out var count) ? FromInt64(count) : FromDouble(element.GetDouble());
    }

    /// <summary>The number as it is written into metric files.</summary>
    public override string ToString() => ToJson();
}

/// <summary>Named numbers in the order in which they were added.</summary>
public sealed class MetricSet : IEnumerable<KeyValuePair<string, MetricValue>>
{
    private readonly List<KeyValuePair<string, MetricValue>> _values = [];

    /// <summary>A set without metrics.</summary>
    public MetricSet()
    {
    }

    /// <summary>A set with the given metrics; of several with one name the last one counts, in the place of the first.</summary>
    public MetricSet(IEnumerable<KeyValuePair<string, MetricValue>> values)
    {
        foreach (var (name, value) in values)
            this[name] = value;
    }

    /// <summary>Number of metrics.</summary>
    public int Count => _values.Count;

    /// <summary>The value of a name; setting an existing one keeps its place.</summary>
    public MetricValue this[string name]
    {
        get => TryGet(name, out var value) ? value : throw new KeyNotFoundException($"there is no metric '{name}'");
        set
        {
            var at = _values.FindIndex(pair => pair.Key == name);
            if (at < 0)
                _values.Add(new(name, value));
            else
                _values[at] = new(name, value);
        }
    }

    /// <summary>Sets a metric, for collection initialisers.</summary>
    public void Add(string name, MetricValue value) => this[name] = value;

    /// <summary>Whether there is a metric of that name, and its value.</summary>
    public bool TryGet(string name, out MetricValue value)
    {
        var at = _values.FindIndex(pair => pair.Key == name);
        value = at < 0 ? default : _values[at].Value;
        return at >= 0;
    }

    /// <summary>The number of that name; null where there is none.</summary>
    public double? Number(string name) => TryGet(name, out var value) ? value.Value : null;

    /// <summary>The metrics in their order.</summary>
    public IEnumerator<KeyValuePair<string, MetricValue>> GetEnumerator() => _values.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    internal static MetricSet Read(JsonElement element)
    {
        var set = new MetricSet();
        foreach (var property in element.EnumerateObject())
            if (property.Value.ValueKind is JsonValueKind.Number or JsonValueKind.Null)
                set[property.Name] = MetricValue.Read(property.Value);
        return set;
    }
}
