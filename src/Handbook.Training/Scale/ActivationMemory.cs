using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Methods;

namespace Handbook.Training.Scale;

/// <summary>What goes through the network at once.</summary>
/// <param name="Tokens">N.</param>
/// <param name="Predicted">Of these, the tokens that the head predicts; M.</param>
internal readonly record struct PassSize(long Tokens, long Predicted)
{
    /// <summary>The same where fewer tokens are let through at once.</summary>
    public PassSize AtMost(long tokens) => Tokens <= tokens ? this : new(tokens, Math.Max(1, Predicted * tokens / Tokens));
}

/// <summary>Bytes of tensors that live only while a pass goes through the network and back.</summary>
/// <remarks>
/// Counted from what each operation keeps for the way back, per token, with r bytes in the residual stream and c in products:
/// <code>
/// norm         h + delta  r·D,   its output  c·D where a weight that reads it needs it
/// attention    q, k, v and the mixed values  c·(H·E + K·(E + V) + H·V),  log-sum-exp  r·H
/// feed-forward gate and up  2c·F,  their product  c·F
/// recomputed   r·D + c·D for each layer, and one layer as above
/// </code>
/// </remarks>
/// <param name="Layers">Kept by the layers.</param>
/// <param name="Ends">Kept by the last norm, and the rows that the head reads.</param>
/// <param name="Head">Logits and their gradients while they are there.</param>
/// <param name="Working">What the way back needs besides in the layer where that is most.</param>
internal readonly record struct ActivationMemory(long Layers, long Ends, long Head, long Working)
{
    /// <summary>What a pass without a way back needs: one layer, and the head's logits.</summary>
    public required long ForwardAlone { get; init; }

    /// <summary>The most at once: what the head needs is gone when the layers go back.</summary>
    public long Total => Layers + Math.Max(Ends + Head, Working);

    /// <param name="config">The network.</param>
    /// <param name="plan">How its weights are kept.</param>
    /// <param name="pass">What goes through it at once.</param>
    /// <param name="recomputes">Whether layers keep their inputs alone.</param>
    /// <param name="keepsLogits">Whether the loss needs log-probabilities first, so that logits wait for it.</param>
    public static ActivationMemory Of(DecoderConfig config, ParameterPlan plan, PassSize pass, bool recomputes, bool keepsLogits)
    {
        var (r, c) = (plan.Residual.Size, plan.Compute.Size);
        var (n, m, d) = (pass.Tokens, pass.Predicted, (long)config.HiddenSize);
        var readers = new Readers(plan);
        var whole = Enumerable.Range(0, config.Layers).Select(layer => n * Kept(config, readers, layer, r, c)).ToArray();
        var back = Enumerable.Range(0, config.Layers).Max(layer => n * Back(config, layer, r, c) + (recomputes ? whole[layer] : 0));
        return new(recomputes ? config.Layers * n * d * (r + c) : whole.Sum(), n * d * r + m * d * c,
            config.Head == ModelHead.Score ? 0 : LogitBytes(config, plan, m, keepsLogits) + (c == r ? 0 : Product.SumBytes), back)
        {
            ForwardAlone = Math.Max(whole.Max(), n * d * r + m * d * c + ChunkBytes(config, plan, m)),
        };
    }

    /// <summary>Bytes that a layer keeps for each token.</summary>
    private static long Kept(DecoderConfig config, Readers readers, int layer, int r, int c)
    {
        long d = config.HiddenSize;
        var path = $"layers.{layer}.";
        long projected = config.QuerySize + config.KeyValueSize + config.ValueSize;
        // A norm of what another has added up keeps nothing more than that.
        var norms = config.NormPlacement == NormPlacement.BeforeAndAfter ? 4 : config.ParallelResidual ? 1 : 2;
        var kept = norms * (d * r + r) + projected * c + (long)config.MixedSize * c + (long)config.Heads * r;
        if (config.QueryKeyNorm != QueryKeyNorm.None)
            kept += (config.QuerySize + config.KeyValueSize) * (long)r + (config.Heads + config.KeyValueHeads) * (long)r;
        if (config.Latent is { } latent)
            kept += (latent.QueryRank + latent.KeyValueRank) * (long)(r + c);
        if (readers.Needs(path + "attention.query_key_value") || readers.Needs(path + "attention.query"))
            kept += d * c;
        kept += readers.Adapted(path + "attention.query_key_value", path + "attention.output") * c;
        if (!config.IsRouted(layer))
            return kept + FeedForward(config, config.IntermediateSize, readers, path + "mlp.", c)
                - (config.SharedNorm && readers.Needs(path + "mlp." + (config.GatedMlp ? "gate_up" : "up")) ? d * c : 0);
        var experts = config.Experts!;
        kept += experts.PerToken * (FeedForward(config, InnerSize(config), readers, path + "mlp.experts.0.", c) + d * c + r)
            + experts.Count * (long)r;
        if (experts.SharedInnerSize > 0)
            kept += FeedForward(config, experts.SharedInnerSize, readers, path + "mlp.shared.", c) + d * c;
        // The router reads what the experts read, in the precision of the residual stream.
        return kept + (readers.Needs(path + "mlp.router") && (c != r || experts.SharedInnerSize == 0) ? d * r : 0);
    }

    private static int InnerSize(DecoderConfig config) =>
        config.Experts is { InnerSize: > 0 and var size } ? size : config.IntermediateSize;

    private static long FeedForward(DecoderConfig config, int inner, Readers readers, string path, int c)
    {
        var up = path + (config.GatedMlp ? "gate_up" : "up");
        return ((config.GatedMlp ? 2L : 1) * inner + readers.Adapted(up, path + "down") + (readers.Needs(up) ? config.HiddenSize : 0)
            + (readers.Needs(path + "down") ? inner : 0)) * c;
    }

    /// <summary>Bytes for each token that the way back through a layer needs at most, beside what was kept: the gradient of the stream, and of
    /// gate and up.</summary>
    private static long Back(DecoderConfig config, int layer, int r, int c)
    {
        long d = config.HiddenSize;
        var inner = (config.GatedMlp ? 2L : 1) * (config.IsRouted(layer) ? InnerSize(config) : config.IntermediateSize);
        return d * r + (c == r ? 0 : d * c) + (config.IsRouted(layer) ? config.Experts!.PerToken * (inner + d) : inner) * c;
    }

    private static long ChunkBytes(DecoderConfig config, ParameterPlan plan, long rows) =>
        TokenLogProbs.ChunkBytes(rows, config.VocabularySize, plan.Compute.Size);

    private static long LogitBytes(DecoderConfig config, ParameterPlan plan, long rows, bool keepsLogits) => keepsLogits
        ? TokenLogProbs.WaitingBytes(rows, config.VocabularySize, plan.Compute.Size)
        : ChunkBytes(config, plan, rows) + rows * config.TableSize * plan.Compute.Size;

    /// <summary>Which weights need what they read for the way back, and what adapters keep beside.</summary>
    private sealed class Readers(ParameterPlan plan)
    {
        private readonly HashSet<string> _needing = [.. plan.Rules.Where(rule => rule.IsTrained && rule.Adapter is null)
            .Select(rule => rule.Spec.Name), .. plan.Adapters.SelectMany(adapter => adapter.Layers).Select(layer => layer.Base.Name)];

        private readonly ILookup<string, AdapterLayer> _adapters =
            plan.Adapters.SelectMany(adapter => adapter.Layers).ToLookup(layer => layer.Base.Name);

        /// <summary>Whether a weight, or an adapter over it, needs what it read.</summary>
        public bool Needs(string name) => _needing.Contains(name + ".weight");

        /// <summary>Numbers that the adapters of some weights keep for each token: A·x, and with magnitudes the sums that they
        /// multiply.</summary>
        public long Adapted(params ReadOnlySpan<string> names)
        {
            var numbers = 0L;
            foreach (var name in names)
                foreach (var layer in _adapters[name + ".weight"])
                    numbers += layer.Down.Shape[0] + layer.Targets.Where(target => target.Magnitude is not null).Sum(target => target.Up.Shape[0]);
            return numbers;
        }
    }
}
