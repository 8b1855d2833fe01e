using System.Runtime.ExceptionServices;
using Handbook.Torch.Distributed;

namespace Handbook.Torch.Tests.Fused;

/// <summary>Groups whose ranks are threads of this process, with real connections between them.</summary>
internal static class ThreadGroup
{
    private static readonly TimeSpan s_patience = TimeSpan.FromMinutes(1);

    private static readonly Lazy<ContextGroup> s_alone = new(() => new(Join(Store.Serve("127.0.0.1", 0, s_patience), 0, 1)));

    /// <summary>A group of one.</summary>
    public static ContextGroup Alone => s_alone.Value;

    /// <summary>Runs the same code on every rank; what each returned.</summary>
    public static T[] Run<T>(int size, Func<ContextGroup, T> body)
    {
        using var store = Store.Serve("127.0.0.1", 0, s_patience);
        var (results, failures) = (new T[size], new Exception?[size]);
        Thread[] threads = [.. Enumerable.Range(0, size).Select(rank => new Thread(() =>
        {
            try
            {
                using var own = Store.Connect("127.0.0.1", store.Port, s_patience);
                using var group = Join(own, rank, size);
                using var scope = TensorScope.Enter();
                results[rank] = body(new(group));
            }
            catch (Exception failure)
            {
                failures[rank] = failure;
            }
        }, maxStackSize: 16 << 20))];
        foreach (var thread in threads)
            thread.Start();
        foreach (var thread in threads)
            thread.Join();
        if (failures.FirstOrDefault(failure => failure is not null) is { } first)
            ExceptionDispatchInfo.Throw(first);
        return results;
    }

    private static ProcessGroup Join(Store store, int rank, int size)
    {
        if (Backend.Gloo.Missing is { } missing)
            Assert.Skip(missing);
        return ProcessGroup.OverGloo(store, rank, size, "127.0.0.1", s_patience);
    }
}
