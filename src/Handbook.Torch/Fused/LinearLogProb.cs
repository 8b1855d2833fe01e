using Handbook.Torch.Devices;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Fused;

/// <summary>What the head does to its logits, apart from the product.</summary>
internal readonly record struct HeadOptions
{
    public HeadOptions()
    {
    }

    /// <summary>Added to the products before anything else, [V]; null for none.</summary>
    public Parameter? Bias { get; init; }

    /// <summary>Factor on the logits.</summary>
    public double Scale { get; init; } = 1;

    /// <summary>c: logits become c·tanh(logits / c); 0 for none.</summary>
    public double SoftCap { get; init; }

    /// <summary>ε: share of the target spread over the whole vocabulary.</summary>
    public double LabelSmoothing { get; init; }
}

/// <summary>The head and the log-probability of one target per row, in chunks of rows; logits of all rows never exist at once.</summary>
/// <remarks>Kernel: <see cref="CrossEntropyKernel"/>. The gradient of a chunk is computed while its logits are hot, and goes into the two
/// products at once.</remarks>
internal sealed class LinearLogProb : AutogradNode
{
    private const long ChunkBytes = 64 << 20;

    /// <summary>The most bytes of logits that wait for the backward pass.</summary>
    internal const long KeptBytes = 256 << 20;


    private readonly Parameter _head;
    private readonly Mirrored<int> _targets;
    private readonly HeadOptions _options;
    private readonly Added[] _added;        // by adapters of the head
    private readonly double[]? _weights;    // of the weighted loss; null where log-probabilities go out
    private Tensor _hidden = null!;
    private Tensor? _gradient;              // of the weighted loss by the hidden rows; null where they are frozen
    private bool _hiddenWanted;
    // of all log-probabilities, where they are few; the first backward pass turns them into their gradient
    private Tensor? _logits;
    private double _summed;                 // the part of the weighted loss's gradient that the head already has

    private LinearLogProb(Parameter head, Mirrored<int> targets, HeadOptions options, double[]? weights, Tensor[] low)
    {
        (_head, _targets, _options, _weights) = (head, targets, options, weights);
        _added = [.. low.Select((values, i) => new Added(values, head, i, values.RequiresGrad))];
    }

    /// <summary>What an adapter of the head adds to the logits, low · Bᵀ + s·bias, and what it multiplies the sum by.</summary>
    /// <param name="Low">s·A·d(hidden); [M, r].</param>
    /// <param name="Wanted">Whether <see cref="Low"/> needs its gradient.</param>
    private sealed record Added(Tensor Low, LowRankPart Part, Tensor? Inverse, bool Wanted)
    {
        public Added(Tensor low, Parameter head, int place, bool wanted)
            : this(low, head.Adapters[place].Parts[0], InverseNorms(head, place), wanted)
        {
        }

        /// <summary>The gradient of <see cref="Low"/> that forward knows already; null where there is none.</summary>
        public Tensor? Gradient { get; set; }

        /// <summary>B; [V, r].</summary>
        public Parameter Up => Part.Up;

        /// <summary>m / ‖W + s·B·A‖ of each row; [V].</summary>
        public Tensor Factor(DType type) => (Part.Magnitude!.Value.Detach() * Inverse!).To(type);
    }

    /// <summary>1 / ‖W + s·B·A‖ of each row with the adapters of the head up to one; [V], null where this one has no magnitude.</summary>
    private static Tensor? InverseNorms(Parameter head, int place)
    {
        if (!head.Adapters[place].HasMagnitude)
            return null;
        using var mode = GradMode.Disabled();
        return AdaptedLinear.SquaredNorms(head, place).Rsqrt();
    }

    private bool Scales => _added.Any(added => added.Inverse is not null);

    /// <summary>The inputs of the adapters' second products, which have gradients of their own; in the adapters' element type.</summary>
    private static Tensor[] Low(Tensor hidden, Parameter head, TokenNoise? noise) => [.. head.Adapters.Select(adapter =>
        Linear.Forward(TokenDropout.Forward(hidden, noise, adapter).To(adapter.Down.Compute.DType), adapter.Down)
            * adapter.Parts[0].Scale)];

    private static Tensor?[] Inputs(Tensor hidden, Parameter head, Parameter? bias, Tensor[] low) =>
        [hidden, head.Value, .. low, .. Trained(head).Select(parameter => parameter.Value), head.Replaced?.Rows.Value, bias?.Value];

    /// <summary>What adapters of the head have besides A.</summary>
    private static IEnumerable<Parameter> Trained(Parameter head) => head.Adapters.SelectMany(adapter => adapter.Parts[0].Parameters);

    /// <summary>Gives the logits of replaced rows their values.</summary>
    private static void Replace(Tensor logits, Tensor hidden, Parameter head)
    {
        if (head.Replaced is not { } replaced)
            return;
        using var scope = TensorScope.Enter();
        WeightOperand rows = replaced.Rows.Compute;
        var own = RowExact.IsEnabled ? rows.RowByRow(hidden, null, hidden.DType) : rows.Linear(hidden, null);
        for (var i = 0; i < replaced.Ids.Length; i++)
            logits.Narrow(1, replaced.Ids[i], 1).CopyFrom(own.Narrow(1, i, 1));
    }

    /// <summary>Takes the gradient of replaced rows' logits away from the head's own; [rows, n], null where there are none.</summary>
    private Tensor? TakeReplaced(Tensor dlogits)
    {
        if (_head.Replaced is not { } replaced)
            return null;
        var taken = Tensor.Cat([.. replaced.Ids.Select(id => dlogits.Narrow(1, id, 1))], 1);
        foreach (var id in replaced.Ids)
            dlogits.Narrow(1, id, 1).ZeroInPlace();
        return taken;
    }

    /// <summary>Σ weightᵢ · lossᵢ, with loss = −log p(target) (or its label-smoothed form).</summary>
    /// <remarks>
    /// Because the weights are known, forward already sums the gradient of the head, as the result's gradient is nearly always 1: then the
    /// logits are computed once. For any other one backward computes them again and adds what is missing. <see cref="LogProbs"/> is for
    /// losses that need the log-probabilities first.
    /// </remarks>
    /// <param name="hidden">[M, D].</param>
    /// <param name="head">[V, D].</param>
    /// <param name="targets">[M], from 0 to V−1.</param>
    /// <param name="weights">[M].</param>
    /// <param name="options">Scale, cap and smoothing.</param>
    /// <param name="statistics">Filled where given; [M].</param>
    /// <param name="noise">For the dropout of the head's adapters; null computes without.</param>
    /// <returns>One number, float64.</returns>
    public static Tensor WeightedLoss(Tensor hidden, Parameter head, Mirrored<int> targets, double[] weights, in HeadOptions options,
        HeadStatistics? statistics = null, TokenNoise? noise = null)
    {
        Check(hidden, head, targets);
        if (weights.Length != targets.Count)
            throw new ArgumentException($"{weights.Length} weights for {targets.Count} targets", nameof(weights));
        using var scope = TensorScope.Enter();
        var low = Low(hidden, head, noise);
        var inputs = Inputs(hidden, head, options.Bias, low);
        var needed = IsNeeded(inputs);
        var node = new LinearLogProb(head, targets, options, weights, low);
        statistics ??= new HeadStatistics(targets.Count);
        Tensor loss;
        using (GradMode.Disabled())
        {
            var gradient = needed && hidden.RequiresGrad ? hidden.EmptyLike() : null;
            foreach (var added in node._added)
                added.Gradient = needed && added.Wanted ? added.Low.EmptyLike() : null;
            var further = Array.ConvertAll(node._added, added => added.Gradient);
            node.Chunks(hidden, (start, rows, logits) =>
            {
                node.Run(logits, start, needed ? weights : null, statistics);
                if (needed)
                    node.Share(logits, hidden.Narrow(0, start, rows), gradient?.Narrow(0, start, rows), further, start);
            });
            var sum = 0.0;
            for (var i = 0; i < targets.Count; i++)
                sum += weights[i] * node.Loss(statistics, i);
            loss = Tensor.From([sum]);
            if (needed)
                (node._hidden, node._gradient, node._summed) = (node.Save(hidden), gradient is null ? null : node.Save(gradient), 1);
        }
        if (needed)
        {
            node.SaveAdded();
            node.Attach(inputs, loss);
        }
        return scope.Keep(loss);
    }

    /// <summary>log p(target) of each row. Up to 256 MB of logits are kept for the backward pass; beyond, it computes each chunk once
    /// more.</summary>
    /// <returns>[M], float64.</returns>
    public static Tensor LogProbs(Tensor hidden, Parameter head, Mirrored<int> targets, in HeadOptions options,
        HeadStatistics? statistics = null, TokenNoise? noise = null)
    {
        Check(hidden, head, targets);
        using var scope = TensorScope.Enter();
        var low = Low(hidden, head, noise);
        var inputs = Inputs(hidden, head, options.Bias, low);
        var needed = IsNeeded(inputs);
        var node = new LinearLogProb(head, targets, options, weights: null, low);
        statistics ??= new HeadStatistics(targets.Count);
        Tensor result;
        using (GradMode.Disabled())
        {
            var size = targets.Count * head.Value.Size(0);
            var all = needed && !node.Scales && size > 0 && size * hidden.DType.Size <= KeptBytes
                ? Tensor.Empty(hidden.DType, hidden.Device, targets.Count, head.Value.Size(0)) : null;
            node.Chunks(hidden, (start, rows, logits) => node.Run(logits, start, null, statistics), all);
            result = Tensor.From(statistics.LogProb);
            if (needed)
                (node._hidden, node._hiddenWanted) = (node.Save(hidden), hidden.RequiresGrad);
            if (all is not null)
                node._logits = node.Save(all);
        }
        if (needed)
        {
            node.SaveAdded();
            node.Attach(inputs, result);
        }
        return scope.Keep(result);
    }

    /// <summary>The logits themselves, for tests and for rows whose whole distribution is asked for.</summary>
    /// <returns>[M, V], float32 or float64.</returns>
    public static Tensor Logits(Tensor hidden, Parameter head, in HeadOptions options)
    {
        using var scope = TensorScope.Enter();
        var type = hidden.DType == DType.Float64 ? DType.Float64 : DType.Float32;
        var logits = RowExact.IsEnabled ? head.Operand.RowByRow(hidden, null, type)
            : Product.Linear(hidden, head.Compute, null).To(type);
        foreach (var (low, i) in Low(hidden, head, noise: null).Select((low, i) => (low, i)))
        {
            var part = head.Adapters[i].Parts[0];
            WeightOperand up = part.Up.Compute;
            logits = logits + (RowExact.IsEnabled ? up.RowByRow(low, null, type) : up.Linear(low, null).To(type));
            if (part.UpBias is { } offset)
                logits = logits + offset.Compute.Detach().To(type) * part.Scale;
            if (part.Magnitude is { } magnitude)
                logits = logits * (magnitude.Value.Detach() * InverseNorms(head, i)!).To(type);
        }
        Replace(logits, hidden, head);
        if (options.Bias is { } bias)
            logits = logits + bias.Value.Detach().To(type);
        if (options.Scale != 1)
            logits = logits * options.Scale;
        if (options.SoftCap > 0)
            logits = (logits / options.SoftCap).Tanh() * options.SoftCap;
        return scope.Keep(logits);
    }

    private static void Check(Tensor hidden, Parameter head, Mirrored<int> targets)
    {
        if (hidden.Size(0) != targets.Count)
            throw new ArgumentException($"{targets.Count} targets for hidden {hidden.Describe()}", nameof(targets));
        if (!targets.IsOnHost)
            return;         // to look at them would wait for the device
        var vocabulary = head.Value.Size(0);
        foreach (var target in targets.Host)
            if ((ulong)target >= (ulong)vocabulary)
                throw new ArgumentOutOfRangeException(nameof(targets), target, $"a target outside the vocabulary of {vocabulary}");
    }

    private double Loss(HeadStatistics statistics, int i) =>
        _options.LabelSmoothing == 0
            ? -statistics.LogProb[i]
            : (1 - _options.LabelSmoothing) * -statistics.LogProb[i]
                + _options.LabelSmoothing * (statistics.LogSumExp[i] - statistics.MeanLogit[i]);

    /// <summary>Rows whose logits are computed at once.</summary>
    /// <param name="size">Bytes of a logit.</param>
    internal static long ChunkRows(long rows, long vocabulary, int size)
    {
        var most = Math.Max(64, ChunkBytes / (vocabulary * size));
        var chunks = (rows + most - 1) / most;
        return (rows + chunks - 1) / Math.Max(1, chunks);
    }

    /// <summary>Computes the logits chunk by chunk.</summary>
    /// <param name="all">Gets the logits of all rows; null: chunks share one buffer.</param>
    /// <param name="known">Whether <paramref name="all"/> has them already.</param>
    private void Chunks(Tensor hidden, Action<int, int, Tensor> body, Tensor? all = null, bool known = false)
    {
        var count = _targets.Count;
        if (count == 0)
            return;
        var vocabulary = _head.Value.Size(0);
        var size = (int)ChunkRows(count, vocabulary, hidden.DType.Size);
        using var outer = TensorScope.Enter();
        var buffer = all ?? Tensor.Empty(hidden.DType, hidden.Device, size, vocabulary);
        var transposed = _head.Compute.Detach().T();
        for (var start = 0; start < count; start += size)
        {
            using var scope = TensorScope.Enter();
            var rows = Math.Min(size, count - start);
            var logits = buffer.Narrow(0, all is null ? 0 : start, rows);
            if (!known)
            {
                Product.Into(hidden.Narrow(0, start, rows), transposed, logits);
                foreach (var added in _added)
                    Add(added, logits, start, null);
                Replace(logits, hidden.Detach().Narrow(0, start, rows), _head);
                if (_options.Bias is { } bias)
                    logits.AddInPlace(bias.Compute.Detach());
            }
            body(start, rows, logits);
        }
    }

    /// <summary>What one adapter makes of some rows' logits.</summary>
    /// <param name="sums">Gets the logits before the magnitudes where given.</param>
    private static void Add(Added added, Tensor logits, int start, Tensor?[]? sums, int place = 0)
    {
        var (low, up) = (added.Low.Detach().Narrow(0, start, logits.Size(0)), added.Up.Compute.Detach().T());
        if (low.DType == logits.DType)
            Product.TrySum(logits, low, up, add: true);
        else                // an adapter in bfloat16 of a head that is computed in float32
            logits.AddInPlace(Product.Of(low, up));
        if (added.Part.UpBias is { } offset)
            logits.AddInPlace(offset.Compute.Detach(), added.Part.Scale);
        if (added.Inverse is null)
            return;
        if (sums is not null)
            sums[place] = logits.Clone();
        logits.CopyFrom(logits * added.Factor(logits.DType));
    }

    /// <summary>The logits of some rows before each adapter's magnitudes, computed once more.</summary>
    private Tensor?[] Sums(Tensor hidden, int start)
    {
        var sums = new Tensor?[_added.Length];
        if (!Scales)
            return sums;
        var logits = Tensor.Empty(hidden.DType, hidden.Device, hidden.Size(0), _head.Value.Size(0));
        Product.Into(hidden, _head.Compute.Detach().T(), logits);
        for (var i = 0; i < _added.Length; i++)
            Add(_added[i], logits, start, sums, i);
        return sums;
    }

    /// <summary>Statistics of some rows; with weights their logits become the gradient of Σ weight · loss.</summary>
    private void Run(Tensor logits, int start, double[]? weights, HeadStatistics statistics) =>
        DeviceKernels.Of(logits).CrossEntropy(logits, start, _targets, weights, _options, statistics);

    /// <summary>The gradient by some rows' logits goes to the rows, where they are not frozen, and to the head.</summary>
    private void Share(Tensor dlogits, Tensor hidden, Tensor? dhidden, Tensor?[] dlow, int start)
    {
        var rows = dlogits.Size(0);
        if (_options.Bias is { IsTrainable: true } bias)
            bias.Add(dlogits.To(bias.Gradient!.DType).Sum(0));
        var taken = TakeReplaced(dlogits);
        var sums = Sums(hidden.Detach(), start);
        for (var i = _added.Length - 1; i >= 0; i--)
        {
            var part = _added[i].Part;
            if (sums[i] is { } sum)
            {
                if (part.Magnitude is { IsTrainable: true } magnitude)
                    magnitude.Add((dlogits.To(magnitude.Value.DType) * sum.To(magnitude.Value.DType)).Sum(0) * _added[i].Inverse!);
                dlogits.CopyFrom(dlogits * _added[i].Factor(dlogits.DType));
            }
            if (part.UpBias is { IsTrainable: true } offset)
                offset.Add(dlogits.To(offset.Gradient!.DType).Sum(0) * part.Scale);
            var own = dlogits.To(_added[i].Low.DType);
            if (dlow[i] is { } gradient)
                Product.Into(own, part.Up.Compute, gradient.Narrow(0, start, rows));
            part.Up.AddProduct(own.T(), _added[i].Low.Detach().Narrow(0, start, rows));
        }
        if (dhidden is not null)
            Product.Into(dlogits, _head.Compute, dhidden);
        if (taken is not null)
        {
            var replaced = _head.Replaced!.Rows;
            replaced.AddProduct(taken.T(), hidden);
            dhidden?.AddInPlace(Product.Of(taken, replaced.Compute.Detach()));
        }
        _head.AddProduct(dlogits.T(), hidden);
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        if (_weights is not null)
        {
            var factor = gradients[0]!.ToScalar();
            var missing = factor - _summed;
            _summed = 0;            // a second pass over the same graph finds nothing done
            if (missing != 0 && (_head.IsTrainable || _head.Replaced is { Rows.IsTrainable: true }
                || _options.Bias is { IsTrainable: true } || Trained(_head).Any(parameter => parameter.IsTrainable)))
                Again(Array.ConvertAll(_weights, weight => weight * missing), null, new Tensor?[_added.Length]);
            return [Times(_gradient), null, .. _added.Select(added => Times(added.Gradient)), .. new Tensor?[Trained(_head).Count() + 2]];

            Tensor? Times(Tensor? gradient) => gradient is null || factor == 1 ? gradient : gradient * factor;
        }
        // d Σ gᵢ·log pᵢ is the weighted loss's gradient with the weights −g.
        var result = _hiddenWanted ? _hidden.EmptyLike() : null;
        var further = Array.ConvertAll(_added, added => added.Wanted ? added.Low.EmptyLike() : null);
        Again(Array.ConvertAll(gradients[0]!.ToArray<double>(), g => -g), result, further);
        return [result, null, .. further, .. new Tensor?[Trained(_head).Count() + 2]];
    }

    /// <summary>Keeps what adapters need in the backward pass.</summary>
    private void SaveAdded()
    {
        for (var i = 0; i < _added.Length; i++)
            _added[i] = _added[i] with
            {
                Low = Save(_added[i].Low.Detach()),
                Inverse = _added[i].Inverse is { } inverse ? Save(inverse) : null,
                Gradient = _added[i].Gradient is { } known ? Save(known) : null,
            };
    }

    /// <summary>Adds the gradient of Σ weight · loss to the head, and writes those of the hidden rows and of what adapters
    /// multiply.</summary>
    private void Again(double[] weights, Tensor? dhidden, Tensor?[] dlow)
    {
        var statistics = new HeadStatistics(weights.Length);
        var kept = _logits;
        _logits = null;             // a second pass over the same graph computes them anew
        Chunks(_hidden, (start, rows, logits) =>
        {
            Run(logits, start, weights, statistics);
            Share(logits, _hidden.Narrow(0, start, rows), dhidden?.Narrow(0, start, rows), dlow, start);
        }, kept, known: kept is not null);
    }
}
