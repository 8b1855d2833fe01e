namespace Handbook.Training.Methods;

/// <summary>Sums and counts of what a method measures, so that means over micro-batches, bins and processes are exact.</summary>
internal sealed class MetricSums
{
    /// <summary>−log p over all targets, from which evaluation has its loss and its perplexity; not logged.</summary>
    public const string Nll = "nll";

    /// <summary>The loss over all targets where it is another than <see cref="Nll"/>; not logged.</summary>
    public const string TokenLoss = "token_loss";

    private readonly SortedDictionary<string, (double Sum, double Count)> _values = new(StringComparer.Ordinal);

    public IEnumerable<(string Name, double Sum, double Count)> All => _values.Select(v => (v.Key, v.Value.Sum, v.Value.Count));

    public void Add(string name, double sum, double count)
    {
        var (oldSum, oldCount) = _values.GetValueOrDefault(name);
        _values[name] = (oldSum + sum, oldCount + count);
    }

    public void Add(MetricSums other)
    {
        foreach (var (name, sum, count) in other.All)
            Add(name, sum, count);
    }

    public void Clear() => _values.Clear();

    /// <summary>Sum over count of each that is logged; names whose count is 0 are left out.</summary>
    public IEnumerable<(string Name, double Mean)> Means =>
        _values.Where(v => v.Value.Count > 0 && v.Key is not (Nll or TokenLoss)).Select(v => (v.Key, v.Value.Sum / v.Value.Count));

    /// <summary>Sum over count of one; null where there is none.</summary>
    public double? MeanOf(string name) => _values.TryGetValue(name, out var value) && value.Count > 0 ? value.Sum / value.Count : null;

    /// <summary>Everything, for another process.</summary>
    internal byte[] ToBytes()
    {
        using var bytes = new MemoryStream();
        using var writer = new BinaryWriter(bytes);
        foreach (var (name, sum, count) in All)
        {
            writer.Write(name);
            writer.Write(sum);
            writer.Write(count);
        }
        writer.Flush();
        return bytes.ToArray();
    }

    internal static MetricSums FromBytes(byte[] bytes)
    {
        var sums = new MetricSums();
        using var reader = new BinaryReader(new MemoryStream(bytes));
        while (reader.BaseStream.Position < bytes.Length)
            sums.Add(reader.ReadString(), reader.ReadDouble(), reader.ReadDouble());
        return sums;
    }
}
