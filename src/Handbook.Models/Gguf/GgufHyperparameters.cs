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
            metadata.Add(prefix + "expert_feed_forward_length", experts.InnerSize > 0 ? experts.InnerSize : null);
            metadata.Add(prefix + "expert_shared_feed_forward_length", experts.SharedInnerSize > 0 ? experts.SharedInnerSize : null);
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

    private static void Judge(GgufLayout layout, DecoderConfig config)
    {
        var lacks = config.Head == ModelHead.Score ? "a head that scores texts"
            : layout.Lacks?.Invoke(config)
            ?? (layout.HasNoHead && !config.TiedHead ? "a head apart from the embedding" : null)
            ?? (Math.Abs(config.AttentionScale(0) / (layout.AttentionScale?.Invoke(config) ?? 1 / Math.Sqrt(config.HeadSize)) - 1) > 1e-6
                && !layout.StatesAttentionScale ? "this factor on the scores of attention (query_pre_attn_scalar)" : null)
            ?? (config.Experts is { DenseLayers.Count: > 0 } ? "layers without experts" : null)
            ?? (config.RotarySize % 2 != 0 ? "an odd number of rotated dimensions" : null)
            ?? (config.RopeScaling is { Kind: RopeScalingKind.Dynamic or RopeScalingKind.NtkAware } scaling
                ? $"rope_type {scaling.Kind.ToString().ToLowerInvariant()}" : null)
            ?? (config.RopeScaling is { Kind: RopeScalingKind.Yarn } yarn && (yarn.AttentionFactor is not null
                || yarn.MScale is not (null or 0)
                || yarn.BetaFast != 32 || yarn.BetaSlow != 1 || !yarn.Truncate) ? "these settings of yarn" : null)
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
