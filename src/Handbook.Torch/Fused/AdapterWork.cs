using Handbook.Torch.Devices;

namespace Handbook.Torch.Fused;

/// <summary>What the adapters of one weight add to a product, and their gradients, outside the graph: the formulas stand at
/// <see cref="LowRank"/>. Each adapter takes what the ones before it give as its layer.</summary>
/// <remarks>The weight's own gradient is never computed, and what it needs for it is not kept.</remarks>
internal sealed class AdapterWork
{
    private readonly Parameter _weight;
    private readonly TokenNoise? _noise;
    private readonly Level[] _levels;

    /// <param name="weight">[out, in], frozen, with its adapters.</param>
    /// <param name="noise">For dropout; null computes without.</param>
    public AdapterWork(Parameter weight, TokenNoise? noise)
    {
        if (weight.IsTrainable)
            throw new NotSupportedException($"{weight.Name} is trained itself, and has an adapter");
        (_weight, _noise) = (weight, noise);
        _levels = [.. weight.Adapters.Select(adapter => new Level(adapter, new Tensor?[adapter.Parts.Count],
            new Tensor?[adapter.Parts.Count]))];
    }

    /// <summary>Whether some adapter has magnitudes, which scale the product, not the bias.</summary>
    public bool Scales => _levels.Any(level => level.Adapter.HasMagnitude);

    /// <summary>What one adapter kept for the backward pass: s·A·d(x); of each part with a magnitude m / ‖…‖ in the product's precision,
    /// 1 / ‖…‖ in the master's is in <paramref name="Inverse"/>, and the sum that it multiplies.</summary>
    private sealed record Level(LowRank Adapter, Tensor?[] Sums, Tensor?[] Inverse)
    {
        public Tensor? Low { get; set; }
    }

    /// <summary>Adds what the adapters say.</summary>
    /// <param name="x">[N, in].</param>
    /// <param name="y">The product with the weight itself, without bias where the adapters scale; [N, out].</param>
    /// <param name="save">Keeps a tensor for the backward pass; null where there is none.</param>
    /// <param name="exact">Each row by itself.</param>
    public void Add(Tensor x, Tensor y, Func<Tensor, Tensor>? save, bool exact)
    {
        for (var l = 0; l < _levels.Length; l++)
            Add(l, x, y, save, exact);
    }

    private void Add(int l, Tensor x, Tensor y, Func<Tensor, Tensor>? save, bool exact)
    {
        var level = _levels[l];
        var adapter = level.Adapter;
        var type = adapter.Down.Compute.DType;
        var low = Linear.Multiply(TokenDropout.Forward(x, _noise, adapter).To(type), adapter.Down, null, exact);
        foreach (var part in adapter.Parts)
            if (part.Scale != 1)
                low.Narrow(1, part.RankStart, part.Rank).MulInPlace(part.Scale);
        if (save is not null)
            level.Low = save(low);
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
            if (save is not null)
                (level.Sums[i], level.Inverse[i]) = (save(rows.Clone()), save(inverse));
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
    public Tensor SquaredNorms(int last)
    {
        var squares = _weight.RowSquares().ToNonBlocking(_weight.Adapters[0].Down.Value.Device).Clone();
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

    /// <summary>Gives the adapters their gradients; <paramref name="dy"/> becomes the gradient of the product with the weight
    /// itself.</summary>
    /// <returns>Of each adapter the gradient of A·d(x); [N, R].</returns>
    public Tensor[] Share(Tensor x, Tensor dy)
    {
        var lows = new Tensor[_levels.Length];
        for (var l = _levels.Length - 1; l >= 0; l--)
            lows[l] = Share(_levels[l], x, dy);
        return lows;
    }

    /// <summary>Adds the gradient of x through the adapters.</summary>
    /// <param name="lows">What <see cref="Share(Tensor, Tensor)"/> gave.</param>
    public void AddInput(Tensor[] lows, Tensor dx)
    {
        for (var l = 0; l < _levels.Length; l++)
            AddInput(_levels[l].Adapter, lows[l], dx);
    }

    /// <summary>Gives one adapter its gradients; <paramref name="dy"/> becomes the gradient of what it was given.</summary>
    /// <returns>The gradient of A·d(x); [N, R].</returns>
    private Tensor Share(Level level, Tensor x, Tensor dy)
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
            adapter.Down.AddProduct(dlow.T(), TokenDropout.Forward(x, _noise, adapter).To(low.DType));
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
