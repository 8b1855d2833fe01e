using Handbook.Torch.Native;

namespace Handbook.Torch.Fused;

/// <summary>Per target: what the whole vocabulary was needed for; all of length M.</summary>
/// <remarks>A device writes them into its own memory; whoever reads one of them here waits for all that it was given.</remarks>
internal sealed class HeadStatistics(int count, bool squares = false)
{
    private readonly double[] _logProb = new double[count], _logSumExp = new double[count], _entropy = new double[count],
        _meanLogit = new double[count];
    private readonly double[]? _logSquares = squares ? new double[count] : null;
    private readonly int[] _argMax = new int[count];
    private NativeReference? _numbers, _tokens;
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

    /// <summary>Where a device writes them: the columns of numbers in the order of <see cref="Columns"/>, [columns, M], float64, and the
    /// tokens, [M], int32. All calls are for one device; the tensors are the caller's.</summary>
    internal (Tensor Numbers, Tensor Tokens) On(Device device)
    {
        _isBehind = true;
        if (_numbers is not null)
            return (_numbers.Open(), _tokens!.Open());
        var (numbers, tokens) = (Tensor.Zeros(DType.Float64, device, _logSquares is null ? 4 : 5, count), Tensor.Zeros(DType.Int32, device, count));
        (_numbers, _tokens) = (new(numbers), new(tokens));
        return (numbers, tokens);
    }

    private T UpToDate<T>(T column)
    {
        if (!_isBehind)
            return column;
        _isBehind = false;
        using var scope = TensorScope.Enter();
        var (numbers, tokens) = (_numbers!.Open().ToArray<double>(), _tokens!.Open().ToArray<int>());
        double[]?[] columns = [_logProb, _logSumExp, _entropy, _meanLogit, _logSquares];
        for (var i = 0; i < columns.Length; i++)
            if (columns[i] is { } values)
                Array.Copy(numbers, (long)i * count, values, 0, count);
        tokens.CopyTo(_argMax, 0);
        return column;
    }
}
