using Handbook.Base;
using Handbook.Models.Files;

namespace Handbook.Models.Gguf;

/// <summary>The sizes and switches of a network as keys of a GGUF file.</summary>
internal static class GgufHyperparameters
{
    /// <summary>Adds the keys of an architecture.</summary>
    /// <param name="notes">Gets what llama.cpp computes otherwise than the model does, in some texts.</param>
    /// <exception cref="InputException">The architecture does not compute what the model needs.</exception>
    public static void Add(GgufMetadata metadata, GgufLayout layout, DecoderConfig config, List<string> notes)
    {
        Judge(layout, config);
        var prefix = layout.Architecture + ".";
        metadata.Add(prefix + "context_length", config.MaxPositions);
        metadata.Add(prefix + "embedding_length", config.HiddenSize);
        metadata.Add(prefix + "block_count", config.Layers);
        metadata.Add(prefix + "feed_forward_length", config.IntermediateSize);
        metadata.Add(prefix + "attention.head_count", config.Heads);
        metadata.Add(prefix + "attention.head_count_kv", config.KeyValueHeads);
        metadata.Add(prefix + "attention.key_length", config.HeadSize);
        metadata.Add(prefix + "attention.value_length", config.ValueHeadSize);
        metadata.Add(prefix + (config.Norm == NormKind.RmsNorm ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon"),
            config.NormEpsilon);
        metadata.Add(prefix + "vocab_size", config.VocabularySize);
        if (config.Positions == PositionKind.Rope)
            Rope(metadata, prefix, config);
        if (config.Experts is { } experts)
        {
            metadata.Add(prefix + "expert_count", experts.Count);
            metadata.Add(prefix + "expert_used_count", experts.PerToken);
            metadata.Add(prefix + "expert_feed_forward_length", experts.InnerSize > 0 ? experts.InnerSize
                : layout.Architecture == "gpt-oss" ? config.IntermediateSize : null);
            if (layout.Architecture != "deepseek2")
                metadata.Add(prefix + "expert_shared_feed_forward_length", experts.SharedInnerSize > 0 ? experts.SharedInnerSize : null);
            if (layout.StatesDenseLayers)
                metadata.Add(prefix + "leading_dense_block_count", experts.DenseLayers.Count);
            if (experts.Sigmoid)
                Sigmoid(metadata, prefix, experts);
        }
        if (config.Latent is { } latent)
        {
            metadata.Add(prefix + "attention.q_lora_rank", latent.QueryRank > 0 ? latent.QueryRank : null);
            metadata.Add(prefix + "attention.kv_lora_rank", latent.KeyValueRank);
            notes.Add("llama.cpp keeps whole keys and values of such a file, and not the short vectors that they come from: it needs more "
                + "memory for long texts than with its own conversion");
        }
        metadata.Add(prefix + "attn_logit_softcapping", config.AttentionSoftCap);
        metadata.Add(prefix + "final_logit_softcapping", config.LogitSoftCap);
        if (layout.StatesAttentionScale)
            metadata.Add(prefix + "attention.scale", config.AttentionScale(0));
        if (layout.Architecture is "command-r" or "cohere2")
            metadata.Add(prefix + "logit_scale", config.LogitScale);
        else if (layout.Architecture.StartsWith("granite", StringComparison.Ordinal))
        {
            // divided by there
            metadata.Add(prefix + "logit_scale", 1 / config.LogitScale);
            metadata.Add(prefix + "embedding_scale", config.EmbeddingScale);
            metadata.Add(prefix + "residual_scale", config.ResidualScale);
        }
        if (layout.Architecture is "stablelm" or "gptneox")
            metadata.Add(prefix + "use_parallel_residual", config.ParallelResidual);
        Windows(metadata, prefix, layout, config, notes);
        if (config.RopeScaling is { Kind: RopeScalingKind.Yarn, Truncate: false })
            notes.Add("llama.cpp rounds the borders between the frequencies that yarn stretches and those that it keeps, which this model "
                + "does not (truncate: false): logits differ a little");
    }

    /// <summary>The divisors of the frequencies that llama.cpp takes from a tensor; null where it computes them by itself.</summary>
    public static IEnumerable<(string Name, double[] Values)> FrequencyDivisors(DecoderConfig config)
    {
        if (config.RopeScaling is not { } scaling)
            yield break;
        if (scaling.Kind == RopeScalingKind.Llama3)
        {
            var plain = RopeFrequencies.Compute(config, new(config.RopeTheta, null), config.MaxPositions).Inverse;
            var stretched = RopeFrequencies.Compute(config, config.MaxPositions).Inverse;
            yield return ("rope_freqs.weight", [.. plain.Zip(stretched, (before, after) => before / after)]);
        }
        else if (scaling.Kind == RopeScalingKind.LongRope)
        {
            yield return ("rope_factors_long.weight", [.. scaling.LongFactors]);
            yield return ("rope_factors_short.weight", [.. scaling.ShortFactors]);
        }
    }

    private static void Sigmoid(GgufMetadata metadata, string prefix, ExpertOptions experts)
    {
        metadata.Add(prefix + "expert_shared_count", experts.SharedInnerSize / experts.InnerSize);
        metadata.Add(prefix + "expert_weights_scale", experts.WeightScale);
        metadata.Add(prefix + "expert_weights_norm", experts.NormalizeTopK);
        metadata.Add(prefix + "expert_gating_func", SigmoidGate);
        if (experts.Groups > 1 && experts.GroupsPerToken < experts.Groups)
        {
            metadata.Add(prefix + "expert_group_count", experts.Groups);
            metadata.Add(prefix + "expert_group_used_count", experts.GroupsPerToken);
        }
    }

    private const int SigmoidGate = 2;

    private static void Rope(GgufMetadata metadata, string prefix, DecoderConfig config)
    {
        metadata.Add(prefix + "rope.freq_base", config.RopeTheta);
        metadata.Add(prefix + "rope.dimension_count", config.RotarySize);
        if (config.WindowRope is { } own)
            metadata.Add(prefix + "rope.freq_base_swa", own.Theta);
        if (config.RopeScaling is not { } scaling)
            return;
        var original = scaling.OriginalMaxPositions ?? config.MaxPositions;
        switch (scaling.Kind)
        {
            case RopeScalingKind.Linear:
                metadata.Add(prefix + "rope.scaling.type", "linear");
                metadata.Add(prefix + "rope.scaling.factor", scaling.Factor);
                break;
            case RopeScalingKind.Yarn:
                metadata.Add(prefix + "rope.scaling.type", "yarn");
                metadata.Add(prefix + "rope.scaling.factor", scaling.Factor);
                metadata.Add(prefix + "rope.scaling.original_context_length", original);
                // a tenth of it there
                metadata.Add(prefix + "rope.scaling.yarn_log_multiplier", scaling.MScaleAllDimensions is { } all and not 0
                    ? 0.1 * all : null);
                break;
            case RopeScalingKind.LongRope:
                metadata.Add(prefix + "rope.scaling.type", "longrope");
                metadata.Add(prefix + "rope.scaling.original_context_length", original);
                metadata.Add(prefix + "rope.scaling.attn_factor", RopeFrequencies.Compute(config, original).AttentionFactor);
                break;
        }
    }

    private static void Windows(GgufMetadata metadata, string prefix, GgufLayout layout, DecoderConfig config, List<string> notes)
    {
        var windows = config.SlidingWindows.Where(window => window > 0).Distinct().ToArray();
        if (windows.Length == 0)
            return;
        if (layout.WindowPeriod == 0)
        {
            if (windows[0] < config.MaxPositions)
                notes.Add($"llama.cpp has no windows for {layout.Architecture}: texts of more than {windows[0]} tokens are read otherwise "
                    + "than here");
            return;
        }
        metadata.Add(prefix + "attention.sliding_window", windows[0]);
        if (layout.StatesWindowPeriod)
            metadata.Add(prefix + "attention.sliding_window_pattern", Period(config)!.Value);
    }

    /// <summary>n where the last of each n layers sees everything and the others have a window; null where it is otherwise.</summary>
    private static int? Period(DecoderConfig config)
    {
        var first = Enumerable.Range(0, config.Layers).FirstOrDefault(layer => config.SlidingWindow(layer) == 0, config.Layers);
        return Enumerable.Range(0, config.Layers).All(layer => config.SlidingWindow(layer) == 0 == ((layer + 1) % (first + 1) == 0))
            ? first + 1 : null;
    }

    // One factor on the scores of whole heads, none on the rotated part alone.
    private static bool HasScale(GgufLayout layout, RopeScaling yarn) => layout.Architecture == "deepseek2"
        ? yarn.MScale is not (null or 0) && yarn.MScale == yarn.MScaleAllDimensions : yarn.MScale is null or 0;

    private static void Judge(GgufLayout layout, DecoderConfig config)
    {
        var lacks = config.Head == ModelHead.Score ? "a head that scores texts"
            : layout.Lacks?.Invoke(config)
            ?? (layout.HasNoHead && !config.TiedHead ? "a head apart from the embedding" : null)
            ?? (Math.Abs(config.AttentionScale(0) / (layout.AttentionScale?.Invoke(config) ?? 1 / Math.Sqrt(config.HeadSize)) - 1) > 1e-6
                && !layout.StatesAttentionScale ? "this factor on the scores of attention (query_pre_attn_scalar)" : null)
            ?? (config.Experts is { DenseLayers: { Count: > 0 } dense } && !(layout.StatesDenseLayers
                && dense.SequenceEqual(Enumerable.Range(0, dense.Count))) ? "layers without experts" : null)
            ?? (config.RotarySize % 2 != 0 ? "an odd number of rotated dimensions" : null)
            ?? (config.RopeScaling is { Kind: RopeScalingKind.Dynamic or RopeScalingKind.NtkAware } scaling
                ? $"rope_type {scaling.Kind.ToString().ToLowerInvariant()}" : null)
            ?? (config.RopeScaling is { Kind: RopeScalingKind.Yarn } yarn && (yarn.AttentionFactor is not null
                || !HasScale(layout, yarn)
                || yarn.BetaFast != 32 || yarn.BetaSlow != 1 || !yarn.Truncate && !layout.RoundsYarn) ? "these settings of yarn" : null)
            ?? (config.RopeScaling?.Kind == RopeScalingKind.LongRope && layout.Architecture != "phi3" ? "rope_type longrope" : null)
            ?? (config.WindowRope is { Scaling: not null } ? "stretched positions in layers with a window" : null)
            ?? (layout.WindowPeriod > 0 && config.SlidingWindows.Count > 0 && (Period(config) is not { } period
                || period != layout.WindowPeriod && !layout.StatesWindowPeriod) ? "windows on these layers" : null)
            ?? (!config.LayersWithoutRope.SequenceEqual(Enumerable.Range(0, config.Layers)
                .Where(layer => layout.RopePeriod > 0 && (layer + 1) % layout.RopePeriod == 0)) ? "rotation on these layers" : null);
        if (lacks is not null)
            throw new InputException($"llama.cpp's {layout.Architecture} does not compute {lacks}, which this model has",
                why: "the file would open and answer nonsense", fix: "keep it as safetensors, which vLLM and transformers serve");
    }
}
