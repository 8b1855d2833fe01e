using System.Net;
using Handbook.Torch;

namespace Handbook.Server.Dashboard;

/// <summary>What a dashboard shows, and where.</summary>
internal sealed record DashboardOptions
{
    /// <summary>A run, or a folder of runs.</summary>
    public required string Folder { get; init; }

    /// <summary>The address of this machine that it listens on.</summary>
    public IPAddress Host { get; init; } = IPAddress.Loopback;

    /// <summary>0 takes a free one.</summary>
    public int Port { get; init; } = 6060;

    /// <summary>Models that can be talked with beside those of the runs.</summary>
    public IReadOnlyList<string> Models { get; init; } = [];

    /// <summary>Where choices between answers are kept; null for <c>playground.jsonl</c> in the folder, or beside it where it is a run.</summary>
    public string? Preferences { get; init; }

    /// <summary>Element type of products.</summary>
    public DType Compute { get; init; } = DType.Float32;

    /// <summary>Hears of faults of the program.</summary>
    public Action<string>? Say { get; init; }
}
