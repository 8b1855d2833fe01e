using Handbook.Base;

namespace Handbook.Launch;

/// <summary>Which processes are started, on which host of how many, and where they find one another.</summary>
public sealed record LaunchPlan
{
    /// <summary>Processes on this host.</summary>
    public int Processes { get; init; } = 1;

    /// <summary>Hosts.</summary>
    public int Nodes { get; init; } = 1;

    /// <summary>Which of the hosts this is, from 0.</summary>
    public int NodeRank { get; init; }

    /// <summary>Name or address of the host with rank 0; null where there is one host.</summary>
    public string? Address { get; init; }

    /// <summary>Port on it; null takes a free one where there is one host, 29500 otherwise. On several hosts each restart takes the next
    /// one.</summary>
    public int? Port { get; init; }

    /// <summary>How often all of them are started again after a failure.</summary>
    public int Restarts { get; init; }

    /// <summary>Threads of each process; null shares this host's cores out.</summary>
    public int? Threads { get; init; }

    /// <summary>Folder of the other ranks' output; null takes a new one among temporary files.</summary>
    public string? LogFolder { get; init; }

    /// <summary>What a launcher's file says that has no effect here, in sentences.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Processes on all hosts together, where they were counted so; see <see cref="Shared"/>.</summary>
    internal int? Total { get; init; }

    /// <summary>What the launcher was told about the recipe's keys.</summary>
    internal IReadOnlyList<ExpectedValue> Expected { get; init; } = [];

    /// <summary>What the launcher was told that a key of the recipe says here: it is added to the command.</summary>
    internal IReadOnlyList<LaunchedKey> Keys { get; init; } = [];

    /// <summary>Processes on all hosts.</summary>
    public int World => checked(Processes * Nodes);

    /// <summary>Requires that the numbers fit together.</summary>
    /// <exception cref="InputException">They do not.</exception>
    public void Validate()
    {
        if (Processes < 1)
            throw new InputException($"nproc-per-node is {Processes}, but must be at least 1", fix: "use the number of processes of this host");
        if (Nodes < 1)
            throw new InputException($"nnodes is {Nodes}, but must be at least 1", fix: "use 1 for one host");
        if (NodeRank < 0 || NodeRank >= Nodes)
            throw new InputException($"node-rank is {NodeRank}, but hosts are counted from 0 to {Nodes - 1}",
                fix: "give each host a number of its own; 0 is the one that rdzv-endpoint names");
        if (Nodes > 1 && Address is null)
            throw new InputException($"{Nodes} hosts have to find one another, but no address is given",
                fix: "add --rdzv-endpoint HOST:PORT, the same on every host: the name or address of the one with --node-rank 0");
        if (Restarts < 0)
            throw new InputException($"max-restarts is {Restarts}, but must be 0 or more", fix: "use 0 to end with the first failure");
        if (Port is { } port && (port < 1 || port + (Nodes > 1 ? Restarts : 0) > 65535))
            throw new InputException($"the port is {Port}, but must be between 1 and 65535"
                + (Nodes > 1 && Restarts > 0 ? $", with {Restarts} more for restarts" : ""), fix: "use one that is free, such as 29500");
    }

    /// <summary>This plan with the processes of all hosts shared out among them.</summary>
    /// <exception cref="InputException">They cannot be.</exception>
    internal LaunchPlan Shared() =>
        Total is not { } all ? this
            : Nodes > 0 && all % Nodes == 0 ? this with { Processes = all / Nodes, Total = null }
            : throw new InputException($"{all} processes cannot be shared out among {Nodes} hosts",
                fix: "num_processes counts those of all hosts: make it a multiple of num_machines");

    /// <summary>This plan with what <c>HOST:PORT</c> says; an IPv6 address stands in brackets.</summary>
    /// <exception cref="InputException">It is not of that form.</exception>
    public LaunchPlan At(string endpoint)
    {
        var colon = endpoint.LastIndexOf(':');
        var isAddressAlone = colon < 0 || endpoint.EndsWith(']') || endpoint.IndexOf(':') != colon && !endpoint.StartsWith('[');
        var host = (isAddressAlone ? endpoint : endpoint[..colon]).Trim('[', ']');
        if (host.Length == 0 || !isAddressAlone && !int.TryParse(endpoint[(colon + 1)..], out _))
            throw new InputException($"rdzv-endpoint is \"{endpoint}\", but must be HOST:PORT", fix: "for example node0:29500, or [fe80::1]:29500");
        return this with { Address = host, Port = isAddressAlone ? Port : int.Parse(endpoint[(colon + 1)..]) };
    }
}
