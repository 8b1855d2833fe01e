using Handbook.Torch.Native;

namespace Handbook.Torch.Distributed;

/// <summary>An operation of a group that has begun. Its tensors belong to it until <see cref="Wait()"/> returns.</summary>
/// <remarks>The group keeps the memory of the tensors alive by itself, even where the handle is disposed without a wait.</remarks>
public sealed unsafe class Work : IDisposable
{
    private readonly ProcessGroup _group;
    private readonly string _what;
    private nint _handle;

    internal Work(ProcessGroup group, string what, nint handle)
    {
        (_group, _what, _handle) = (group, what, handle);
    }

    /// <summary>Waits for the end; once it returns, results are in their tensors. Repeating it does no harm.</summary>
    /// <exception cref="TimeoutException">Not within the group's timeout.</exception>
    /// <exception cref="TorchException">It failed, e.g. because a rank is gone; names operation, group and rank.</exception>
    /// <remarks>After <see cref="ProcessGroup.Stop"/> it throws what the group was stopped with.</remarks>
    public void Wait() => Wait(_group.Timeout);

    /// <summary>As <see cref="Wait()"/>, with another limit; after a timeout the operation goes on, and may be waited for again.</summary>
    public void Wait(TimeSpan timeout)
    {
        ObjectDisposedException.ThrowIf(_handle == 0, this);
        int outcome;
        var error = Shim.WorkWait(_handle, timeout == Timeout.InfiniteTimeSpan ? -1 : (long)Math.Max(timeout.TotalMilliseconds, 0), &outcome);
        if (error != 0)
            throw _group.Failure(_what, Shim.Take(error));
        if (outcome == 2)
            throw _group.Stopped();
        if (outcome == 1)
            throw new TimeoutException($"{_what} of {_group} did not end within {timeout.TotalSeconds:0.#} s");
    }

    /// <summary>Begins an operation and waits for its end.</summary>
    /// <param name="explain">Finds out who is to blame where it fails; null: what the group says is passed on.</param>
    internal static void Run(Func<Work> begin, Func<Exception, Exception>? explain)
    {
        try
        {
            using var work = begin();
            work.Wait();
        }
        catch (Exception failure) when (explain is not null && failure is TorchException or TimeoutException)
        {
            throw explain(failure);
        }
    }

    /// <summary>Lets go of the handle; the operation itself goes on.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _handle, 0) is var handle and not 0)
            Shim.WorkFree(handle);
    }
}
