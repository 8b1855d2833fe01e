using Handbook.Base;

namespace Handbook.Training.Scale;

/// <summary>How unlike each other the processes and links of a cluster are.</summary>
internal sealed record ClusterModel
{
    /// <summary>Steps that are simulated.</summary>
    public int Steps { get; init; } = 200;

    public long Seed { get; init; } = 42;

    /// <summary>Spread of a process's time for a step: the deviation of its logarithm. Read only where no times were measured.</summary>
    public double Spread { get; init; } = 0.02;

    /// <summary>Chance that a process stalls in a step.</summary>
    public double StallChance { get; init; }

    /// <summary>What a stalled process takes longer by.</summary>
    public double StallFactor { get; init; } = 2;

    /// <summary>Spread of the links' speeds: the deviation of their logarithm. The slowest counts, as every operation goes through all.</summary>
    public double LinkSpread { get; init; }

    /// <summary>Measured times of one process's step, in any unit; each step of each process takes one of them by chance. Empty draws
    /// by <see cref="Spread"/>.</summary>
    public IReadOnlyList<double> Measured { get; init; } = [];
}

/// <summary>Steps of many processes that are not alike: all wait for the slowest in each, since each needs what the others send.</summary>
/// <remarks>
/// <code>
/// time of step s = replay( pace = max over processes of p(r, s),  link = slowest link )
/// p(r, s) = e^(σ z), or a measured time over the mean of all;  times the factor of a stall, with its chance
/// </code>
/// The draws follow from the seed, step and process alone: ways of sharing out and numbers of processes are compared on the same ones.
/// </remarks>
internal static class ClusterSimulation
{
    /// <summary>Simulates a row of a plan.</summary>
    public static ClusterResult Run(ScaleRow row, StepLoad load, NetworkSpeed network, ClusterModel model)
    {
        var slowest = Enumerable.Range(0, row.World).Max(rank => Math.Exp(model.LinkSpread * Normal(Of(model.Seed, 1, 0, rank))));
        var link = network with { BytesPerSecond = network.BytesPerSecond / slowest };
        var mean = model.Measured.Count > 0 ? model.Measured.Average() : 1;
        var times = new double[model.Steps];
        for (var step = 0; step < times.Length; step++)
        {
            var pace = 0.0;
            for (var rank = 0; rank < row.World; rank++)
                pace = Math.Max(pace, Pace(step, rank));
            times[step] = row.World > 1 ? row.Replay.Step(load, link, pace).Seconds : load.Seconds * pace;
        }
        Array.Sort(times);
        return new(times.Average(), times[times.Length / 2], times[(int)(0.95 * (times.Length - 1))], load.Seconds / times.Average());

        double Pace(int step, int rank)
        {
            var draws = Of(model.Seed, 2, step, rank);
            var pace = model.Measured.Count > 0 ? model.Measured[(int)(draws.Next() % (ulong)model.Measured.Count)] / mean
                : Math.Exp(model.Spread * Normal(draws));
            return Unit(Of(model.Seed, 3, step, rank)) < model.StallChance ? pace * model.StallFactor : pace;
        }
    }

    private static SplitMix Of(long seed, int what, int step, int rank) => new(SplitMix.Mix(SplitMix.Mix(SplitMix.Mix((ulong)seed + (ulong)what)
        + (ulong)step) + (ulong)rank));

    private static double Unit(SplitMix draws) => (draws.Next() >> 11) * (1.0 / (1L << 53));

    // Box and Muller 1958.
    private static double Normal(SplitMix draws)
    {
        var (u, v) = (1 - (draws.Next() >> 11) * (1.0 / (1L << 53)), (draws.Next() >> 11) * (1.0 / (1L << 53)));
        return Math.Sqrt(-2 * Math.Log(u)) * Math.Cos(2 * Math.PI * v);
    }
}

/// <summary>What a simulation came to.</summary>
/// <param name="Mean">Mean seconds of a step.</param>
/// <param name="Median">Their median.</param>
/// <param name="Percentile95">Their 95th percentile.</param>
/// <param name="Efficiency">Seconds of computing alone over the mean: 1 is what as many single processes would do.</param>
internal readonly record struct ClusterResult(double Mean, double Median, double Percentile95, double Efficiency);
