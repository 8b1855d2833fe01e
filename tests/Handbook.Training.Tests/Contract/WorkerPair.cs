using System.Collections.Concurrent;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Training.Distributed;

namespace Handbook.Training.Tests.Contract;

/// <summary>Several workers in one process, a thread each, who meet at a barrier.</summary>
internal sealed class WorkerPair(int count) : IDisposable
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(2);

    private readonly Barrier _barrier = new(count);
    private readonly byte[][] _parts = new byte[count][];
    private readonly ThreadShards.Place _shards = new(count);
    private readonly List<IDisposable> _groups = [];
    private Store? _store;

    /// <summary>Runs the same code as every worker; what each returned, by rank.</summary>
    public static T[] Run<T>(int count, Func<Workers, T> body)
    {
        using var pair = new WorkerPair(count);
        var (results, failures) = (new T[count], new ConcurrentQueue<Exception>());        // those of others follow from the first
        Thread[] threads = [.. Enumerable.Range(0, count).Select(rank => new Thread(() =>
        {
            try
            {
                results[rank] = body(new Worker(pair, rank, count));
            }
            catch (Exception failure)
            {
                failures.Enqueue(failure);
                pair._barrier.RemoveParticipant();      // the others need not wait
                pair._shards.Leave();
            }
        }, maxStackSize: 16 << 20))];
        foreach (var thread in threads)
            thread.Start();
        foreach (var thread in threads)
            thread.Join();
        if (failures.TryPeek(out var first))
            ExceptionDispatchInfo.Throw(first);
        return results;
    }

    public void Dispose()
    {
        _shards.Dispose();
        _groups.ForEach(group => group.Dispose());
        _store?.Dispose();
        _barrier.Dispose();
    }

    // Keys and values go over real connections, as between processes.
    private ContextGroup Context(int rank, int size)
    {
        if (Backend.Gloo.Missing is { } missing)
            Assert.Skip(missing);
        lock (_groups)
            _store ??= Store.Serve("127.0.0.1", 0, s_patience);
        using var own = Store.Connect("127.0.0.1", _store.Port, s_patience);
        using var table = own.WithPrefix($"context/{size}/{rank / size}/");
        var group = ProcessGroup.OverGloo(table, rank % size, size, "127.0.0.1", s_patience);
        lock (_groups)
            _groups.Add(group);
        return new(group);
    }

    private void Meet()
    {
        if (!_barrier.SignalAndWait(s_patience))
            throw new TimeoutException("a worker did not come to where the others wait");
    }

    private sealed class Worker(WorkerPair pair, int rank, int count, ContextGroup? context = null) : Workers
    {
        protected override IShardGroup? Shards => new ThreadShards(pair._shards, rank);

        public override int Count => count;

        public override int Rank => rank;

        public override ContextGroup? Context => context;

        protected override Workers Grouped(int size) => new Worker(pair, rank, count, pair.Context(rank, size));

        protected override IReadOnlyList<byte[]> Bring(byte[] mine)
        {
            Waits();
            pair._parts[rank] = mine;
            pair.Meet();
            byte[][] all = [.. pair._parts];
            pair.Meet();        // nobody overwrites a part that another has not read
            return all;
        }

        public override void SumInPlace(Tensor values)
        {
            if (values.DType == DType.Float32)
            {
                var narrow = new float[values.Count];
                foreach (var part in Gather(MemoryMarshal.AsBytes(values.ToArray<float>().AsSpan()).ToArray()))
                    for (var i = 0; i < narrow.Length; i++)
                        narrow[i] += MemoryMarshal.Cast<byte, float>(part)[i];
                narrow.CopyTo(values.AsSpan<float>());
                return;
            }
            Assert.Equal(DType.Float64, values.DType);
            var sums = new double[values.Count];
            foreach (var part in Gather(MemoryMarshal.AsBytes(values.ToArray<double>().AsSpan()).ToArray()))
                for (var i = 0; i < sums.Length; i++)
                    sums[i] += MemoryMarshal.Cast<byte, double>(part)[i];
            sums.CopyTo(values.AsSpan<double>());
        }
    }
}
