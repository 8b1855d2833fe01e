using Handbook.Base.Progress;

namespace Handbook.Hub;

/// <summary>How many bytes have gone over the network, shown in millions of them.</summary>
internal sealed class TransferCount : IDisposable
{
    private const double Unit = 1e6;

    private readonly IWorkCount _count;
    private long _bytes;

    private TransferCount(IWorkCount count) => _count = count;

    /// <summary>Begins to count.</summary>
    /// <param name="what">What happens, for whoever watches.</param>
    /// <param name="total">Bytes in all.</param>
    public static TransferCount Begin(IWorkObserver observer, string what, long total) =>
        new(observer.Began(what, (long)Math.Ceiling(total / Unit), "MB"));

    /// <summary>Says that so many more are there; fewer than none where some were of no use.</summary>
    public void Add(long bytes) => _count.Report((long)(Interlocked.Add(ref _bytes, bytes) / Unit));

    public void Dispose() => _count.Dispose();
}
