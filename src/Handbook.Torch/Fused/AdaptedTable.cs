namespace Handbook.Torch.Fused;

/// <summary>DoRA of a table of embeddings: every dimension has a length of its own. Liu et al. 2024, arXiv:2402.09353.</summary>
/// <remarks>
/// <code>
/// y = f ⊙ ( E[token] + s·A[token]·Bᵀ ),    f = m / ‖E + s·A·Bᵀ‖      norms by column, constant in the backward pass (§4.3)
/// </code>
/// </remarks>
internal sealed class AdaptedTable : AutogradNode
{
    private const long TileElements = 1 << 22;

    private readonly Parameter _magnitude;
    private readonly Tensor _inverse;
    private readonly bool _inputNeedsGrad;
    private Tensor _x = null!;

    private AdaptedTable(Parameter magnitude, Tensor inverse, bool inputNeedsGrad)
    {
        (_magnitude, _inputNeedsGrad) = (magnitude, inputNeedsGrad);
        _inverse = Save(inverse);
    }

    /// <summary>The last step of one adapter: x with each column multiplied by m / ‖…‖.</summary>
    /// <param name="x">Rows of the table with what the adapter adds; [N, D].</param>
    /// <param name="magnitude">m; [D].</param>
    /// <param name="inverse">From <see cref="InverseNorms"/>; [D].</param>
    /// <returns>[N, D].</returns>
    public static Tensor Scale(Tensor x, Parameter magnitude, Tensor inverse)
    {
        using var scope = TensorScope.Enter();
        var needed = IsNeeded(x, magnitude.Value);
        var node = new AdaptedTable(magnitude, inverse, x.RequiresGrad);
        Tensor y;
        using (GradMode.Disabled())
            y = x.Detach() * node.Factor(x.DType);
        if (needed)
        {
            node._x = node.Save(x.Detach());
            node.Attach([x, magnitude.Value], y);
        }
        return scope.Keep(y);
    }

    /// <summary>1 / ‖E + Σ s·A·Bᵀ‖ of each column, with the adapters up to each, its magnitudes left aside; [D] of every adapter that has
    /// magnitudes, null of others.</summary>
    /// <remarks>The table is read once, tile by tile: Σ e², Eᵀ·A and AᵀA are all that the norms need.</remarks>
    public static Tensor?[] InverseNorms(Parameter table, DType type)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var (rows, width, adapters, device) = (table.Value.Size(0), table.Value.Size(1), table.Adapters, table.Value.Device);
        Tensor[] downs = [.. adapters.Select(adapter => adapter.Down.Value.Detach().To(type))];
        var squares = Tensor.Zeros(type, device, width);
        Tensor[] crossed = [.. downs.Select(down => Tensor.Zeros(type, device, width, down.Size(1)))];
        var height = Math.Max(1, TileElements / width);
        for (var start = 0L; start < rows; start += height)
        {
            using var inner = TensorScope.Enter();
            var tile = Linear.Whole(table, start, Math.Min(height, rows - start)).To(type);
            squares.AddInPlace((tile * tile).Sum(0));
            for (var i = 0; i < downs.Length; i++)
                crossed[i].AddInPlace(Product.Of(tile.T(), downs[i].Narrow(0, start, tile.Size(0))));
        }
        var (own, ups, result) = (Tensor.Zeros(type, device, width) + 1, new Tensor[downs.Length], new Tensor?[downs.Length]);
        for (var l = 0; l < adapters.Count; l++)
        {
            var part = adapters[l].Parts[0];
            ups[l] = part.Up.Value.Detach().To(type) * part.Scale;
            if (part.Magnitude is not { } magnitude)
                continue;
            var sum = own * own * squares;
            for (var i = 0; i <= l; i++)
            {
                sum += own * (crossed[i] * ups[i]).Sum(1) * 2;
                for (var k = 0; k <= l; k++)
                    sum += (Product.Of(ups[i], Product.Of(downs[i].T(), downs[k])) * ups[k]).Sum(1);
            }
            result[l] = scope.Keep(sum.Rsqrt());
            var factor = magnitude.Value.Detach().To(type) * result[l]!;
            own *= factor;
            for (var i = 0; i <= l; i++)
                ups[i] = ups[i] * factor.Reshape(-1, 1);
        }
        return result;
    }

    private Tensor Factor(DType type) => (_magnitude.Value.Detach() * _inverse).To(type);

    protected override Tensor?[] Backward(Tensor?[] gradients)
    {
        var dy = gradients[0]!;
        if (_magnitude.IsTrainable)
            _magnitude.Add((dy * _x).Sum(0).To(_magnitude.Value.DType) * _inverse);
        return [_inputNeedsGrad ? dy * Factor(dy.DType) : null, null];
    }
}
