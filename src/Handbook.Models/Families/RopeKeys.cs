namespace Handbook.Models.Families;

/// <summary>The keys of the rotary embedding: <c>rope_theta</c> and <c>rope_scaling</c> as transformers 4 writes them,
/// <c>rope_parameters</c> as 5 does.</summary>
internal sealed record RopeKeys(double Theta, double PartialRotary, RopeScaling? Scaling)
{
    /// <param name="hasAlpha">Whether <c>alpha</c> of a dynamic rotation is a fixed factor (HunYuan); the other classes pass it by.</param>
    public static RopeKeys Read(ConfigReader config, int maxPositions, double theta = 10000, double partialRotary = 1,
        bool hasAlpha = false)
    {
        theta = config.PositiveNumber(theta, "rope_theta", "rotary_emb_base");
        partialRotary = config.PositiveNumber(partialRotary, "partial_rotary_factor", "rotary_pct");
        var trained = config.Integer("original_max_position_embeddings");
        if (config.Section("rope_parameters") is { } five)
        {
            five = five.Section("full_attention") ?? five;      // of models that turn differently where they have a window
            theta = five.PositiveNumber(theta, "rope_theta");
            partialRotary = five.PositiveNumber(partialRotary, "partial_rotary_factor");
            return new(theta, partialRotary, ReadScaling(five, maxPositions, trained, isOld: false, hasAlpha));
        }
        return new(theta, partialRotary, config.Section("rope_scaling") is { } four
            ? ReadScaling(four, maxPositions, trained, isOld: true, hasAlpha) : null);
    }

    /// <summary>The rotation of layers with a window, where a model has another one there: <c>rope_local_base_freq</c> as transformers 4
    /// writes it, its own part of <c>rope_parameters</c> as 5 does.</summary>
    public static RopeKeys OfWindows(ConfigReader config, int maxPositions, double theta) =>
        config.Section("rope_parameters")?.Section("sliding_attention") is { } five
            ? new(five.PositiveNumber(theta, "rope_theta"), 1, ReadScaling(five, maxPositions, null, isOld: false))
            : new(config.PositiveNumber(theta, "rope_local_base_freq"), 1, null);

    /// <param name="trainedPositions">What the config itself says of the positions before stretching, as Phi 3's do; null
    /// where it says nothing.</param>
    /// <param name="isOld">The section is that of transformers 4.</param>
    /// <param name="hasAlpha">See <see cref="Read"/>.</param>
    private static RopeScaling? ReadScaling(ConfigReader rope, int maxPositions, int? trainedPositions, bool isOld, bool hasAlpha = false)
    {
        var type = rope.Text("rope_type") ?? rope.Text("type");
        if (type is null or "default")
            return null;
        if (hasAlpha && type == "dynamic" && rope.OptionalNumber("alpha") is { } alpha and not 0)
            return new() { Kind = RopeScalingKind.NtkAware, Alpha = alpha };
        RopeScalingKind? kind = type switch
        {
            "linear" => RopeScalingKind.Linear,
            "dynamic" => RopeScalingKind.Dynamic,
            "llama3" => RopeScalingKind.Llama3,
            // Phi 3's first files called LongRoPE so.
            "yarn" when !(rope.Has("short_factor") && rope.Has("long_factor")) => RopeScalingKind.Yarn,
            "longrope" or "su" or "yarn" => RopeScalingKind.LongRope,
            _ => null,
        };
        if (kind is not { } known)
        {
            rope.Problem($"{rope.Path}rope_type is \"{type}\", an unknown way to stretch positions; known: default, linear, dynamic, "
                + "llama3, yarn, longrope");
            return null;
        }
        int? original = known == RopeScalingKind.LongRope && trainedPositions is > 0 ? trainedPositions
            : rope.Has("original_max_position_embeddings") ? rope.Size("original_max_position_embeddings") : null;
        var scaling = new RopeScaling
        {
            Kind = known,
            OriginalMaxPositions = known is RopeScalingKind.Linear or RopeScalingKind.Dynamic ? null : original,
            // Release 4 took the ratio of the two lengths wherever the config itself states the shorter one.
            Factor = known == RopeScalingKind.LongRope && isOld && trainedPositions is > 0 ? (double)maxPositions / trainedPositions.Value
                : Factor(rope, known, original, maxPositions),
        };
        return known switch
        {
            RopeScalingKind.Llama3 => Llama3(rope, scaling),
            RopeScalingKind.Yarn => Yarn(rope, scaling),
            RopeScalingKind.LongRope => LongRope(rope, scaling),
            _ => scaling,
        };
    }

    private static double Factor(ConfigReader rope, RopeScalingKind kind, int? original, int maxPositions)
    {
        if (rope.OptionalNumber("factor") is { } factor)
        {
            if (factor >= 1)
                return factor;
            rope.Problem($"{rope.Path}factor is {factor}, but must be at least 1");
            return 1;
        }
        // DeepSeek and Phi 3 state the two lengths instead.
        if (original is { } length && kind is RopeScalingKind.Yarn or RopeScalingKind.LongRope)
            return (double)maxPositions / original!.Value;
        if (kind != RopeScalingKind.LongRope)
            rope.Problem($"{rope.Path}factor is missing");
        return 1;
    }

    private static RopeScaling Llama3(ConfigReader rope, RopeScaling scaling)
    {
        if (scaling.OriginalMaxPositions is null)
            rope.Problem($"{rope.Path}original_max_position_embeddings is missing");
        var low = rope.PositiveNumber(1, "low_freq_factor");
        var high = rope.PositiveNumber(4, "high_freq_factor");
        foreach (var key in (string[])["low_freq_factor", "high_freq_factor"])
            if (!rope.Has(key))
                rope.Problem($"{rope.Path}{key} is missing");
        if (high <= low)
            rope.Problem($"{rope.Path}high_freq_factor is {high}, but must be greater than low_freq_factor {low}");
        return scaling with { LowFrequencyFactor = low, HighFrequencyFactor = high };
    }

    private static RopeScaling Yarn(ConfigReader rope, RopeScaling scaling)
    {
        var (fast, slow) = (rope.PositiveNumber(32, "beta_fast"), rope.PositiveNumber(1, "beta_slow"));
        if (fast < slow)
            rope.Problem($"{rope.Path}beta_fast is {fast}, but must not be below beta_slow {slow}");
        return scaling with
        {
            AttentionFactor = AttentionFactor(rope),
            BetaFast = fast,
            BetaSlow = slow,
            MScale = rope.OptionalNumber("mscale"),
            MScaleAllDimensions = rope.OptionalNumber("mscale_all_dim"),
            Truncate = rope.Flag(true, "truncate"),
        };
    }

    private static RopeScaling LongRope(ConfigReader rope, RopeScaling scaling)
    {
        var (shorts, longs) = (rope.Numbers("short_factor"), rope.Numbers("long_factor"));
        if (shorts is null || longs is null)
            rope.Problem($"{rope.Path}short_factor and long_factor are both needed for rope_type longrope");
        return scaling with { AttentionFactor = AttentionFactor(rope), ShortFactors = shorts ?? [], LongFactors = longs ?? [] };
    }

    private static double? AttentionFactor(ConfigReader rope)
    {
        var factor = rope.OptionalNumber("attention_factor");
        if (factor is null or > 0)
            return factor;
        rope.Problem($"{rope.Path}attention_factor is {factor}, but must be greater than 0");
        return null;
    }
}
