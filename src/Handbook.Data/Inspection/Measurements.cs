namespace Handbook.Data.Inspection;

/// <summary>Lengths that come one after the other: number, mean and both ends are exact, and so is the rest of up to a quarter of a million;
/// of more, as many are drawn at random.</summary>
internal sealed class Measurements
{
    private const int Most = 1 << 18;

    private readonly List<int> _kept = [];
    private readonly Random _random = new(17);
    private long _sum;
    private int _shortest = int.MaxValue, _longest;

    public long Count { get; private set; }

    /// <summary>Whether some were drawn for all.</summary>
    public bool IsSampled => Count > Most;

    public void Add(int length)
    {
        Count++;
        _sum += length;
        (_shortest, _longest) = (Math.Min(_shortest, length), Math.Max(_longest, length));
        if (_kept.Count < Most)
            _kept.Add(length);
        else if (_random.NextInt64(Count) is < Most and var place)
            _kept[(int)place] = length;
    }

    public LengthStatistics ToStatistics(int bars = 10) => Count == 0 ? LengthStatistics.Of([], bars)
        : LengthStatistics.Of([.. _kept], bars) with { Mean = (double)_sum / Count, Shortest = _shortest, Longest = _longest };
}
