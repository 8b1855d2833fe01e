using Handbook.Torch.Native;
using Handbook.Training.Distributed;

namespace Handbook.Cli;

/// <summary>What commands share that can run as several processes.</summary>
internal static class RankWords
{
    /// <summary>Meets the other processes.</summary>
    /// <param name="timeout">See <see cref="JobWatchOptions.Timeout"/>; null for the usual one.</param>
    public static ProcessJob Join(Rendezvous place, CancellationToken cancel, TimeSpan? timeout = null)
    {
        // Whoever still waits for the others has nothing to save.
        using var ends = cancel.Register(() => Shim.ExitAtOnce(ExitCode.Interrupted));
        var watch = new JobWatchOptions { Say = text => Console.Error.WriteLine($"error: {text}") };
        return ProcessJob.Join(place, new() { Watch = timeout is { } limit ? watch with { Timeout = limit } : watch });
    }

    /// <summary>Who they are, for the user.</summary>
    public static string Described(ProcessJob job)
    {
        var hosts = job.Hosts.GroupBy(host => host).ToArray();
        return $"{job.Group.Size} processes on {hosts.Length} host{(hosts.Length == 1 ? "" : "s")}: "
            + string.Join(", ", hosts.Select(host => $"{host.Count()} on {host.Key}"));
    }
}
