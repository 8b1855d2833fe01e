using System.Net;

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

    /// <summary>Hears of faults of the program.</summary>
    public Action<string>? Say { get; init; }
}
