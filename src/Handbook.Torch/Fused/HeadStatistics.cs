namespace Handbook.Torch.Fused;

/// <summary>Per target: what the whole vocabulary was needed for; all of length M.</summary>
/// <remarks>A device writes them into its own memory; whoever reads one of them here waits for all that it was given.</remarks>
internal sealed class HeadStatistics(int count, bool squares = false)
{
    private readonly double[] _logProb = new double[count], _logSumExp = new double[count], _entropy = new double[count],
        _meanLogit = new double[count];
    private readonly double[]? _logSquares = squares ? new double[count] : null;
    private readonly int[] _argMax = new int[count];
    private Mirrored<byte>? _memory;
    private Device _device;
    private bool _isBehind;

    /// <summary>M.</summary>
    public int Count => count;

    /// <summary>log p(target).</summary>
    public double[] LogProb => UpToDate(_logProb);

    /// <summary>log Σ exp(logit).</summary>
    public double[] LogSumExp => UpToDate(_logSumExp);

    /// <summary>−Σ p log p, in nats.</summary>
    public double[] Entropy => UpToDate(_entropy);

    /// <summary>Mean logit over the vocabulary.</summary>
    public double[] MeanLogit => UpToDate(_meanLogit);

    /// <summary>log Σ p²; null unless it was asked for.</summary>
    public double[]? LogSquares => UpToDate(_logSquares);

    /// <summary>The most likely token.</summary>
    public int[] ArgMax => UpToDate(_argMax);

    /// <summary>All that are no tokens.</summary>
    internal double[][] Columns =>
        LogSquares is { } ofSquares ? [LogProb, LogSumExp, Entropy, MeanLogit, ofSquares] : [LogProb, LogSumExp, Entropy, MeanLogit];

    /// <summary>How many columns of numbers there are.</summary>
    internal int Numbers => _logSquares is null ? 4 : 5;

    /// <summary>Where a device writes them, so that one copy brings all: bytes of the columns of numbers in the order of
    /// <see cref="Columns"/>, float64, and behind them of the tokens, int32. All calls are for one device; the tensor is the caller's.
    /// </summary>
    internal Tensor On(Device device)
    {
        (_isBehind, _device) = (true, device);
        _memory ??= new(Tensor.Zeros(DType.UInt8, device, (Numbers * sizeof(double) + sizeof(int)) * (long)count));
        return _memory.On(device);
    }

    private T UpToDate<T>(T column)
    {
        if (!_isBehind)
            return column;
        _isBehind = false;
        using var scope = TensorScope.Enter();
        var bytes = _memory!.On(_device).ToArray<byte>();
        double[]?[] columns = [_logProb, _logSumExp, _entropy, _meanLogit, _logSquares];
        for (var i = 0; i < Numbers; i++)
            Buffer.BlockCopy(bytes, i * count * sizeof(double), columns[i]!, 0, count * sizeof(double));
        Buffer.BlockCopy(bytes, Numbers * count * sizeof(double), _argMax, 0, count * sizeof(int));
        return column;
    }
}
