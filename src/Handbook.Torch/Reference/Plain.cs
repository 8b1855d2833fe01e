using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Reference;

/// <summary>The fused operations once more, out of ordinary operators that libtorch records: slow, short, and what the fused ones
/// are tested against.</summary>
internal static class Plain
{
    /// <summary>left · right of the operands' own values, in float64: what a product of lower precision is rounded from.</summary>
    /// <returns>[M, N], float64.</returns>
    public static Tensor Product(Tensor left, Tensor right)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(left.To(DType.Float64).Mm(right.To(DType.Float64)));
    }

    /// <summary>y = (a + w) ⊙ h / √( mean(h²) + ε ).</summary>
    /// <param name="h">[N, D].</param>
    /// <param name="weight">w, [D].</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="offset">a.</param>
    public static Tensor RmsNorm(Tensor h, Tensor weight, double epsilon, int offset = 0)
    {
        using var scope = TensorScope.Enter();
        return scope.Keep((weight + offset) * (h * ((h * h).Mean(-1, keepDim: true) + epsilon).Rsqrt()));
    }

    /// <summary>y = (a + w) ⊙ (h − mean h) / √( var(h) + ε ) + b.</summary>
    /// <param name="h">[N, D].</param>
    /// <param name="weight">w, [D].</param>
    /// <param name="bias">b, [D]; null for none.</param>
    /// <param name="epsilon">ε.</param>
    /// <param name="offset">a.</param>
    public static Tensor LayerNorm(Tensor h, Tensor weight, Tensor? bias, double epsilon, int offset = 0)
    {
        using var scope = TensorScope.Enter();
        var centred = h - h.Mean(-1, keepDim: true);
        var y = (weight + offset) * (centred * ((centred * centred).Mean(-1, keepDim: true) + epsilon).Rsqrt());
        return scope.Keep(bias is null ? y : y + bias);
    }

    /// <summary>a(x), or a(g) ⊙ u over the halves of x.</summary>
    /// <param name="x">[N, F] or [N, 2F].</param>
    /// <param name="activation">a.</param>
    /// <param name="gated">Whether x holds gate and up side by side.</param>
    /// <param name="form">What is done to g and u before.</param>
    public static Tensor Activate(Tensor x, Activation activation, bool gated, GateForm form = default)
    {
        using var scope = TensorScope.Enter();
        if (!gated)
            return scope.Keep(Activate(x, activation));
        var width = x.Size(1) / 2;
        var (gate, up) = (x.Narrow(1, 0, width), x.Narrow(1, width, width));
        if (form.Limit > 0)
            (gate, up) = (gate - (gate - form.Limit).Relu(), up.Clamp(form.Limit));
        return scope.Keep(Activate(gate, activation) * (up + form.UpOffset));
    }

    private static Tensor Activate(Tensor x, Activation activation) => activation switch
    {
        Activation.Silu => x.Silu(),
        Activation.Gelu => x.Gelu(tanh: false),
        Activation.GeluTanh => x.Gelu(tanh: true),
        Activation.QuickGelu => x * (x * 1.702).Sigmoid(),
        Activation.Relu => x.Relu(),
        Activation.ReluSquared => x.Relu() * x.Relu(),
        Activation.Tanh => x.Tanh(),
        _ => throw new ArgumentOutOfRangeException(nameof(activation), activation, "not an activation"),
    };

    /// <summary>scale · table[token] + positionTable[position].</summary>
    /// <param name="tokens">[N].</param>
    /// <param name="positions">[N].</param>
    /// <param name="table">[V, D].</param>
    /// <param name="positionTable">[P, D]; null where positions are not learned.</param>
    /// <param name="scale">Factor on the token's row.</param>
    public static Tensor Embed(int[] tokens, int[] positions, Tensor table, Tensor? positionTable, double scale = 1)
    {
        using var scope = TensorScope.Enter();
        var rows = table.Embedding(Index(tokens)) * scale;
        return scope.Keep(positionTable is null ? rows : rows + positionTable.Embedding(Index(positions)));
    }

    /// <summary>Rotation of the first R elements of every head by the row's position.</summary>
    /// <param name="x">[N, heads, E].</param>
    /// <param name="rotary">cos and sin.</param>
    /// <param name="positions">[N].</param>
    public static Tensor Rotate(Tensor x, RotaryTable rotary, int[] positions)
    {
        using var scope = TensorScope.Enter();
        long size = rotary.RotarySize, half = size / 2, rest = x.Size(2) - size;
        if (size == 0)
            return x;
        if (rotary.Start > 0)
            return scope.Keep(Tensor.Cat([x.Narrow(2, 0, rotary.Start), Rotate(x.Narrow(2, rotary.Start, x.Size(2) - rotary.Start),
                rotary with { Start = 0 }, positions)], 2));
        var index = Index(positions);
        var cos = Tensor.From(rotary.Cos.Host, rotary.Cos.Count / half, half).To(x.DType).IndexSelect(0, index).Unsqueeze(1);
        var sin = Tensor.From(rotary.Sin.Host, rotary.Sin.Count / half, half).To(x.DType).IndexSelect(0, index).Unsqueeze(1);
        if (rotary.Interleaved)
        {
            var pairs = x.Narrow(2, 0, size).Reshape(x.Size(0), x.Size(1), half, 2);
            Tensor even = pairs.Narrow(3, 0, 1).Squeeze(3), odd = pairs.Narrow(3, 1, 1).Squeeze(3);
            var turned = Tensor.Cat([(even * cos - odd * sin).Unsqueeze(3), (odd * cos + even * sin).Unsqueeze(3)], 3);
            return scope.Keep(Tensor.Cat([turned.Reshape(x.Size(0), x.Size(1), size), x.Narrow(2, size, rest)], 2));
        }
        Tensor first = x.Narrow(2, 0, half), second = x.Narrow(2, half, half);
        return scope.Keep(Tensor.Cat([first * cos - second * sin, second * cos + first * sin, x.Narrow(2, size, rest)], 2));
    }

    /// <summary>Rotary attention over one buffer of queries, keys and values, with the mask written out.</summary>
    /// <param name="qkv">[N, H·E + K·(E + V)].</param>
    /// <param name="shape">Heads, scale, cap; the window is part of <paramref name="visible"/>.</param>
    /// <param name="visible">Whether token i sees token j, at [i·N + j].</param>
    /// <param name="positions">[N].</param>
    /// <param name="rotary">Null: no rotation.</param>
    /// <param name="sinks">A score of each head that has no value, [H]; null for none.</param>
    /// <returns>[N, H·V].</returns>
    public static Tensor Attend(Tensor qkv, in AttentionShape shape, bool[] visible, int[] positions, RotaryTable? rotary,
        Tensor? sinks = null)
    {
        using var scope = TensorScope.Enter();
        long n = qkv.Size(0), size = shape.HeadSize, group = shape.Heads / shape.KeyHeads, turned = shape.Heads + shape.KeyHeads;
        var heads = qkv.Narrow(1, 0, turned * size).Reshape(n, turned, size);
        var query = heads.Narrow(1, 0, shape.Heads);
        var key = heads.Narrow(1, shape.Heads, shape.KeyHeads);
        var value = qkv.Narrow(1, turned * size, shape.KeyHeads * shape.ValueSize).Reshape(n, shape.KeyHeads, shape.ValueSize);
        if (rotary is not null)
            (query, key) = (Rotate(query, rotary, positions), Rotate(key, rotary, positions));
        var scores = query.Transpose(0, 1).MatMul(key.RepeatInterleave(group, 1).Permute(1, 2, 0)) * shape.Scale;       // [H, N, N]
        if (shape.DistanceSlopes is { } slopes)
            scores += Tensor.From(slopes, shape.Heads, 1, 1).To(scores.DType) * Distances(positions).To(scores.DType);
        if (shape.SoftCap > 0)
            scores = (scores / shape.SoftCap).Tanh() * shape.SoftCap;
        var hidden = Tensor.From(Array.ConvertAll(visible, v => !v), n, n);
        scores = scores.MaskedFill(hidden, double.NegativeInfinity);
        if (sinks is not null)
            scores = Tensor.Cat([scores, sinks.View(shape.Heads, 1, 1) + Tensor.Zeros(scores.DType, shape.Heads, n, 1)], 2);
        var weights = scores.Softmax(-1).Narrow(2, 0, n);
        return scope.Keep(weights.MatMul(value.RepeatInterleave(group, 1).Transpose(0, 1)).Transpose(0, 1)
            .Reshape(n, shape.Heads * shape.ValueSize));
    }

    /// <summary>How far each token stands before each other: position of the second − position of the first; [N, N].</summary>
    private static Tensor Distances(int[] positions) => Tensor.From([.. positions.SelectMany(i => positions.Select(j => (float)(j - i)))],
        positions.Length, positions.Length);

    /// <summary>Loss of each row: −log p(target), or its label-smoothed form.</summary>
    /// <param name="hidden">[M, D].</param>
    /// <param name="head">[V, D].</param>
    /// <param name="targets">[M].</param>
    /// <param name="options">Bias, scale, cap and smoothing.</param>
    /// <param name="added">Added to the logits; null for nothing.</param>
    public static Tensor Loss(Tensor hidden, Tensor head, int[] targets, in HeadOptions options, Tensor? added = null)
    {
        using var scope = TensorScope.Enter();
        var logits = added is null ? hidden.Linear(head) : hidden.Linear(head) + added;
        logits = (options.Bias is { } bias ? logits + bias.Value : logits) * options.Scale;
        if (options.SoftCap > 0)
            logits = (logits / options.SoftCap).Tanh() * options.SoftCap;
        var logProbs = logits.LogSoftmax(-1);
        var nll = -logProbs.Gather(-1, Index(targets).Unsqueeze(1)).Squeeze(-1);
        return scope.Keep(nll * (1 - options.LabelSmoothing) + -logProbs.Mean(-1) * options.LabelSmoothing);
    }

    /// <summary>Some rows of x.</summary>
    /// <param name="x">[N, D].</param>
    /// <param name="rows">[M].</param>
    public static Tensor Select(Tensor x, int[] rows) => x.IndexSelect(0, Index(rows));

    /// <summary>How much each chosen expert counts, and Σ c·p of every expert over the tokens.</summary>
    /// <param name="logits">[N, E].</param>
    /// <param name="routing">Whose choices these are.</param>
    /// <param name="rule">What choices count.</param>
    /// <param name="counts">c, [N].</param>
    public static (Tensor Weights, Tensor Spread) Route(Tensor logits, Routing routing, RouterRule rule, float[] counts)
    {
        using var scope = TensorScope.Enter();
        var p = rule.IsSigmoid ? logits.Sigmoid() : logits.Softmax(1);
        var weights = p.Gather(1, Tensor.From(Array.ConvertAll(routing.Expert, e => (long)e), routing.TokenCount, routing.PerToken));
        var spread = (p / p.Sum(1, keepDim: true) * Tensor.From(counts, counts.Length, 1)).Sum(0);
        return (scope.Keep((rule.Normalizes ? weights / weights.Sum(1, keepDim: true) : weights) * rule.Scale), scope.Keep(spread));
    }

    /// <summary>The rows of each expert's tokens behind one another; [N·K, D].</summary>
    /// <param name="x">[N, D].</param>
    public static Tensor Dispatch(Tensor x, Routing routing) =>
        x.IndexSelect(0, Index([.. Sorted(routing).Select(choice => choice / routing.PerToken)]));

    /// <summary>y_e = x_e · W_eᵀ + b_e.</summary>
    /// <param name="x">The rows of each expert's tokens behind one another.</param>
    public static Tensor GroupedLinear(Tensor x, Routing routing, Tensor[] weights, Tensor[]? biases)
    {
        using var scope = TensorScope.Enter();
        var (said, start) = (new List<Tensor>(), 0);
        for (var e = 0; e < weights.Length; start += routing.Count[e++])
            if (routing.Count[e] > 0)
                said.Add(x.Narrow(0, start, routing.Count[e]).Linear(weights[e], biases?[e]));
        return scope.Keep(Tensor.Cat([.. said], 0));
    }

    /// <summary>y = Σ_k w_k · expert_k.</summary>
    /// <param name="said">The rows of each expert's tokens behind one another.</param>
    /// <param name="weights">w, [N, K].</param>
    public static Tensor Combine(Tensor said, Tensor weights, Routing routing)
    {
        using var scope = TensorScope.Enter();
        int[] choices = [.. Sorted(routing)];
        var back = new int[choices.Length];
        for (var i = 0; i < choices.Length; i++)
            back[choices[i]] = i;
        var rows = said.IndexSelect(0, Index(back));
        return scope.Keep((rows.Reshape(routing.TokenCount, routing.PerToken, rows.Size(1)) * weights.Unsqueeze(2)).Sum(1));
    }

    private static IEnumerable<int> Sorted(Routing routing) =>
        Enumerable.Range(0, routing.Expert.Length).OrderBy(choice => routing.Expert[choice]);     // the order of equals stays

    private static Tensor Index(int[] values) => Tensor.From(Array.ConvertAll(values, v => (long)v));
}
