using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>What the head does to its logits, apart from the product.</summary>
public readonly record struct HeadOptions
{
    public HeadOptions()
    {
    }

    /// <summary>Factor on the logits.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>c: logits become c·tanh(logits / c); 0 for none.</summary>
    public double SoftCap { get; init; }

    /// <summary>ε: share of the target spread over the whole vocabulary.</summary>
    public double LabelSmoothing { get; init; }
}

/// <summary>Per target: what the whole vocabulary was needed for; all of length M.</summary>
public sealed class HeadStatistics(int count, bool squares = false)
{
    /// <summary>log p(target).</summary>
    public double[] LogProb { get; } = new double[count];

    /// <summary>log Σ exp(logit).</summary>
    public double[] LogSumExp { get; } = new double[count];

    /// <summary>−Σ p log p, in nats.</summary>
    public double[] Entropy { get; } = new double[count];

    /// <summary>Mean logit over the vocabulary.</summary>
    public double[] MeanLogit { get; } = new double[count];

    /// <summary>log Σ p²; null unless it was asked for.</summary>
    public double[]? LogSquares { get; } = squares ? new double[count] : null;

    /// <summary>The most likely token.</summary>
    public int[] ArgMax { get; } = new int[count];
}

/// <summary>The head and the log-probability of one target per row, in chunks of rows; logits of all rows never exist at once.</summary>
/// <remarks>Kernel: <see cref="CrossEntropyKernel"/>. The gradient of a chunk is computed while its logits are hot, and goes into the two products at once.</remarks>
public sealed unsafe class LinearLogProb : AutogradNode
{
    private const long ChunkBytes = 64 << 20, KeptBytes = 256 << 20;

    private readonly Parameter _head;
    private readonly int[] _targets;
    private readonly HeadOptions _options;
    private Tensor _saved = null!;      // the gradient of the hidden rows, or the rows themselves
    private Tensor? _logits;            // all of them, where they are few; the first backward pass turns them into their gradient
    private readonly bool _weighted;

    private LinearLogProb(Parameter head, int[] targets, HeadOptions options, bool weighted) =>
        (_head, _targets, _options, _weighted) = (head, targets, options, weighted);

    /// <summary>Σ weightᵢ · lossᵢ, with loss = −log p(target) (or its label-smoothed form).</summary>
    /// <remarks>
    /// Because the weights are known, forward already sums the gradient of the head; so backward must reach the result with the gradient 1, and
    /// throws where it does not. <see cref="LogProbs"/> is for losses that need the log-probabilities first.
    /// </remarks>
    /// <param name="hidden">[M, D].</param>
    /// <param name="head">[V, D].</param>
    /// <param name="targets">[M], from 0 to V−1.</param>
    /// <param name="weights">[M].</param>
    /// <param name="options">Scale, cap and smoothing.</param>
    /// <param name="statistics">Filled where given; [M].</param>
    /// <returns>One number, float64.</returns>
    public static Tensor WeightedLoss(Tensor hidden, Parameter head, int[] targets, double[] weights, in HeadOptions options, HeadStatistics? statistics = null)
    {
        Check(hidden, head, targets);
        if (weights.Length != targets.Length)
            throw new ArgumentException($"{weights.Length} weights for {targets.Length} targets", nameof(weights));
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(hidden, head.Value);
        var node = new LinearLogProb(head, targets, options, weighted: true);
        statistics ??= new HeadStatistics(targets.Length);
        Tensor loss;
        using (GradMode.Disabled())
        {
            var gradient = needed && hidden.RequiresGrad ? Tensor.Empty(hidden.DType, Device.Cpu, hidden.Shape) : null;
            node.Chunks(hidden, (start, rows, logits) =>
            {
                node.Run(logits, start, rows, needed ? weights : null, statistics);
                if (gradient is not null)
                    logits.MmInto(head.Compute, gradient.Narrow(0, start, rows));
                if (needed)
                    head.AddProduct(logits.T(), hidden.Narrow(0, start, rows));
            });
            var sum = 0.0;
            for (var i = 0; i < targets.Length; i++)
                sum += weights[i] * node.Loss(statistics, i);
            loss = Tensor.From([sum]);
            if (gradient is not null)
                node._saved = node.Save(gradient);
        }
        if (needed)
            node.Attach([hidden, head.Value], loss);
        return scope.Keep(loss);
    }

    /// <summary>log p(target) of each row. Up to 256 MB of logits are kept for the backward pass; beyond, it computes each chunk once more.</summary>
    /// <returns>[M], float64.</returns>
    public static Tensor LogProbs(Tensor hidden, Parameter head, int[] targets, in HeadOptions options, HeadStatistics? statistics = null)
    {
        Check(hidden, head, targets);
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(hidden, head.Value);
        var node = new LinearLogProb(head, targets, options, weighted: false);
        statistics ??= new HeadStatistics(targets.Length);
        Tensor result;
        using (GradMode.Disabled())
        {
            var size = targets.Length * head.Value.Size(0);
            var all = needed && size > 0 && size * hidden.DType.Size <= KeptBytes ? Tensor.Empty(hidden.DType, Device.Cpu, targets.Length, head.Value.Size(0)) : null;
            node.Chunks(hidden, (start, rows, logits) => node.Run(logits, start, rows, null, statistics), all);
            result = Tensor.From(statistics.LogProb);
            if (needed)
                node._saved = node.Save(hidden);
            if (all is not null)
                node._logits = node.Save(all);
        }
        if (needed)
            node.Attach([hidden, head.Value], result);
        return scope.Keep(result);
    }

    /// <summary>The same as <see cref="LogProbs"/> out of ordinary operators, recorded by libtorch.</summary>
    public static Tensor Reference(Tensor hidden, Tensor head, int[] targets, in HeadOptions options)
    {
        using var scope = TensorScope.Enter();
        var logits = hidden.Linear(head).To(hidden.DType == DType.Float64 ? DType.Float64 : DType.Float32) * options.Scale;
        if (options.SoftCap > 0)
            logits = (logits / options.SoftCap).Tanh() * options.SoftCap;
        var index = Tensor.From(Array.ConvertAll(targets, t => (long)t)).Unsqueeze(1);
        return scope.Keep(logits.LogSoftmax(-1).Gather(-1, index).Squeeze(-1));
    }

    /// <summary>The logits themselves, for tests and for rows whose whole distribution is asked for.</summary>
    /// <returns>[M, V], float32 or float64.</returns>
    public static Tensor Logits(Tensor hidden, Parameter head, in HeadOptions options)
    {
        using var scope = TensorScope.Enter();
        var type = hidden.DType == DType.Float64 ? DType.Float64 : DType.Float32;
        var logits = RowExact.IsEnabled ? Linear.RowByRow(hidden, head.Compute, null, type) : hidden.Linear(head.Compute).To(type);
        if (options.Scale != 1)
            logits = logits * options.Scale;
        if (options.SoftCap > 0)
            logits = (logits / options.SoftCap).Tanh() * options.SoftCap;
        return scope.Keep(logits);
    }

    private static void Check(Tensor hidden, Parameter head, int[] targets)
    {
        if (hidden.Size(0) != targets.Length)
            throw new ArgumentException($"{targets.Length} targets for hidden {hidden.Describe()}", nameof(targets));
        var vocabulary = head.Value.Size(0);
        foreach (var target in targets)
            if ((ulong)target >= (ulong)vocabulary)
                throw new ArgumentOutOfRangeException(nameof(targets), target, $"a target outside the vocabulary of {vocabulary}");
    }

    private double Loss(HeadStatistics statistics, int i) =>
        _options.LabelSmoothing == 0
            ? -statistics.LogProb[i]
            : (1 - _options.LabelSmoothing) * -statistics.LogProb[i] + _options.LabelSmoothing * (statistics.LogSumExp[i] - statistics.MeanLogit[i]);

    /// <summary>Computes the logits chunk by chunk.</summary>
    /// <param name="all">Gets the logits of all rows; null: chunks share one buffer.</param>
    /// <param name="known">Whether <paramref name="all"/> has them already.</param>
    private void Chunks(Tensor hidden, Action<int, int, Tensor> body, Tensor? all = null, bool known = false)
    {
        var count = _targets.Length;
        if (count == 0)
            return;
        var vocabulary = _head.Value.Size(0);
        var most = Math.Max(64, ChunkBytes / (vocabulary * hidden.DType.Size));
        var chunks = (int)((count + most - 1) / most);
        var size = (count + chunks - 1) / chunks;
        using var outer = TensorScope.Enter();
        var buffer = all ?? Tensor.Empty(hidden.DType, Device.Cpu, size, vocabulary);
        var transposed = _head.Compute.Detach().T();
        for (var start = 0; start < count; start += size)
        {
            using var scope = TensorScope.Enter();
            var rows = Math.Min(size, count - start);
            var logits = buffer.Narrow(0, all is null ? 0 : start, rows);
            if (!known)
                hidden.Narrow(0, start, rows).MmInto(transposed, logits);
            body(start, rows, logits);
        }
    }

    private void Run(Tensor logits, int start, int rows, double[]? weights, HeadStatistics statistics)
    {
        switch (logits.DType)
        {
            case DType.Float32: Run<float>(logits, start, rows, weights, statistics); break;
            case DType.BFloat16: Run<BFloat16>(logits, start, rows, weights, statistics); break;
            case DType.Float64: Run<double>(logits, start, rows, weights, statistics); break;
            default: throw new NotSupportedException($"log-probabilities of {logits.Describe()}");
        }
    }

    private void Run<T>(Tensor logits, int start, int rows, double[]? weights, HeadStatistics statistics) where T : unmanaged
    {
        fixed (int* targets = _targets, argMax = statistics.ArgMax)
        fixed (double* weight = weights, logProb = statistics.LogProb, logSumExp = statistics.LogSumExp, entropy = statistics.Entropy, meanLogit = statistics.MeanLogit, squares = statistics.LogSquares)
        {
            CrossEntropyKernel.Run(new CrossEntropyRows<T>
            {
                Logits = logits.Pointer<T>(),
                RowStride = logits.Stride(0),
                Rows = rows,
                Vocabulary = (int)logits.Size(1),
                Targets = targets + start,
                Weights = weights is null ? null : weight + start,
                Gradient = weights is not null,
                LabelSmoothing = _options.LabelSmoothing,
                Scale = _options.Scale,
                SoftCap = _options.SoftCap,
                LogProb = logProb + start,
                LogSumExp = logSumExp + start,
                Entropy = entropy + start,
                MeanLogit = meanLogit + start,
                ArgMax = argMax + start,
                LogSquares = squares is null ? null : squares + start,
            });
        }
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        if (_weighted)
        {
            var factor = gradients[0]!.ToScalar();
            if (factor != 1)
                throw new InvalidOperationException($"the weighted loss was reached with the gradient {factor}; its weights already went into the head's gradient, so put the factor into the weights");
            return [_saved, null];
        }
        // d Σ gᵢ·log pᵢ is the weighted loss's gradient with the weights −g.
        var weights = gradients[0]!.ToArray<double>();
        for (var i = 0; i < weights.Length; i++)
            weights[i] = -weights[i];
        var result = _saved.EmptyLike();
        var again = new HeadStatistics(weights.Length);
        var kept = _logits;
        _logits = null;         // a second pass over the same graph computes them anew
        Chunks(_saved, (start, rows, logits) =>
        {
            Run(logits, start, rows, weights, again);
            logits.MmInto(_head.Compute, result.Narrow(0, start, rows));
            _head.AddProduct(logits.T(), _saved.Narrow(0, start, rows));
        }, kept, known: kept is not null);
        return [result, null];
    }
}
