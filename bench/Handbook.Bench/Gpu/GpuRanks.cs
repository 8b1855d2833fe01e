using System.Net;
using System.Net.Sockets;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Torch.Distributed;
using Handbook.Torch.Native;

namespace Handbook.Bench.Gpu;

/// <summary>What processes exchange over NCCL, beside the same over Gloo.</summary>
internal static class GpuRanks
{
    private const int Count = 40_000;           // more than one piece of what stands in for NCCL

    /// <summary>Two ranks, each on a GPU of its own; one where there is one GPU.</summary>
    public static void Compare(StageRun run)
    {
        var world = run.IsRehearsal ? 2 : Math.Min(2, TorchCuda.Count);
        var port = FreePort();
        string[] last = run.IsRehearsal ? ["--dry"] : [];
        var ranks = Enumerable.Range(0, world).Select(rank => GpuCommand.Again(["rank", $"{rank}", $"{world}", $"{port}", .. last])).ToArray();
        var errors = Array.ConvertAll(ranks, rank => rank.StandardError.ReadToEndAsync());
        for (var rank = 0; rank < world; rank++)
        {
            while (ranks[rank].StandardOutput.ReadLine() is { } line)
                if (line.Split('\t') is [var name, var ok, var note])
                    run.Check($"{name}, rank {rank} of {world}", ok == "ok", note: note);
            ranks[rank].WaitForExit();
            if (ranks[rank].ExitCode != 0)
                run.Check($"rank {rank} of {world}", false, note: errors[rank].Result.Trim().ReplaceLineEndings(" "));
        }
        Array.ForEach(ranks, rank => rank.Dispose());
    }

    /// <summary><c>gpu rank RANK WORLD PORT [--dry]</c>: one of them.</summary>
    public static int Run(int rank, int world, int port, bool dry)
    {
        TorchRuntime.Load();
        var device = dry ? StandInDevice.Use() : ComputeDevice.Gpu(rank, out _)!;
        if (dry)
            _ = Shim.SetEnvironment("HANDBOOK_NCCL", StandInDevice.Nccl(), 1);
        device.Prepare(tf32: false, deterministic: false);
        var limit = TimeSpan.FromSeconds(25);
        using var store = rank == 0 ? Store.Serve("127.0.0.1", port, limit) : Store.Connect("127.0.0.1", port, limit);
        using var own = store.WithPrefix("gloo/");
        using var other = store.WithPrefix("nccl/");
        using var gloo = ProcessGroup.OverGloo(own, rank, world, "127.0.0.1", limit);
        using var nccl = ProcessGroup.OverNccl(other, rank, world, limit);
        foreach (var type in (ReadOnlySpan<DType>)[DType.Float32, DType.BFloat16, DType.Int64])
            foreach (var (name, run) in Operations(world, rank))
            {
                using var scope = TensorScope.Enter();
                var wanted = run(gloo, shape => Values(type, shape, rank));
                var found = run(nccl, shape => Values(type, shape, rank).To(device.Device));
                // bfloat16 is added up in another order there, and rounded more than once
                var most = type == DType.BFloat16 && name.Contains("sum", StringComparison.Ordinal) ? 1.0 / 64 : 1e-6;
                var ok = found.ToArray<double>().Zip(wanted.ToArray<double>())
                    .All(pair => Math.Abs(pair.First - pair.Second) <= most * Math.Max(1, Math.Abs(pair.Second)));
                Console.WriteLine($"{name} of {type.ToString().ToLowerInvariant()}\t{(ok ? "ok" : "wrong")}\t");
            }
        // What Gloo refuses NCCL refuses in the same words, before anything is sent.
        foreach (var (name, run) in Mistakes(world))
        {
            using var scope = TensorScope.Enter();
            var (there, here) = (Said(() => run(gloo, t => t)), Said(() => run(nccl, t => t.To(device.Device))));
            var ok = there is not null && here is not null && there.GetType() == here.GetType();
            Console.WriteLine($"refuses {name}\t{(ok ? "ok" : "wrong")}\t{here?.Message.ReplaceLineEndings(" ")}");
        }
        Wait(nccl.Barrier());
        Wait(gloo.Barrier());
        store.Add("left", 1);
        while (rank == 0 && store.Add("left", 0) < world)
            Thread.Sleep(2);        // the one who serves the store goes last
        return 0;
    }

    private static (string Name, Func<ProcessGroup, Func<long[], Tensor>, Tensor> Run)[] Operations(int world, int rank)
    {
        var (before, after) = ((rank + world - 1) % world, (rank + 1) % world);
        return
        [
            ("broadcast", (group, make) => Changed(make([Count]), values => Wait(group.Broadcast(values, world - 1)))),
            ("sum", (group, make) => Changed(make([Count]), values => Wait(group.AllReduce(values)))),
            ("maximum", (group, make) => Changed(make([Count]), values => Wait(group.AllReduce(values, Reduction.Max)))),
            ("sum that is scattered", (group, make) =>
                Changed(Like(make, Count), result => Wait(group.ReduceScatter(result, make([Count * world]))))),
            ("gathering", (group, make) => Changed(Like(make, Count * world), result => Wait(group.AllGather(result, make([Count]))))),
            ("gathering in place", (group, make) => Changed(make([Count * world]),
                all => Wait(group.AllGather(all, all.Narrow(0, (long)rank * Count, Count))))),
            ("all to all", (group, make) =>
                Changed(Like(make, Count * world), result => Wait(group.AllToAll(result, make([Count * world]))))),
            // rank r sends r + p + 1 elements to rank p
            ("all to all of unlike parts", (group, make) =>
            {
                long[] counts = [.. Enumerable.Range(0, world).Select(peer => (long)rank + peer + 1)];
                return Changed(Like(make, counts.Sum()), result => Wait(group.AllToAll(result, make([counts.Sum()]), counts, counts)));
            }),
            ("a ring of messages", (group, make) => world == 1 ? make([1]) : Changed(Like(make, Count), result =>
            {
                // both are asked for before either is waited for, and waited for in the other order
                using var comes = group.Receive(result, before, 3);
                using var goes = group.Send(make([Count]), after, 3);
                comes.Wait();
                goes.Wait();
            })),
            ("two that overlap", (group, make) => Changed(make([Count]), values =>
            {
                var others = make([Count]);
                using var first = group.AllReduce(values);
                using var second = group.AllReduce(others);
                second.Wait();
                first.Wait();
                values.CopyFrom(values + others);
            })),
        ];
    }

    private static (string Name, Action<ProcessGroup, Func<Tensor, Tensor>> Run)[] Mistakes(int world) =>
    [
        ("parts that do not fill the whole", (group, on) =>
            Wait(group.AllGather(on(Tensor.Zeros(DType.Float32, 5 * world + 1)), on(Tensor.Zeros(DType.Float32, 5))))),
        ("another type in the result", (group, on) =>
            Wait(group.AllGather(on(Tensor.Zeros(DType.Float64, 5 * world)), on(Tensor.Zeros(DType.Float32, 5))))),
        ("gaps between elements", (group, on) => Wait(group.AllReduce(on(Tensor.Zeros(DType.Float32, 4, 4)).T()))),
        ("a rank that is not there", (group, on) => Wait(group.Send(on(Tensor.Zeros(DType.Float32, 4)), world))),
        ("counts of another sum", (group, on) => Wait(group.AllToAll(on(Tensor.Zeros(DType.Float32, 4)), on(Tensor.Zeros(DType.Float32, 4)),
            [.. Enumerable.Repeat(3L, world)], [.. Enumerable.Repeat(3L, world)]))),
    ];

    private static Tensor Like(Func<long[], Tensor> make, long count) => make([count]).ZerosLike();

    private static Tensor Changed(Tensor values, Action<Tensor> change)
    {
        change(values);
        return values;
    }

    private static void Wait(Work work)
    {
        using (work)
            work.Wait();
    }

    private static Exception? Said(Action body)
    {
        try
        {
            body();
            return null;
        }
        catch (Exception refusal) when (refusal is ArgumentException or TorchException)
        {
            return refusal;
        }
    }

    private static Tensor Values(DType type, long[] shape, int rank)
    {
        var random = new Random(17 + rank);
        var numbers = new float[shape.Aggregate(1L, (a, b) => a * b)];
        foreach (ref var number in numbers.AsSpan())
            number = type == DType.Int64 ? random.Next(-1000, 1000) : random.NextSingle() - 0.5f;
        return Tensor.From(numbers, shape).To(type);
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
