using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using Handbook.Base;
using Handbook.Torch.Distributed;

namespace Handbook.Training.Distributed;

/// <summary>How processes come together.</summary>
internal sealed record ProcessJobOptions
{
    /// <summary>How long the ranks wait for each other at the start.</summary>
    public TimeSpan JoinTimeout { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>How long one operation may take, with the wait for ranks that are slower: one of them may be reading all rows. Who is
    /// gone, the watch finds.</summary>
    public TimeSpan OperationTimeout { get; init; } = TimeSpan.FromDays(2);

    /// <summary>When a rank is given up.</summary>
    public JobWatchOptions Watch { get; init; } = new();
}

/// <summary>This process as one of several: their store, the group of all, and the watch over them.</summary>
internal sealed class ProcessJob : IDisposable
{
    private readonly Store _root;
    private readonly List<ProcessGroup> _subgroups = [];

    private ProcessJob(Rendezvous place, Store root, Store store, IReadOnlyList<string> hosts, JobWatch watch, ProcessGroup group)
    {
        (Place, _root, Store, Hosts, Watch, Group) = (place, root, store, hosts, watch, group);
        LocalRank = Enumerable.Range(0, place.Rank).Count(rank => hosts[rank] == hosts[place.Rank]);
        LocalWorldSize = hosts.Count(host => host == hosts[place.Rank]);
        Workers = new(group, watch, LocalRank, Subgroup);
    }

    /// <summary>Which process this is.</summary>
    public Rendezvous Place { get; }

    /// <summary>The job's own keys.</summary>
    public Store Store { get; }

    /// <summary>Hosts by rank.</summary>
    public IReadOnlyList<string> Hosts { get; }

    /// <summary>Which rank of this host this is, from 0.</summary>
    public int LocalRank { get; }

    /// <summary>How many ranks this host has.</summary>
    public int LocalWorldSize { get; }

    /// <summary>The watch over all ranks.</summary>
    public JobWatch Watch { get; }

    /// <summary>The group of all.</summary>
    public ProcessGroup Group { get; }

    /// <summary>All ranks, as training sees them.</summary>
    public ProcessWorkers Workers { get; }

    /// <summary>Meets the other ranks.</summary>
    /// <exception cref="InputException">Some did not come in time, or contradict each other; names them.</exception>
    public static ProcessJob Join(Rendezvous place, ProcessJobOptions? options = null)
    {
        options ??= new();
        var root = Open(place, options.JoinTimeout);
        try
        {
            var store = root.WithPrefix($"handbook/{place.Attempt}/");
            var hosts = Meet(store, place, options.JoinTimeout);
            var launcher = place.ServedByLauncher ? $"{place.Address}:{root.Port}" : null;
            using var connection = root.Another();
            var watch = new JobWatch(connection.WithPrefix($"handbook/{place.Attempt}/"), place.Rank, hosts, launcher, options.Watch);
            try
            {
                var group = watch.Over(() => ProcessGroup.OverGloo(root.WithPrefix($"handbook/{place.Attempt}/all/"), place.Rank, place.WorldSize,
                    OwnAddress(root, hosts).ToString(), options.OperationTimeout, Environment.GetEnvironmentVariable("GLOO_SOCKET_IFNAME")));
                return new(place, root, store, hosts, watch, group!);
            }
            catch (Exception failure)
            {
                watch.Report(failure);
                watch.Dispose();
                throw;
            }
        }
        catch
        {
            root.Dispose();
            throw;
        }
    }

    private static Store Open(Rendezvous place, TimeSpan timeout)
    {
        try
        {
            return place.Rank == 0 && !place.ServedByLauncher
                ? Store.Serve(Loopback(place.Address), place.Port, timeout)
                : Store.Connect(place.Address, place.Port, timeout);
        }
        catch (TimeoutException failure)
        {
            throw new InputException($"rank {place.Rank} on {Environment.MachineName}: {failure.Message}",
                why: place.ServedByLauncher ? "the launcher serves it" : "rank 0 serves it, at MASTER_ADDR and MASTER_PORT",
                fix: "see whether rank 0 has started, and whether this host reaches that address and port", failure);
        }
        catch (Torch.TorchException failure)
        {
            throw new InputException($"rank {place.Rank} on {Environment.MachineName}: {failure.Message}",
                fix: "name a port that is free on the host of rank 0 with MASTER_PORT", inner: failure);
        }
    }

    // The one who serves need not go by way of its name.
    private static string Loopback(string address) =>
        IPAddress.TryParse(address, out var given) ? given.ToString()
            : Dns.GetHostAddresses(address).Any(one => one.AddressFamily == AddressFamily.InterNetwork) ? "127.0.0.1" : "::1";

    // Ranks find out who is there, and that they mean the same job.
    private static string[] Meet(Store store, Rendezvous place, TimeSpan timeout)
    {
        try
        {
            var hosts = Gather(store, place, timeout);
            Compare(place, hosts);
            return [.. hosts.Select(each => each.Host)];
        }
        catch (InputException failure)
        {
            if (store.Add("failed/claims", 1) == 1)
                store.Set("failed", new RankFailedException(place.Rank, Environment.MachineName, failure.Message, canFix: true).ToText());
            throw;
        }
        catch (Torch.TorchException failure)
        {
            throw new InputException($"the store at {place.Address}:{store.Port} closed while the ranks were meeting there",
                why: "rank 0 or the launcher serves it, and has ended", fix: "see what it said", failure);
        }
    }

    // Each rank says where it runs; who has not come in time is named.
    private static (int World, string Host)[] Gather(Store store, Rendezvous place, TimeSpan timeout)
    {
        if (store.Add($"joined/{place.Rank}", 1) > 1)
            throw new InputException($"two processes say that they are rank {place.Rank}; the second is on {Environment.MachineName}",
                why: "the environment variable RANK (SLURM_PROCID) numbers the processes of a job", fix: "start each with a number of its own");
        store.Set($"host/{place.Rank}", $"{place.WorldSize} {Environment.MachineName}");
        string[] keys = [.. Enumerable.Range(0, place.WorldSize).Select(rank => $"host/{rank}")];
        var end = Environment.TickCount64 + (long)timeout.TotalMilliseconds;
        for (var pause = 1; keys.Any(key => !store.Has(key)); pause = Math.Min(2 * pause, 100))
        {
            if (store.TryGetText("failed") is { } failed)
                throw new InputException(RankFailedException.FromText(failed).Message);
            if (Environment.TickCount64 > end)
            {
                var missing = Enumerable.Range(0, place.WorldSize).Where(rank => !store.Has(keys[rank])).ToArray();
                throw new InputException($"{missing.Length} of {place.WorldSize} ranks did not come within {timeout.TotalSeconds:0} s: "
                    + $"rank{(missing.Length > 1 ? "s" : "")} {string.Join(", ", missing.Take(16))}{(missing.Length > 16 ? ", …" : "")}",
                    fix: "see why they did not start; each needs the same MASTER_ADDR, MASTER_PORT and WORLD_SIZE");
            }
            Thread.Sleep(pause);
        }
        return [.. keys.Select(key => store.TryGetText(key)!.Split(' ', 2)).Select(parts => (int.Parse(parts[0]), parts[1]))];
    }

    private static void Compare(Rendezvous place, (int World, string Host)[] hosts)
    {
        for (var rank = 0; rank < hosts.Length; rank++)
            if (hosts[rank].World != place.WorldSize)
                throw new InputException($"rank {rank} on {hosts[rank].Host} was started as one of {hosts[rank].World}, rank {place.Rank} on "
                    + $"{Environment.MachineName} as one of {place.WorldSize}", fix: "give all the same WORLD_SIZE (SLURM_NTASKS)");
        var host = hosts[place.Rank].Host;
        var local = hosts.Count(each => each.Host == host);
        if (place.LocalWorldSize is { } said && said != local && hosts.Any(each => each.Host != host))
            throw new InputException($"the environment variable LOCAL_WORLD_SIZE is {said}, but {local} ranks came from {host}",
                fix: "start with `handbook launch`, torchrun or srun, which set it");
    }

    // The address by which the others reach this host: the one it reaches the store with. On rank 0's host that may be a loopback.
    private static IPAddress OwnAddress(Store root, string[] hosts)
    {
        var there = IPAddress.Parse(root.Host);
        using var socket = new Socket(there.AddressFamily, SocketType.Dgram, ProtocolType.Udp);
        socket.Connect(there, root.Port);       // sends nothing
        var own = ((IPEndPoint)socket.LocalEndPoint!).Address;
        if (!IPAddress.IsLoopback(own) || hosts.Distinct().Count() == 1)
            return own;
        return NetworkInterface.GetAllNetworkInterfaces()
            .Where(each => each.OperationalStatus == OperationalStatus.Up && each.NetworkInterfaceType != NetworkInterfaceType.Loopback)
            .SelectMany(each => each.GetIPProperties().UnicastAddresses)
            .Select(each => each.Address)
            .Where(address => address.AddressFamily == own.AddressFamily && !address.IsIPv6LinkLocal)
            .FirstOrDefault() ?? throw new InputException($"{hosts[0]} has no network address that other hosts reach",
                fix: "name its network interface with the environment variable GLOO_SOCKET_IFNAME");
    }

    /// <summary>A group of some ranks; null where this one is not among them. All ranks of the job call it.</summary>
    /// <param name="name">Differs from the name of every other group.</param>
    public ProcessGroup? Subgroup(IReadOnlyList<int> ranks, string name)
    {
        var group = Watch.Over(() => Group.Subgroup(Store, ranks, name));
        if (group is not null)
            _subgroups.Add(group);
        return group;
    }

    /// <summary>Leaves the job. After a failure nobody is waited for who cannot come.</summary>
    public void Dispose()
    {
        _subgroups.ForEach(group => group.Dispose());
        Group.Dispose();
        Watch.Dispose();
        Store.Dispose();
        _root.Dispose();
    }
}
