namespace Handbook.Training.Distributed;

/// <summary>Tells of ranks that all give signs of life who hangs.</summary>
/// <remarks>
/// Signs say what a rank does (<see cref="LifeSign"/>): who waits looks whether its neighbour waits too, or gets on; around a ring of ranks
/// some waiting one has a neighbour that does neither. Where all wait, for different things, none can come.
/// </remarks>
/// <param name="hosts">Hosts by rank.</param>
/// <param name="neighbour">The rank that this one looks at.</param>
/// <param name="everyone">What all do now, by rank; null for who has left no sign yet.</param>
internal sealed class Standstill(IReadOnlyList<string> hosts, int neighbour, JobWatchOptions options, Func<LifeSign?[]> everyone)
{
    private (LifeSign? Own, LifeSign? Its) _stood;
    private int _beats;

    /// <summary>Compares two signs with those of the last beat.</summary>
    /// <param name="own">That of this rank.</param>
    /// <param name="its">The neighbour's; null where there is none yet.</param>
    /// <returns>Who hangs; null where all get on, or may take longer.</returns>
    public RankFailedException? Look(LifeSign own, LifeSign? its)
    {
        var now = (own.Still with { Beats = 0 }, its?.Still);       // other threads of this process may be busy
        if (!own.Waits || its is null || _stood != now)
        {
            (_stood, _beats) = (now, 0);
            return null;
        }
        var limit = its.Waits || its is { IsWorking: false, Place.Computes: true } ? options.Standstill : options.Timeout;
        var seconds = ++_beats * options.Beat.TotalSeconds;
        if (seconds < limit.TotalSeconds)
            return null;
        if (!its.Waits)
            return Failure(neighbour, $"it has done nothing for {seconds:0} s while others wait for it: it is at {its.Where}"
                + (its.IsWorking ? ", in an operation that does not end" : ""));
        if (its.WaitsFor == own.WaitsFor)
            return null;
        _beats = 0;
        return Disagreement();
    }

    /// <summary>Who has begun least, where others wait; null where all have begun as much.</summary>
    /// <param name="what">What it did not do.</param>
    public RankFailedException? Last(string what)
    {
        var signs = everyone();
        if (signs.Contains(null))
            return null;
        var begun = signs.Select(sign => sign!.Meeting).ToArray();
        var last = Array.IndexOf(begun, begun.Min());
        return begun[last] < begun.Max() ? Failure(last, $"{what}: it is at its operation {begun[last]}, others at {begun.Max()}") : null;
    }

    // Those who wait for different things wait for ever where nobody is left who computes.
    private RankFailedException? Disagreement()
    {
        var before = everyone();
        Thread.Sleep(2 * options.Beat);
        var now = everyone();
        for (var rank = 0; rank < now.Length; rank++)
            if (now[rank] is not { Waits: true } sign || sign.Still != before[rank]?.Still)
                return null;
        var kinds = now.Select((sign, rank) => (Sign: sign!, Rank: rank)).GroupBy(each => each.Sign.WaitsFor)
            .OrderBy(kind => kind.Count()).ThenBy(kind => kind.Min(each => each.Sign.Meeting))
            .ThenByDescending(kind => kind.First().Rank).ToArray();
        var (odd, usual) = (kinds[0].First(), kinds[^1].First());
        return kinds.Length == 1 ? null
            : Failure(odd.Rank, $"it is at {odd.Sign.Where}; rank {usual.Rank} is at {usual.Sign.Where}: neither can go on");
    }

    private RankFailedException Failure(int rank, string cause) => new(rank, hosts[rank], cause);
}
