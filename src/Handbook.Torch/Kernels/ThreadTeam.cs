using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Handbook.Base.Progress;

namespace Handbook.Torch.Kernels;

/// <summary>One piece of a parallel loop; a struct, so that no call allocates.</summary>
internal interface IParallelBody
{
    /// <summary>Does piece <paramref name="index"/>. Pieces run in any order and at the same time.</summary>
    void Invoke(int index);
}

/// <summary>Runs loops over the cores on libtorch's own OpenMP threads, so that kernels in C# and in libtorch never fight over a
/// core.</summary>
/// <remarks>Results must not depend on the number of threads: split the work by the data, let each piece own what it writes, and sum in a
/// fixed order.</remarks>
internal static unsafe class ThreadTeam
{
    /// <summary>The shim's parallel loop; null until the native library is loaded, when .NET's own pool does the work.</summary>
    internal static delegate* unmanaged<int, delegate* unmanaged<void*, int, void>, void*, void> NativeLoop;

    /// <summary>Number of threads that work together; at least 1.</summary>
    public static int Threads { get; internal set; } = Math.Max(1, Environment.ProcessorCount);

    /// <summary>Calls <c>body.Invoke(i)</c> for i = 0 … pieces−1 and returns when all are done; the first exception is thrown
    /// here.</summary>
    public static void Run<T>(int pieces, T body) where T : struct, IParallelBody
    {
        if (pieces <= 0)
            return;
        Pulse.Begin();
        try
        {
            RunAll(pieces, body);
        }
        finally
        {
            Pulse.End();
        }
    }

    private static void RunAll<T>(int pieces, T body) where T : struct, IParallelBody
    {
        if (pieces == 1 || Threads == 1)
        {
            for (var i = 0; i < pieces; i++)
                body.Invoke(i);
            return;
        }
        var job = new Job { Body = Unsafe.AsPointer(ref body), Invoke = &Call<T> };
        if (NativeLoop != null)
            NativeLoop(pieces, &Entry, &job);
        else
        {
            var address = (nint)(&job);
            Parallel.For(0, pieces, new ParallelOptions { MaxDegreeOfParallelism = Threads },
                i => ((Job*)address)->Invoke(((Job*)address)->Body, i));
        }
        if (job.Failure != 0)
        {
            var handle = GCHandle.FromIntPtr(job.Failure);
            var failure = (Exception)handle.Target!;
            handle.Free();
            throw new AggregateException(failure);
        }
    }

    private struct Job
    {
        public void* Body;
        public delegate*<void*, int, void> Invoke;
        public nint Failure;
    }

    private static void Call<T>(void* body, int index) where T : struct, IParallelBody => Unsafe.AsRef<T>(body).Invoke(index);

    [UnmanagedCallersOnly]
    private static void Entry(void* context, int index)
    {
        var job = (Job*)context;
        try
        {
            job->Invoke(job->Body, index);
        }
        catch (Exception failure)      // an exception must not cross the native frames
        {
            var handle = GCHandle.ToIntPtr(GCHandle.Alloc(failure));
            if (Interlocked.CompareExchange(ref job->Failure, handle, 0) != 0)
                GCHandle.FromIntPtr(handle).Free();
        }
    }
}
