using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>A linear layer with adapters: the formulas stand at <see cref="LowRank"/>. Each adapter takes what the ones before it give as
/// its layer.</summary>
/// <remarks>The weight's own gradient is never computed, and what it needs for it is not kept.</remarks>
internal sealed class AdaptedLinear : AutogradNode
{
    private readonly Parameter _weight;
    private readonly Parameter? _bias;
    private readonly TokenNoise? _noise;
    private readonly bool _inputNeedsGrad;
    private readonly Level[] _levels;
    private Tensor _x = null!;

    private AdaptedLinear(Parameter weight, Parameter? bias, TokenNoise? noise, bool inputNeedsGrad)
    {
        (_weight, _bias, _noise, _inputNeedsGrad) = (weight, bias, noise, inputNeedsGrad);
        _levels = [.. weight.Adapters.Select(adapter => new Level(adapter, new Tensor?[adapter.Parts.Count],
            new Tensor?[adapter.Parts.Count]))];
    }

    /// <summary>What one adapter kept for the backward pass: s·A·d(x); of each part with a magnitude m / ‖…‖ in the product's precision,
    /// 1 / ‖…‖ in the master's is in <paramref name="Inverse"/>, and the sum that it multiplies.</summary>
    private sealed record Level(LowRank Adapter, Tensor?[] Sums, Tensor?[] Inverse)
    {
        public Tensor? Low { get; set; }
    }

    /// <param name="x">[N, in].</param>
    /// <param name="weight">[out, in], frozen, with its adapters.</param>
    /// <param name="bias">[out]; null for none.</param>
    /// <param name="noise">For dropout; null computes without.</param>
    /// <returns>[N, out], in the element type of x.</returns>
    public static Tensor Forward(Tensor x, Parameter weight, Parameter? bias, TokenNoise? noise)
    {
        if (weight.IsTrainable)
            throw new NotSupportedException($"{weight.Name} is trained itself, and has an adapter");
        using var scope = TensorScope.Enter();
        Tensor?[] inputs = [x, bias?.Value, .. weight.Adapters.SelectMany(adapter => adapter.Parameters).Select(p => p.Value)];
        var needed = IsNeeded(inputs);
        var node = new AdaptedLinear(weight, bias, noise, needed && x.RequiresGrad);
        Tensor y;
        using (GradMode.Disabled())
            y = node.Run(x, needed);
        if (needed)
        {
            node._x = node.Save(x);
            node.Attach(inputs, y);
        }
        return scope.Keep(y);
    }

    /// <summary>‖W + Σ s·B·A‖ of each row with all adapters, the last one's magnitudes left aside: what they begin with; [out].</summary>
    public static Tensor RowNorms(Parameter weight) =>
        SquaredNorms(weight, weight.Adapters.Count - 1).Sqrt();

    /// <summary>‖W + Σ s·B·A‖² of each row with the adapters up to one, its magnitudes left aside; [out], in the master's
    /// precision.</summary>
    internal static Tensor SquaredNorms(Parameter weight, int last) =>
        new AdaptedLinear(weight, null, null, inputNeedsGrad: false).SquaredNorms(last);

    private Tensor Run(Tensor x, bool keep)
    {
        var exact = RowExact.IsEnabled && !keep;
        var scaled = _levels.Any(level => level.Adapter.HasMagnitude);
        var y = Linear.Multiply(x, _weight, scaled ? null : _bias, exact);
        for (var l = 0; l < _levels.Length; l++)
            Add(l, x, y, keep, exact);
        if (scaled && _bias is not null)
            y.AddInPlace(_bias.Compute.Detach());
        return y;
    }

    private void Add(int l, Tensor x, Tensor y, bool keep, bool exact)
    {
        var level = _levels[l];
        var adapter = level.Adapter;
        var type = adapter.Down.Compute.DType;
        var low = Linear.Multiply(TokenDropout.Forward(x, _noise, adapter).To(type), adapter.Down, null, exact);
        foreach (var part in adapter.Parts)
            if (part.Scale != 1)
                low.Narrow(1, part.RankStart, part.Rank).MulInPlace(part.Scale);
        if (keep)
            level.Low = Save(low);
        var norms = adapter.HasMagnitude ? SquaredNorms(l) : null;
        for (var i = 0; i < adapter.Parts.Count; i++)
        {
            var part = adapter.Parts[i];
            var (rows, own) = (y.Narrow(1, part.RowStart, part.Rows), low.Narrow(1, part.RankStart, part.Rank));
            if (exact)
                rows.AddInPlace(part.Up.Operand.RowByRow(own, null, own.DType));
            else if (type == rows.DType)
                Product.TrySum(rows, own, part.Up.Compute.Detach().T(), add: true);
            else
                rows.AddInPlace(Product.Of(own, part.Up.Compute.Detach().T()));
            if (part.UpBias is { } offset)
                rows.AddInPlace(offset.Compute.Detach(), part.Scale);
            if (part.Magnitude is not { } magnitude)
                continue;
            var inverse = norms!.Narrow(0, part.RowStart, part.Rows).Rsqrt();
            if (keep)
                (level.Sums[i], level.Inverse[i]) = (Save(rows.Clone()), Save(inverse));
            rows.CopyFrom(rows * (magnitude.Value.Detach() * inverse).To(rows.DType));
        }
    }

    /// <summary>‖W + Σ s·B·A‖² of each row, over the adapters up to one; [out], in the master's precision.</summary>
    /// <remarks>
    /// <code>
    /// ‖w + s·b·A‖² = ‖w‖² + 2s·b·(A·w) + s²·b·(A·Aᵀ)·bᵀ
    /// </code>
    /// so that W itself is only multiplied, whatever it is stored as, and never made whole.
    /// </remarks>
    private Tensor SquaredNorms(int last)
    {
        var squares = _weight.RowSquares().Clone();
        for (var l = 0; l <= last; l++)
        {
            var adapter = _weight.Adapters[l];
            var down = adapter.Down.Value.Detach();
            var known = Plain(down, l);                     // A·Wᵀ of the layer as it is so far; [R, out]
            foreach (var part in adapter.Parts)
            {
                var (own, up) = (down.Narrow(0, part.RankStart, part.Rank), part.Up.Value.Detach());
                var crossed = known.Narrow(0, part.RankStart, part.Rank).Narrow(1, part.RowStart, part.Rows);
                var added = (up * crossed.T()).Sum(1) * (2 * part.Scale)
                    + (Product.Of(up, Product.Of(own, own.T())) * up).Sum(1) * (part.Scale * part.Scale);
                var rows = squares.Narrow(0, part.RowStart, part.Rows);
                rows.AddInPlace(added);
                if (l < last && part.Magnitude is { } magnitude)
                    rows.CopyFrom(magnitude.Value.Detach() * magnitude.Value.Detach());
            }
        }
        return squares;
    }

    /// <summary>The layer's product with the adapters before one, without bias and dropout, in the master's precision.</summary>
    private Tensor Plain(Tensor x, int count)
    {
        var y = Linear.MultiplyInMaster(x, _weight);
        for (var l = 0; l < count; l++)
        {
            var adapter = _weight.Adapters[l];
            var low = Product.Linear(x, adapter.Down.Value.Detach(), null);
            var norms = adapter.HasMagnitude ? SquaredNorms(l) : null;
            foreach (var part in adapter.Parts)
            {
                var rows = y.Narrow(1, part.RowStart, part.Rows);
                rows.AddInPlace(Product.Linear(low.Narrow(1, part.RankStart, part.Rank), part.Up.Value.Detach(), null), part.Scale);
                if (part.Magnitude is { } magnitude)
                    rows.CopyFrom(rows * (magnitude.Value.Detach() * norms!.Narrow(0, part.RowStart, part.Rows).Rsqrt()));
            }
        }
        return y;
    }

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!;
        if (_bias is { IsTrainable: true })
            _bias.Add(dy.To(_bias.Gradient!.DType).Sum(0));
        if (_levels.Any(level => level.Adapter.HasMagnitude))
            dy = dy.Clone();
        var lows = new Tensor[_levels.Length];
        for (var l = _levels.Length - 1; l >= 0; l--)
            lows[l] = Share(_levels[l], dy);
        Tensor? dx = null;
        if (_inputNeedsGrad)
        {
            dx = Linear.MultiplyBack(dy, _weight);
            for (var l = 0; l < _levels.Length; l++)
                AddInput(_levels[l].Adapter, lows[l], dx);
        }
        return [dx, .. new Tensor?[_weight.Adapters.Sum(adapter => adapter.Parameters.Count()) + 1]];
    }

    /// <summary>Gives one adapter its gradients; <paramref name="dy"/> becomes the gradient of what it was given.</summary>
    /// <returns>The gradient of A·d(x); [N, R].</returns>
    private Tensor Share(Level level, Tensor dy)
    {
        var adapter = level.Adapter;
        var low = level.Low!;
        var dlow = Tensor.Empty(low.DType, low.Device, [.. low.Shape]);
        for (var i = 0; i < adapter.Parts.Count; i++)
        {
            var part = adapter.Parts[i];
            var (rows, own) = (dy.Narrow(1, part.RowStart, part.Rows), low.Narrow(1, part.RankStart, part.Rank));
            if (part.Magnitude is { } magnitude)
            {
                if (magnitude.IsTrainable)
                    magnitude.Add((rows.To(magnitude.Value.DType) * level.Sums[i]!.To(magnitude.Value.DType)).Sum(0) * level.Inverse[i]!);
                rows.CopyFrom(rows * (magnitude.Value.Detach() * level.Inverse[i]!).To(rows.DType));
            }
            if (part.UpBias is { IsTrainable: true } offset)
                offset.Add(rows.To(offset.Gradient!.DType).Sum(0) * part.Scale);
            rows = rows.To(low.DType);
            part.Up.AddProduct(rows.T(), own);
            var down = dlow.Narrow(1, part.RankStart, part.Rank);
            Product.Into(rows, part.Up.Compute.Detach(), down);
            if (part.Scale != 1)
                down.MulInPlace(part.Scale);
        }
        if (adapter.Down.IsTrainable)
            adapter.Down.AddProduct(dlow.T(), TokenDropout.Forward(_x, _noise, adapter).To(low.DType));
        return dlow;
    }

    /// <summary>Adds the gradient of x through one adapter.</summary>
    private void AddInput(LowRank adapter, Tensor dlow, Tensor dx)
    {
        var down = adapter.Down.Compute.Detach();
        var drops = _noise is not null && adapter.Dropout > 0;
        if (!drops && dlow.DType == dx.DType)
        {
            Product.TrySum(dx, dlow, down, add: true);
            return;
        }
        var own = Product.Of(dlow, down).To(dx.DType);
        if (drops)
            DeviceKernels.Of(dx).Dropout(own, _noise!.For(adapter.Layer), adapter.Dropout, add: true, dx);
        else
            dx.AddInPlace(own);
    }
}
