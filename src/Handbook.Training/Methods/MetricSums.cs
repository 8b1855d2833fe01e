using Handbook.Base;

namespace Handbook.Training.Methods;

/// <summary>Sums and counts of what a method measures, so that means over micro-batches, bins and processes are exact, and
/// the same however these are grouped.</summary>
internal sealed class MetricSums
{
    /// <summary>−log p over all targets, from which evaluation has its loss and its perplexity; not logged.</summary>
    public const string Nll = "nll";

    /// <summary>The loss over all targets where it is another than <see cref="Nll"/>; not logged.</summary>
    public const string TokenLoss = "token_loss";

    private readonly SortedDictionary<string, (ExactSum Sum, ExactSum Count)> _values = new(StringComparer.Ordinal);

    public IEnumerable<(string Name, ExactSum Sum, ExactSum Count)> All => _values.Select(v => (v.Key, v.Value.Sum, v.Value.Count));

    public void Add(string name, double sum, double count)
    {
        var (sums, counts) = Of(name);
        sums.Add(sum);
        counts.Add(count);
    }

    public void Add(string name, ExactSum sum, ExactSum count)
    {
        var (sums, counts) = Of(name);
        sums.Add(sum);
        counts.Add(count);
    }

    public void Add(MetricSums other)
    {
        foreach (var (name, sum, count) in other.All)
            Add(name, sum, count);
    }

    private (ExactSum Sum, ExactSum Count) Of(string name)
    {
        if (!_values.TryGetValue(name, out var value))
            _values[name] = value = (new(), new());
        return value;
    }

    public void Clear() => _values.Clear();

    /// <summary>Sum over count of each that is logged; names whose count is 0 are left out.</summary>
    public IEnumerable<(string Name, double Mean)> Means =>
        _values.Where(v => v.Value.Count.Value > 0 && v.Key is not (Nll or TokenLoss))
            .Select(v => (v.Key, v.Value.Sum.Value / v.Value.Count.Value));

    /// <summary>Sum over count of one; null where there is none.</summary>
    public double? MeanOf(string name) =>
        _values.TryGetValue(name, out var value) && value.Count.Value > 0 ? value.Sum.Value / value.Count.Value : null;

    /// <summary>Everything, for another process.</summary>
    internal byte[] ToBytes()
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes);
        foreach (var (name, sum, count) in All)
        {
            writer.Write(name);
            foreach (var parts in (double[][])[sum.Parts, count.Parts])
            {
                writer.Write(parts.Length);
                foreach (var part in parts)
                    writer.Write(part);
            }
        }
        writer.Flush();
        return bytes.ToArray();
    }

    internal static MetricSums FromBytes(byte[] bytes)
    {
        var sums = new MetricSums();
        using var reader = new BinaryReader(new MemoryStream(bytes));
        while (reader.BaseStream.Position < bytes.Length)
            sums.Add(reader.ReadString(), Read(), Read());
        return sums;

        ExactSum Read()
        {
            var sum = new ExactSum();
            for (var rest = reader.ReadInt32(); rest > 0; rest--)
                sum.Add(reader.ReadDouble());
            return sum;
        }
    }
}
