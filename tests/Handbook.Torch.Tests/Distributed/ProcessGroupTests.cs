using Handbook.Testing;
using Handbook.Torch.Distributed;

namespace Handbook.Torch.Tests.Distributed;

/// <summary>Every operation among real processes: what each rank has afterwards is computed beside it.</summary>
[Trait("needs", "processes")]
public sealed class ProcessGroupTests
{
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(60);
    private static readonly DType[] s_summed = [DType.Float32, DType.Float64, DType.BFloat16, DType.Float16, DType.Int64, DType.Int32];

    [Fact]
    public void Every_operation_gives_every_rank_what_it_says() => RankJob.Run(3, EveryOperation);

    [Theory, Trait("speed", "slow")]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void Every_operation_gives_every_rank_what_it_says_in_other_worlds(int size) => RankJob.Run(size, EveryOperation);

    [Fact]
    public void Sums_in_order_have_the_bits_of_a_loop_over_the_ranks_however_they_are_cut() => SumOf(40_000);

    [Fact, Trait("speed", "slow")]
    public void Sums_in_order_of_long_buffers_have_the_bits_of_a_loop_over_the_ranks() => SumOf(2_600_000);    // beyond 8 MiB

    private static void SumOf(int count) => RankJob.Run(3, SumsInOrder, variables: _ => [("COUNT", $"{count}")]);

    [Fact]
    public void What_has_begun_is_waited_for_in_any_order_and_groups_do_not_wait_for_each_other() => RankJob.Run(4, OrderAndGroups);

    [Fact]
    public void Over_IPv6_a_timeout_is_named_and_the_operation_goes_on() => RankJob.Run(2, Timeouts, host: "::1");

    [Fact]
    public void Stopping_a_group_ends_the_wait_of_another_thread() => RankJob.Run(2, Stopping);

    [Theory]
    [InlineData(Backend.Gloo)]
    [InlineData(Backend.Nccl)]
    public void A_backend_that_is_not_there_is_refused_by_name(Backend backend)
    {
        if (backend.Missing is not { } missing)
        {
            Assert.Skip($"this installation has {backend}");
            return;
        }
        var failure = Assert.Throws<Base.InputException>(() => backend.Require());
        Assert.Equal($"training with several processes needs {backend}, which is not there: {missing.Split('\n')[0]}", failure.What);
        Assert.NotNull(failure.Fix);
    }

    // ---- what ranks run ------------------------------------------------------------------------------------------

    private static (Store Store, ProcessGroup Group) Join(TimeSpan? timeout = null)
    {
        string Variable(string name) => Environment.GetEnvironmentVariable(name)!;
        var (rank, size) = (int.Parse(Variable("RANK")), int.Parse(Variable("WORLD_SIZE")));
        var (host, port) = (Variable("MASTER_ADDR"), int.Parse(Variable("MASTER_PORT")));
        var store = rank == 0 ? Store.Serve(host, port, s_patience) : Store.Connect(host, port, s_patience);
        return (store, ProcessGroup.OverGloo(store.WithPrefix("all/"), rank, size, host, timeout ?? s_patience));
    }

    // The one who serves the store goes last.
    private static void Leave(Store store, ProcessGroup group)
    {
        Wait(group.Barrier());
        group.Dispose();
        store.Add("left", 1);
        while (group.Rank == 0 && store.Add("left", 0) < group.Size)
            Thread.Sleep(5);
        store.Dispose();
        Assert.Equal(0, Tensor.LiveCount);
    }

    private static void Wait(Work work)
    {
        using (work)
            work.Wait();
    }

    // Small whole numbers, which every type holds.
    private static double Value(int rank, long i) => (i * 7 + rank * 3) % 11 - 4;

    private static Tensor Of(DType dtype, long count, Func<long, double> value)
    {
        var values = new double[count];
        for (var i = 0L; i < count; i++)
            values[i] = value(i);
        return Tensor.From<double>(values).To(dtype);
    }

    private static void Same(Tensor tensor, Func<long, double> value)
    {
        var got = tensor.ToArray<double>();
        for (var i = 0L; i < got.Length; i++)
            Lazily.True(got[i] == value(i), $"{tensor}, element {i}: {got[i]}, not {value(i)}");
    }

    private static void EveryOperation()
    {
        var (store, group) = Join();
        var (rank, size) = (group.Rank, group.Size);
        var ranks = Enumerable.Range(0, size).ToArray();
        foreach (var dtype in s_summed)
        {
            using var scope = TensorScope.Enter();
            foreach (var count in (long[])[1, 10, 8192 + 5])     // the last takes two steps
            {
                foreach (var inOrder in (bool[])[false, true])
                {
                    foreach (var (reduction, together) in (ReadOnlySpan<(Reduction, Func<IEnumerable<double>, double>)>)
                        [(Reduction.Sum, Enumerable.Sum), (Reduction.Max, Enumerable.Max), (Reduction.Min, Enumerable.Min)])
                    {
                        var values = Of(dtype, count, i => Value(rank, i));
                        Wait(group.AllReduce(values, reduction, inOrder));
                        Same(values, i => together(ranks.Select(r => Value(r, i))));
                    }
                }
                var root = size - 1;
                var sent = Of(dtype, count, i => Value(rank, i));
                Wait(group.Broadcast(sent, root));
                Same(sent, i => Value(root, i));

                // in place: each rank's values lie in the result already
                var all = Of(dtype, count * size, i => i / count == rank ? Value(rank, i % count) : 99);
                Wait(group.AllGather(all, all.Narrow(0, rank * count, count)));
                Same(all, i => Value((int)(i / count), i % count));

                var mine = Tensor.Zeros(dtype, Device.Cpu, count);
                Wait(group.ReduceScatter(mine, Of(dtype, count * size, i => Value(rank, i))));
                Same(mine, i => ranks.Sum(r => Value(r, rank * count + i)));

                // parts of different lengths: rank r gets r elements more, rank 0 of the first count − 1 of them
                long[] parts = [.. ranks.Select(r => count - 1 + r)];
                var before = parts[..rank].Sum();
                var buffer = Of(dtype, parts.Sum(), i => Value(rank, i));
                Wait(group.ReduceScatter(buffer.Narrow(0, before, parts[rank]), buffer, parts));
                Same(buffer.Narrow(0, before, parts[rank]), i => ranks.Sum(r => Value(r, before + i)));

                // rank a sends rank b a + b elements
                var outgoing = Of(dtype, ranks.Sum(r => (long)rank + r), i => 10 * rank + i % 7);
                var incoming = Tensor.Zeros(dtype, Device.Cpu, ranks.Sum(r => (long)rank + r));
                long[] counts = [.. ranks.Select(r => (long)rank + r)];
                Wait(group.AllToAll(incoming, outgoing, counts, counts));
                var expected = ranks.SelectMany(from => Enumerable.Range(0, from + rank)
                    .Select(i => 10.0 * from + (ranks.Where(to => to < rank).Sum(to => from + to) + i) % 7)).ToArray();
                Same(incoming, i => expected[i]);

                if (size > 1)
                {
                    var (next, previous) = ((rank + 1) % size, (rank + size - 1) % size);
                    var received = Tensor.Zeros(dtype, Device.Cpu, count);
                    using var receive = group.Receive(received, previous, tag: 7);
                    using var send = group.Send(Of(dtype, count, i => Value(rank, i)), next, tag: 7);
                    receive.Wait();
                    send.Wait();
                    Same(received, i => Value(previous, i));
                }
            }
            // a view in the middle of a larger buffer; what lies around it stays
            var whole = Of(dtype, 30, i => i % 11 + rank);
            Wait(group.AllReduce(whole.Narrow(0, 10, 10)));
            Same(whole, i => i is >= 10 and < 20 ? ranks.Sum(r => i % 11 + r) : i % 11 + rank);
        }
        Moved(group);
        Wait(group.Barrier());
        Refused(group);
        Leave(store, group);
    }

    // Types that nobody adds up are moved all the same.
    private static void Moved(ProcessGroup group)
    {
        using var scope = TensorScope.Enter();
        foreach (var dtype in (DType[])[DType.UInt8, DType.Int8, DType.Bool])
        {
            var values = Of(dtype, 5, i => (i + group.Rank) % 2);
            var all = Tensor.Zeros(dtype, Device.Cpu, 5 * group.Size);
            Wait(group.AllGather(all, values));
            Same(all, i => (i % 5 + i / 5) % 2);
        }
        if (group.Size > 1)
        {
            var failure = Assert.Throws<TorchException>(() => Wait(group.AllReduce(Of(DType.Bool, 3, i => 1))));
            Assert.Contains("all-reduce of bool[3] of the group of all (rank ", failure.Message, StringComparison.Ordinal);
        }
        Wait(group.AllReduce(Tensor.Zeros(DType.Float32, Device.Cpu, 0)));
    }

    private static void Refused(ProcessGroup group)
    {
        using var scope = TensorScope.Enter();
        var values = Tensor.Zeros(DType.Float32, Device.Cpu, 2, 3);
        Assert.Throws<ArgumentException>(() => group.AllReduce(values.Transpose(0, 1)));
        Assert.Throws<ArgumentException>(() => group.AllGather(values, Tensor.Zeros(DType.Float32, Device.Cpu, 5)));
        Assert.Throws<ArgumentException>(() => group.AllGather(Tensor.Zeros(DType.Int64, Device.Cpu, 6 * group.Size), values));
        Assert.Throws<ArgumentException>(() => group.AllToAll(values.Clone(), values, valueCounts: [.. new long[group.Size]]));
        Assert.Throws<ArgumentOutOfRangeException>(() => group.Send(values, group.Rank));
    }

    private static void SumsInOrder()
    {
        var (store, group) = Join();
        var count = int.Parse(Environment.GetEnvironmentVariable("COUNT")!);
        foreach (var dtype in (DType[])[DType.Float32, DType.BFloat16])
        {
            using var scope = TensorScope.Enter();
            // every rank makes everyone's numbers, and adds them up by itself
            var parts = Enumerable.Range(0, group.Size).Select(rank =>
            {
                var random = new Random(rank);
                return Of(dtype, count, _ => random.NextDouble() * Math.Pow(10, random.Next(-4, 5)) - 0.5);
            }).ToArray();
            var expected = parts[0].ToArray<float>();
            foreach (var part in parts[1..])
            {
                var more = part.ToArray<float>();
                for (var i = 0; i < count; i++)
                    expected[i] += more[i];
            }
            var rounded = Tensor.From<float>(expected).To(dtype).ToArray<float>();
            foreach (var cut in (int[])[count, count / 3, count / 40, count - 17])
            {
                var values = parts[group.Rank].Clone();
                var works = new List<Work>();
                for (var begin = 0; begin < count; begin += cut)
                    works.Add(group.AllReduce(values.Narrow(0, begin, Math.Min(cut, count - begin)), inOrder: true));
                works.ForEach(Wait);
                Assert.True(values.ToArray<float>().AsSpan().SequenceEqual(rounded), $"{dtype} cut into pieces of {cut}");
            }
            var share = Tensor.Zeros(dtype, Device.Cpu, count / 4);
            long[] counts = [count / 4, count / 4, count / 2];
            if (group.Rank == 2)
                share = Tensor.Zeros(dtype, Device.Cpu, count / 2);
            Wait(group.ReduceScatter(share, parts[group.Rank], counts));
            Assert.True(share.ToArray<float>().AsSpan().SequenceEqual(rounded.AsSpan(group.Rank * count / 4, (int)share.Count)));
        }
        Leave(store, group);
    }

    private static void OrderAndGroups()
    {
        var (store, group) = Join();
        using (TensorScope.Enter())
        {
            var values = Enumerable.Range(0, 20).Select(i => Of(i % 2 == 0 ? DType.Float32 : DType.BFloat16, 100 + 5000 * i, _ => i + group.Rank))
                .ToArray();
            var works = values.Select(each => group.AllReduce(each)).ToArray();
            foreach (var i in Enumerable.Range(0, 20).Reverse())
            {
                Wait(works[i]);
                Same(values[i], _ => 4 * i + 6);
            }
            var odd = group.Subgroup(store, [3, 1], "odd");
            var even = group.Subgroup(store, [0, 2], "even");
            Assert.Equal(group.Rank % 2 == 1, odd is not null);
            using var own = (odd ?? even)!;
            Assert.Equal(group.Rank is 3 or 0 ? 0 : 1, own.Rank);
            // the group of all waits for rank 0, who comes after its own group is done
            var mine = Of(DType.Int64, 3, _ => group.Rank);
            var all = Of(DType.Int64, 3, _ => 1);
            using var slow = group.Rank == 0 ? null : group.AllReduce(all);
            Wait(own.AllReduce(mine));
            Same(mine, _ => group.Rank % 2 == 1 ? 4 : 2);
            using var late = group.Rank == 0 ? group.AllReduce(all) : null;
            (slow ?? late)!.Wait();
            Same(all, _ => 4);
        }
        Leave(store, group);
    }

    private static void Timeouts()
    {
        var (store, group) = Join();
        using (TensorScope.Enter())
        {
            var values = Of(DType.Float32, 4, _ => 1);
            if (group.Rank == 0)
            {
                using var work = group.AllReduce(values);
                var failure = Assert.Throws<TimeoutException>(() => work.Wait(TimeSpan.FromSeconds(0.2)));
                Assert.Equal("all-reduce of float32[4] of the group of all (rank 0 of 2, Gloo) did not end within 0.2 s", failure.Message);
                store.Set("go", "");
                work.Wait();
            }
            else
            {
                Assert.Throws<TimeoutException>(() => store.Wait(TimeSpan.FromSeconds(0.1), "never"));
                store.Wait(s_patience, "go");
                Wait(group.AllReduce(values));
            }
            Same(values, _ => 2);
        }
        Leave(store, group);
    }

    private static void Stopping()
    {
        var (store, group) = Join();
        using (TensorScope.Enter())
        {
            if (group.Rank == 0)
            {
                var cause = new InvalidOperationException("no more");
                var values = Of(DType.Float32, 4, _ => 1);
                using var collective = group.AllReduce(values);
                using var message = group.Receive(values.Clone(), 1);
                new Thread(() =>
                {
                    Thread.Sleep(100);
                    group.Stop(cause);
                }).Start();
                Assert.Same(cause, Assert.Throws<InvalidOperationException>(collective.Wait));
                Assert.Same(cause, Assert.Throws<InvalidOperationException>(message.Wait));
                Assert.Same(cause, Assert.Throws<InvalidOperationException>(() => group.Barrier()));
                group.Dispose();
                store.Set("done", "");
                store.Wait(s_patience, "heard");
            }
            else
            {
                store.Wait(s_patience, "done");
                store.Set("heard", "");
            }
        }
    }
}
