using Handbook.Base.Progress;
using Handbook.Torch.Native;

namespace Handbook.Torch.Distributed;

/// <summary>How values of all ranks become one.</summary>
public enum Reduction
{
    /// <summary>Their sum; 16-bit floats are added up in float32 and rounded once.</summary>
    Sum = 0,
    /// <summary>The largest.</summary>
    Max = 1,
    /// <summary>The smallest.</summary>
    Min = 2,
}

/// <summary>Processes that work on the same thing, and the operations among them, on libtorch's own c10d.</summary>
/// <remarks>
/// All ranks call the same collectives in the same order with the same shapes and types. Each returns at once with a handle; those of one
/// group run one after the other, those of several groups beside each other. Tensors are contiguous, and may be views of a larger buffer;
/// nothing is recorded for automatic differentiation. Any element type can be moved; float32, float64, bfloat16, float16, int64 and int32
/// can be added up.
/// </remarks>
public sealed unsafe class ProcessGroup : IDisposable
{
    private readonly Lock _gate = new();
    private readonly List<ProcessGroup> _children = [];
    private readonly string? _host;
    private readonly string? _interface;
    private nint _handle;
    private Exception? _cause;
    private long _begun;

    private ProcessGroup(string name, Backend backend, int rank, int size, TimeSpan timeout, string? host, string? networkInterface)
    {
        (Name, Backend, Rank, Size, Timeout) = (name, backend, rank, size, timeout);
        (_host, _interface) = (host, networkInterface);
    }

    /// <summary>What messages call it.</summary>
    public string Name { get; }

    /// <summary>Who carries what it sends.</summary>
    public Backend Backend { get; }

    /// <summary>Which one this process is, from 0.</summary>
    public int Rank { get; }

    /// <summary>How many there are.</summary>
    public int Size { get; }

    /// <summary>How long an operation may take.</summary>
    public TimeSpan Timeout { get; }

    /// <summary>Operations begun so far; what the last one was stands in <see cref="Last"/>.</summary>
    public long Begun => Volatile.Read(ref _begun);

    /// <summary>The operation begun last.</summary>
    public string Last { get; private set; } = "";

    /// <summary>A group over Gloo, for tensors on the CPU. Returns when all its ranks have come.</summary>
    /// <param name="store">A table of its own, see <see cref="Store.WithPrefix"/>.</param>
    /// <param name="host">An address of this machine that the others reach, IPv4 or IPv6.</param>
    /// <param name="networkInterface">A network interface in place of <paramref name="host"/>, e.g. <c>eth0</c>.</param>
    /// <param name="timeout">How long joining, and each operation, may take.</param>
    /// <param name="name">What messages call the group.</param>
    /// <exception cref="Base.InputException">This installation lacks c10d or Gloo; says what to install.</exception>
    public static ProcessGroup OverGloo(Store store, int rank, int size, string host, TimeSpan timeout, string? networkInterface = null,
        string name = "the group of all") => new ProcessGroup(name, Backend.Gloo, rank, size, timeout, host, networkInterface).Join(store);

    /// <summary>A group over NCCL, for tensors on CUDA devices.</summary>
    /// <exception cref="Base.InputException">There is no NCCL; says what to install, or to name with <c>HANDBOOK_NCCL</c>.</exception>
    public static ProcessGroup OverNccl(Store store, int rank, int size, TimeSpan timeout, string name = "the group of all") =>
        new ProcessGroup(name, Backend.Nccl, rank, size, timeout, null, null).Join(store);

    private ProcessGroup Join(Store store)
    {
        Backend.Require();
        ArgumentOutOfRangeException.ThrowIfNegative(Rank);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(Rank, Size);
        nint handle;
        var limit = Store.Milliseconds(Timeout + TimeSpan.FromSeconds(10));     // a wait ends first, with words of ours
        var error = Backend == Backend.Gloo
            ? Shim.GroupGloo(store.Native, Rank, Size, _host, _interface, limit, &handle)
            : Shim.GroupNccl(store.Native, Rank, Size, &handle);
        GC.KeepAlive(store);
        if (error != 0)
            throw Failure("joining", Shim.Take(error));
        _handle = handle;
        return this;
    }

    /// <summary>A group of some of these ranks. Every rank of this group calls it, with the same ranks and name.</summary>
    /// <param name="store">The store that this group was made with, or another prefix of it.</param>
    /// <param name="ranks">Ranks of this group; their order is the new one's.</param>
    /// <param name="name">Differs from the name of every other group of the store.</param>
    /// <returns>Null where this process is not among them.</returns>
    public ProcessGroup? Subgroup(Store store, IReadOnlyList<int> ranks, string name)
    {
        var rank = ranks.ToList().IndexOf(Rank);
        if (rank < 0)
            return null;
        using var own = store.WithPrefix(name + "/");
        var group = new ProcessGroup(name, Backend, rank, ranks.Count, Timeout, _host, _interface).Join(own);
        lock (_gate)
        {
            _children.Add(group);
            if (_cause is not null)
                group.Stop(_cause);
        }
        return group;
    }

    // ---- operations ----------------------------------------------------------------------------------------------

    /// <summary>Gives everyone the values of one rank, in place.</summary>
    public Work Broadcast(Tensor values, int root)
    {
        nint work;
        Check(values);
        return Begin("broadcast", values, Shim.Broadcast(Handle, values.Handle, root, &work), &work);
    }

    /// <summary>Replaces everyone's values by all of them together, in place.</summary>
    /// <param name="inOrder">Takes sums in the order of the ranks, so that their bits depend on nothing else: not on the library's
    /// algorithm, nor on how a buffer is cut. 16-bit floats are always summed so.</param>
    public Work AllReduce(Tensor values, Reduction reduction = Reduction.Sum, bool inOrder = false)
    {
        nint work;
        Check(values);
        return Begin("all-reduce", values, Shim.AllReduce(Handle, values.Handle, (int)reduction, inOrder ? 1 : 0, &work), &work);
    }

    /// <summary>Gives every rank its part of everyone's values together, taken in the order of the ranks.</summary>
    /// <param name="result">This rank's part; may lie in <paramref name="values"/>.</param>
    /// <param name="values">The parts of all ranks, one behind the other.</param>
    /// <param name="counts">Elements of each rank's part; null where all have as many.</param>
    public Work ReduceScatter(Tensor result, Tensor values, long[]? counts = null, Reduction reduction = Reduction.Sum)
    {
        nint work;
        Check(values);
        Check(result, values);
        counts ??= Even(values.Count, result.Count);
        CheckCounts(counts, values, nameof(counts));
        if (counts[Rank] != result.Count)
            throw new ArgumentException($"rank {Rank}'s part has {counts[Rank]} elements, but {result} was given", nameof(result));
        fixed (long* parts = counts)
            return Begin("reduce-scatter", values,
                Shim.ReduceScatter(Handle, result.Handle, values.Handle, parts, (int)reduction, &work), &work);
    }

    /// <summary>Gives everyone the values of all, by rank.</summary>
    /// <param name="result">Size times as many elements as <paramref name="values"/>.</param>
    /// <param name="values">This rank's; may lie in <paramref name="result"/>, at its own place.</param>
    public Work AllGather(Tensor result, Tensor values)
    {
        nint work;
        Check(values);
        Check(result, values);
        _ = Even(result.Count, values.Count);
        return Begin("all-gather", values, Shim.AllGather(Handle, result.Handle, values.Handle, &work), &work);
    }

    /// <summary>Sends each rank its part, and gets one from each.</summary>
    /// <param name="result">What comes, by rank.</param>
    /// <param name="values">What goes, by rank.</param>
    /// <param name="resultCounts">Elements from each rank; null where all send as many.</param>
    /// <param name="valueCounts">Elements to each rank; null where all get as many.</param>
    public Work AllToAll(Tensor result, Tensor values, long[]? resultCounts = null, long[]? valueCounts = null)
    {
        nint work;
        Check(values);
        Check(result, values);
        resultCounts ??= Even(result.Count, result.Count / Size);
        valueCounts ??= Even(values.Count, values.Count / Size);
        CheckCounts(resultCounts, result, nameof(resultCounts));
        CheckCounts(valueCounts, values, nameof(valueCounts));
        if (resultCounts[Rank] != valueCounts[Rank])
            throw new ArgumentException($"rank {Rank} sends itself {valueCounts[Rank]} elements and gets {resultCounts[Rank]}");
        fixed (long* comes = resultCounts, goes = valueCounts)
            return Begin("all-to-all", values, Shim.AllToAll(Handle, result.Handle, values.Handle, comes, goes, &work), &work);
    }

    /// <summary>Sends values to one rank, which receives as many with the same tag. Ends when they are on their way.</summary>
    public Work Send(Tensor values, int to, int tag = 0)
    {
        nint work;
        Check(values);
        CheckPeer(to, nameof(to));
        return Begin($"send to rank {to}", values, Shim.Send(Handle, values.Handle, to, tag, &work), &work);
    }

    /// <summary>Receives what one rank sends, in place.</summary>
    public Work Receive(Tensor values, int from, int tag = 0)
    {
        nint work;
        Check(values);
        CheckPeer(from, nameof(from));
        return Begin($"receive from rank {from}", values, Shim.Receive(Handle, values.Handle, from, tag, &work), &work);
    }

    /// <summary>Ends when every rank has begun it.</summary>
    public Work Barrier()
    {
        nint work;
        return Begin("barrier", null, Shim.Barrier(Handle, &work), &work);
    }

    // ---- its end -------------------------------------------------------------------------------------------------

    /// <summary>Ends all waits of this group and of its sub-groups, on whichever thread, with <paramref name="cause"/>; nothing new begins.
    /// </summary>
    public void Stop(Exception cause)
    {
        lock (_gate)
        {
            if (_cause is not null)
                return;
            _cause = cause;
            foreach (var child in _children)
                child.Stop(cause);
            if (_handle != 0)
                Shim.GroupStop(_handle);
        }
    }

    /// <summary>Closes the connections, where no operation is under way; else they stay until the process ends.</summary>
    public void Dispose()
    {
        lock (_gate)
        {
            if (_handle == 0)
                return;
            Shim.GroupFree(_handle);
            _handle = 0;
        }
    }

    /// <inheritdoc/>
    public override string ToString() => $"{Name} (rank {Rank} of {Size}, {Backend})";

    private nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _cause is null ? _handle : throw Stopped();
        }
    }

    internal Exception Stopped() => _cause ?? new InvalidOperationException($"{this} was stopped");

    internal Exception Failure(string what, string message) =>
        Volatile.Read(ref _cause) ?? new TorchException($"{what} of {this} failed: {message}");

    // The handle of what began, or its refusal.
    private Work Begin(string operation, Tensor? values, nint error, nint* work)
    {
        var what = values is null ? operation : $"{operation} of {values}";
        GC.KeepAlive(values);
        if (error != 0)
            throw Failure(what, Shim.Take(error));
        Last = operation;
        Pulse.Beat();
        Interlocked.Increment(ref _begun);
        return new(this, what, *work);
    }

    private void Check(Tensor values)
    {
        if (!values.IsContiguous)
            throw new ArgumentException($"{values} does not lie in one piece, as {this} needs it");
        if (values.Device.IsCpu != (Backend == Backend.Gloo))
            throw new ArgumentException($"{values} is not where {this} reaches it");
    }

    private void Check(Tensor result, Tensor values)
    {
        Check(result);
        if (result.DType != values.DType)
            throw new ArgumentException($"{values} cannot go into {result}");
    }

    private void CheckPeer(int rank, string name)
    {
        if ((uint)rank >= (uint)Size || rank == Rank)
            throw new ArgumentOutOfRangeException(name, rank, $"not another rank of {this}");
    }

    private void CheckCounts(long[] counts, Tensor values, string name)
    {
        if (counts.Length != Size || counts.Any(count => count < 0) || counts.Sum() != values.Count)
            throw new ArgumentException($"parts of {string.Join(", ", counts)} elements do not make up {values} for {this}", name);
    }

    private long[] Even(long all, long each)
    {
        if (all != each * Size)
            throw new ArgumentException($"{all} elements are not {Size} parts of {each}");
        return [.. Enumerable.Repeat(each, Size)];
    }
}
