namespace Handbook.Torch.Cuda;

/// <summary>A mark in a stream: another stream or the host waits for it, and two of them measure the time between.</summary>
internal sealed unsafe class CudaEvent : IDisposable
{
    private readonly CudaContext _context;
    private bool _disposed;

    internal CudaEvent(CudaContext context, bool timed)
    {
        const uint Untimed = 2;             // CU_EVENT_DISABLE_TIMING
        _context = context;
        nint handle;
        context.Enter();
        context.Check(context.Calls.EventCreate(&handle, timed ? 0 : Untimed), "cuEventCreate");
        Handle = handle;
    }

    internal nint Handle { get; }

    /// <summary>Puts the mark behind all that is in a stream.</summary>
    public void Record(nint stream = 0)
    {
        _context.Enter();
        _context.Check(_context.Calls.EventRecord(Handle, stream), "cuEventRecord");
    }

    /// <summary>Waits until the stream has passed the mark.</summary>
    public void Synchronize()
    {
        _context.Enter();
        _context.Check(_context.Calls.EventSynchronize(Handle), "cuEventSynchronize");
    }

    /// <summary>Time between two marks that streams have passed, by the card's clock.</summary>
    public TimeSpan Since(CudaEvent earlier)
    {
        float milliseconds;
        _context.Enter();
        _context.Check(_context.Calls.EventElapsedTime(&milliseconds, earlier.Handle, Handle), "cuEventElapsedTime");
        return TimeSpan.FromMilliseconds(milliseconds);
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _context.Enter();
        _context.Check(_context.Calls.EventDestroy(Handle), "cuEventDestroy");
    }
}
