namespace Handbook.Hub;

/// <summary>The bytes of an answer. Where none come for a while, reading fails instead of waiting for ever.</summary>
internal sealed class StallingStream(Stream inner, TimeSpan limit) : IAsyncDisposable
{
    /// <summary>Reads what has arrived.</summary>
    /// <exception cref="TimeoutException">Nothing came in time.</exception>
    public async ValueTask<int> Read(Memory<byte> buffer, CancellationToken cancel)
    {
        using var time = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        time.CancelAfter(limit);
        try
        {
            return await inner.ReadAsync(buffer, time.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new TimeoutException($"nothing came for {limit.TotalSeconds:0.#} s");
        }
    }

    /// <summary>Copies everything, which must be no more than so much.</summary>
    /// <param name="cuts">Whether what is more is left, instead of refused.</param>
    /// <exception cref="InvalidDataException">It is more.</exception>
    public async Task CopyUpTo(Stream target, int most, CancellationToken cancel, bool cuts = false)
    {
        var buffer = new byte[1 << 14];
        var total = 0;
        while (await Read(buffer, cancel).ConfigureAwait(false) is > 0 and var read)
        {
            if ((total += read) > most)
            {
                if (cuts)
                    return;
                throw new InvalidDataException($"more than {most} bytes");
            }
            await target.WriteAsync(buffer.AsMemory(0, read), cancel).ConfigureAwait(false);
        }
    }

    public ValueTask DisposeAsync() => inner.DisposeAsync();
}
