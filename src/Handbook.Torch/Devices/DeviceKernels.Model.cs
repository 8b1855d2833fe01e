using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Devices;

/// <summary>Rows, attention, experts and the head.</summary>
internal abstract partial class DeviceKernels
{
    // ---- rows ----------------------------------------------------------------------------------------------------

    /// <summary>y = scale · table[token] + positionTable[position]; y is float64 where the table is, float32 elsewhere.</summary>
    public void EmbeddingForward(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable, double scale, Tensor y)
    {
        if (positionTable is not null && positionTable.DType != table.DType)
            throw Unsupported("an embedding", table, positionTable);
        NeedReal("an embedding", table.DType, y);
        switch (Stored("an embedding", table))
        {
            case DType.Float32: EmbeddingForward<float>(tokens, positions, table, positionTable, scale, y); break;
            case DType.BFloat16: EmbeddingForward<BFloat16>(tokens, positions, table, positionTable, scale, y); break;
            case DType.Float16: EmbeddingForward<Half>(tokens, positions, table, positionTable, scale, y); break;
            default: EmbeddingForward<double>(tokens, positions, table, positionTable, scale, y); break;
        }
    }

    public virtual void EmbeddingForward<T>(Mirrored<int> tokens, Mirrored<int> positions, Tensor table, Tensor? positionTable, double scale,
        Tensor y) where T : unmanaged => throw Missing();

    /// <summary>tableGradient[id] += scale · dy, but for the id <paramref name="padding"/>; −1 leaves out none.</summary>
    public void EmbeddingBackward(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding)
    {
        switch (Real("the gradient of an embedding", dy, tableGradient))
        {
            case DType.Float32: EmbeddingBackward<float>(dy, ids, scale, tableGradient, padding); break;
            default: EmbeddingBackward<double>(dy, ids, scale, tableGradient, padding); break;
        }
    }

    public virtual void EmbeddingBackward<T>(Tensor dy, Mirrored<int> ids, double scale, Tensor tableGradient, int padding)
        where T : unmanaged => throw Missing();

    /// <summary>y[i] = x[rows[i]].</summary>
    public virtual void SelectRows(Tensor x, Mirrored<int> rows, Tensor y) => throw Missing();

    /// <summary>dx[rows[i]] = dy[i]; other rows of dx are left as they are.</summary>
    public virtual void SpreadRows(Tensor dy, Mirrored<int> rows, Tensor dx) => throw Missing();

    /// <summary>y = x · Wᵀ + b, where the bits of a row depend on that row alone.</summary>
    /// <param name="y">[N, out]; of the type of x, or float32.</param>
    public void RowLinear(Tensor x, Tensor weight, Tensor? bias, Tensor y)
    {
        if (x.Stride(1) != 1 || !weight.IsContiguous)
            throw new NotSupportedException($"rows of {x.Describe()} and {weight.Describe()} with gaps");
        if (weight.DType != x.DType || bias is not null && bias.DType != x.DType || y.DType != x.DType && (y.DType, x.DType) is not (DType.Float32, DType.BFloat16 or DType.Float16))
            throw Unsupported("a linear layer", x, weight, y);
        switch (Element("a linear layer", x, y))
        {
            case DType.Float32: RowLinear<float>(x, weight, bias, y); break;
            case DType.BFloat16: RowLinear<BFloat16>(x, weight, bias, y); break;
            case DType.Float16: RowLinear<Half>(x, weight, bias, y); break;
            default: RowLinear<double>(x, weight, bias, y); break;
        }
    }

    public virtual void RowLinear<T>(Tensor x, Tensor weight, Tensor? bias, Tensor y) where T : unmanaged => throw Missing();

    /// <summary>Values of some columns of some rows of a weight that is kept as codes.</summary>
    /// <param name="tile">[rows, columns], contiguous; written.</param>
    /// <param name="unscaled">The codes of int8 themselves.</param>
    public void ReadCodes(QuantisedMatrix weight, long row, long column, Tensor tile, bool unscaled)
    {
        switch (Element("values of codes", tile))
        {
            case DType.Float32: ReadCodes<float>(weight, row, column, tile, unscaled); break;
            case DType.BFloat16: ReadCodes<BFloat16>(weight, row, column, tile, unscaled); break;
            case DType.Float16: ReadCodes<Half>(weight, row, column, tile, unscaled); break;
            default: ReadCodes<double>(weight, row, column, tile, unscaled); break;
        }
    }

    public virtual void ReadCodes<T>(QuantisedMatrix weight, long row, long column, Tensor tile, bool unscaled) where T : unmanaged =>
        throw Missing();

    // ---- attention -----------------------------------------------------------------------------------------------

    /// <summary>Turns heads in place by the positions of their tokens.</summary>
    /// <param name="rows">[N, heads · E or more]; what lies behind the heads stays.</param>
    /// <param name="backward">Turns gradients back.</param>
    public void Rotate(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward)
    {
        switch (Element("rotation", rows))
        {
            case DType.Float32: Rotate<float>(rotary, positions, rows, heads, headSize, backward); break;
            case DType.BFloat16: Rotate<BFloat16>(rotary, positions, rows, heads, headSize, backward); break;
            case DType.Float16: Rotate<Half>(rotary, positions, rows, heads, headSize, backward); break;
            default: Rotate<double>(rotary, positions, rows, heads, headSize, backward); break;
        }
    }

    public virtual void Rotate<T>(RotaryTable rotary, Mirrored<int> positions, Tensor rows, int heads, int headSize, bool backward)
        where T : unmanaged => throw Missing();

    /// <param name="query">[N, H·E]; may be columns of a wider matrix, as all that follow.</param>
    /// <param name="keyValue">Keys and values side by side, [M, K·(E + V)]; M = N, unless the stream is cut.</param>
    /// <param name="output">[N, H·V]; written.</param>
    /// <param name="logSumExp">[H, N], float32 or float64; written.</param>
    /// <param name="sinks">A score of each head that has no value, of the type of <paramref name="logSumExp"/>, [H]; null for none.</param>
    public void AttentionForward(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks)
    {
        shape.Check(segments);
        NeedReal("attention", query.DType, logSumExp, sinks);
        switch (Element("attention", query))
        {
            case DType.Float32: AttentionForward<float>(segments, shape, query, keyValue, output, logSumExp, sinks); break;
            case DType.BFloat16: AttentionForward<BFloat16>(segments, shape, query, keyValue, output, logSumExp, sinks); break;
            case DType.Float16: AttentionForward<Half>(segments, shape, query, keyValue, output, logSumExp, sinks); break;
            default: AttentionForward<double>(segments, shape, query, keyValue, output, logSumExp, sinks); break;
        }
    }

    public virtual void AttentionForward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor? sinks) where T : unmanaged => throw Missing();

    /// <param name="dquery">[N, H·E]; written.</param>
    /// <param name="dkeyValue">[M, K·(E + V)]; written.</param>
    public void AttentionBackward(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor dy, Tensor dquery, Tensor dkeyValue)
    {
        NeedReal("the gradient of attention", query.DType, logSumExp);
        switch (Element("the gradient of attention", query))
        {
            case DType.Float32:
                AttentionBackward<float>(segments, shape, query, keyValue, output, logSumExp, dy, dquery, dkeyValue);
                break;
            case DType.BFloat16:
                AttentionBackward<BFloat16>(segments, shape, query, keyValue, output, logSumExp, dy, dquery, dkeyValue);
                break;
            case DType.Float16:
                AttentionBackward<Half>(segments, shape, query, keyValue, output, logSumExp, dy, dquery, dkeyValue);
                break;
            default: AttentionBackward<double>(segments, shape, query, keyValue, output, logSumExp, dy, dquery, dkeyValue); break;
        }
    }

    public virtual void AttentionBackward<T>(SegmentTable segments, in AttentionShape shape, Tensor query, Tensor keyValue, Tensor output,
        Tensor logSumExp, Tensor dy, Tensor dquery, Tensor dkeyValue) where T : unmanaged => throw Missing();

    /// <summary>dsinks += the gradient of the sinks.</summary>
    /// <param name="dsinks">[H], of the type of <paramref name="logSumExp"/>.</param>
    public void AttentionSinkBackward(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks, Tensor dsinks)
    {
        NeedReal("the gradient of attention sinks", output.DType, logSumExp, sinks, dsinks);
        switch (Element("the gradient of attention sinks", output))
        {
            case DType.Float32: AttentionSinkBackward<float>(shape, output, logSumExp, dy, sinks, dsinks); break;
            case DType.BFloat16: AttentionSinkBackward<BFloat16>(shape, output, logSumExp, dy, sinks, dsinks); break;
            case DType.Float16: AttentionSinkBackward<Half>(shape, output, logSumExp, dy, sinks, dsinks); break;
            default: AttentionSinkBackward<double>(shape, output, logSumExp, dy, sinks, dsinks); break;
        }
    }

    public virtual void AttentionSinkBackward<T>(in AttentionShape shape, Tensor output, Tensor logSumExp, Tensor dy, Tensor sinks,
        Tensor dsinks) where T : unmanaged => throw Missing();

    /// <summary>New tokens go into their caches and attend over them, causally.</summary>
    /// <param name="plan">Which caches; their memory is of the type of <paramref name="queryKeyValue"/>.</param>
    /// <param name="queryKeyValue">Queries, keys and values of the new tokens side by side, [N, H·E + K·(E + V)].</param>
    /// <param name="output">[N, H·V]; written.</param>
    /// <param name="sinks">[H], float32 or float64; null for none.</param>
    public void AttentionDecode(CachePlan plan, int layer, in AttentionShape shape, Tensor queryKeyValue, Tensor output, Tensor? sinks)
    {
        shape.Check(null);
        NeedReal("attention", queryKeyValue.DType, sinks);
        switch (Element("attention", queryKeyValue))
        {
            case DType.Float32: AttentionDecode<float>(plan, layer, shape, queryKeyValue, output, sinks); break;
            case DType.BFloat16: AttentionDecode<BFloat16>(plan, layer, shape, queryKeyValue, output, sinks); break;
            case DType.Float16: AttentionDecode<Half>(plan, layer, shape, queryKeyValue, output, sinks); break;
            default: AttentionDecode<double>(plan, layer, shape, queryKeyValue, output, sinks); break;
        }
    }

    public virtual void AttentionDecode<T>(CachePlan plan, int layer, in AttentionShape shape, Tensor queryKeyValue, Tensor output,
        Tensor? sinks) where T : unmanaged => throw Missing();

    // ---- experts -------------------------------------------------------------------------------------------------

    /// <summary>Chooses each token's experts and weighs them. Waits for the device.</summary>
    /// <param name="correction">Added to what experts are chosen by, [E], of the type of the logits; null for nothing.</param>
    /// <param name="weights">[N, K]; written.</param>
    /// <param name="tally">Receives the spread over the experts; null for nobody.</param>
    /// <returns>The chosen experts; [N·K].</returns>
    public int[] RouterForward(Tensor logits, RouterRule rule, Tensor? correction, Tensor weights, RouterTally? tally) =>
        Real("a router", logits, weights) == DType.Float32 ? RouterForward<float>(logits, rule, correction, weights, tally)
            : RouterForward<double>(logits, rule, correction, weights, tally);

    public virtual int[] RouterForward<T>(Tensor logits, RouterRule rule, Tensor? correction, Tensor weights, RouterTally? tally)
        where T : unmanaged => throw Missing();

    /// <param name="dweights">[N, K]; null where none arrived.</param>
    /// <param name="dspread">Derivatives by <see cref="RouterTally.Probability"/>; [E], null where none arrived.</param>
    /// <param name="dlogits">[N, E]; written.</param>
    public void RouterBackward(Tensor logits, Routing routing, RouterRule rule, Tensor? dweights, double[]? dspread, float[]? tokenWeights,
        Tensor dlogits)
    {
        if (Real("the gradient of a router", logits, dlogits) == DType.Float32)
            RouterBackward<float>(logits, routing, rule, dweights, dspread, tokenWeights, dlogits);
        else
            RouterBackward<double>(logits, routing, rule, dweights, dspread, tokenWeights, dlogits);
    }

    public virtual void RouterBackward<T>(Tensor logits, Routing routing, RouterRule rule, Tensor? dweights, double[]? dspread,
        float[]? tokenWeights, Tensor dlogits) where T : unmanaged => throw Missing();

    /// <summary>rows[t] = Σ_k weights[t, k] · the row of its k-th expert; weights null for 1.</summary>
    /// <param name="sorted">The rows of each expert behind one another; [N·K, width].</param>
    public void ExpertGather(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        NeedReal("experts", rows.DType, weights);
        switch (Element("experts", rows))
        {
            case DType.Float32: ExpertGather<float>(sorted, routing, weights, rows); break;
            case DType.BFloat16: ExpertGather<BFloat16>(sorted, routing, weights, rows); break;
            case DType.Float16: ExpertGather<Half>(sorted, routing, weights, rows); break;
            default: ExpertGather<double>(sorted, routing, weights, rows); break;
        }
    }

    public virtual void ExpertGather<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows) where T : unmanaged => throw Missing();

    /// <summary>The row of a token's k-th expert = weights[t, k] · rows[t]; weights null for 1.</summary>
    public void ExpertScatter(Tensor sorted, Routing routing, Tensor? weights, Tensor rows)
    {
        NeedReal("experts", rows.DType, weights);
        switch (Element("experts", rows))
        {
            case DType.Float32: ExpertScatter<float>(sorted, routing, weights, rows); break;
            case DType.BFloat16: ExpertScatter<BFloat16>(sorted, routing, weights, rows); break;
            case DType.Float16: ExpertScatter<Half>(sorted, routing, weights, rows); break;
            default: ExpertScatter<double>(sorted, routing, weights, rows); break;
        }
    }

    public virtual void ExpertScatter<T>(Tensor sorted, Routing routing, Tensor? weights, Tensor rows) where T : unmanaged =>
        throw Missing();

    /// <summary>dots[t, k] = rows[t] · the row of its k-th expert.</summary>
    public void ExpertDots(Tensor sorted, Routing routing, Tensor rows, Tensor dots)
    {
        NeedReal("experts", rows.DType, dots);
        switch (Element("experts", rows))
        {
            case DType.Float32: ExpertDots<float>(sorted, routing, rows, dots); break;
            case DType.BFloat16: ExpertDots<BFloat16>(sorted, routing, rows, dots); break;
            case DType.Float16: ExpertDots<Half>(sorted, routing, rows, dots); break;
            default: ExpertDots<double>(sorted, routing, rows, dots); break;
        }
    }

    public virtual void ExpertDots<T>(Tensor sorted, Routing routing, Tensor rows, Tensor dots) where T : unmanaged => throw Missing();

    // ---- head ----------------------------------------------------------------------------------------------------

    /// <summary>Statistics of some rows of logits; with weights, the logits become the gradient of Σ weight · loss.</summary>
    /// <param name="logits">[rows, V].</param>
    /// <param name="start">The first row's place among the targets, weights and statistics.</param>
    public void CrossEntropy(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics)
    {
        switch (Element("log-probabilities", logits))
        {
            case DType.Float32: CrossEntropy<float>(logits, start, targets, weights, options, statistics); break;
            case DType.BFloat16: CrossEntropy<BFloat16>(logits, start, targets, weights, options, statistics); break;
            case DType.Float16: CrossEntropy<Half>(logits, start, targets, weights, options, statistics); break;
            default: CrossEntropy<double>(logits, start, targets, weights, options, statistics); break;
        }
    }

    public virtual void CrossEntropy<T>(Tensor logits, int start, Mirrored<int> targets, double[]? weights, in HeadOptions options,
        HeadStatistics statistics) where T : unmanaged => throw Missing();
}
