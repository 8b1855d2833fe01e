namespace Handbook.Models;

/// <summary>Angles of the rotary position embedding: position p turns pair i by <c>p · Inverse[i]</c>; cos and sin are multiplied by
/// <c>AttentionFactor</c>.</summary>
/// <param name="Inverse">One frequency per pair; [RotarySize / 2], rounded up.</param>
internal sealed record RopeFrequencies(double[] Inverse, double AttentionFactor)
{
    /// <summary>The frequencies for sequences of a length.</summary>
    /// <remarks>
    /// <code>
    /// plain     f_i = θ^(−2i/d)
    /// linear    f_i / s
    /// ntk       θ' = θ · α^(d/(d−2))
    /// dynamic   θ' = θ · (s·n/m − (s − 1))^(d/(d−2)),  n = max(length, m)
    /// llama3    f_i / s  where 2π/f_i &gt; m/low;  f_i  where 2π/f_i &lt; m/high;  else (1−t)·f_i/s + t·f_i,  t = (m·f_i/2π − low) / (high − low)
    /// yarn      r_i·f_i/s + (1−r_i)·f_i,  r a ramp from the dimension that turns β_fast times within m to the one that turns β_slow times
    /// longrope  f_i / short_i up to m, f_i / long_i beyond
    /// </code>
    /// with d the rotated dimensions, s the factor, m the original length. Same formulas as the reference library, in float64.
    /// </remarks>
    /// <param name="sequenceLength">Largest position + 1 of the batch; matters for dynamic and longrope only.</param>
    public static RopeFrequencies Compute(DecoderConfig config, int sequenceLength) =>
        Compute(config, new(config.RopeTheta, config.RopeScaling), sequenceLength);

    /// <inheritdoc cref="Compute(DecoderConfig, int)"/>
    /// <param name="rope">θ and how it is stretched.</param>
    public static RopeFrequencies Compute(DecoderConfig config, RopeBase rope, int sequenceLength)
    {
        var d = config.RotarySize;
        var theta = rope.Theta;
        if (rope.Scaling is not { } scaling)
            return new(Plain(theta, d), 1);
        var original = scaling.OriginalMaxPositions ?? config.MaxPositions;
        switch (scaling.Kind)
        {
            case RopeScalingKind.Linear:
                return new(Map(Plain(theta, d), f => f / scaling.Factor), 1);
            case RopeScalingKind.NtkAware:
                return new(Plain(theta * Math.Pow(scaling.Alpha, d / (d - 2.0)), d), 1);
            case RopeScalingKind.Dynamic:
                double m = config.MaxPositions;
                var n = Math.Max(sequenceLength, m);
                var stretched = theta * Math.Pow(scaling.Factor * n / m - (scaling.Factor - 1), d / (d - 2.0));
                return new(Plain(stretched, d), 1);
            case RopeScalingKind.Llama3:
                return new(Map(Plain(theta, d), f => Llama3(f, scaling, original)), 1);
            case RopeScalingKind.Yarn:
                return new(Yarn(theta, d, scaling, original), YarnAttentionFactor(scaling));
            case RopeScalingKind.LongRope:
                var divisors = sequenceLength > original ? scaling.LongFactors : scaling.ShortFactors;
                var plain = Plain(theta, d);
                for (var i = 0; i < plain.Length; i++)
                    plain[i] /= divisors[i];
                return new(plain, LongRopeAttentionFactor(scaling, original));
            default:
                throw new ArgumentOutOfRangeException(nameof(config), scaling.Kind, "not a kind of rope scaling");
        }
    }

    /// <summary>Whether the frequencies depend on the sequence's length, so that they cannot be computed once.</summary>
    public static bool DependOnLength(DecoderConfig config) =>
        DependOnLength(config.RopeScaling) || DependOnLength(config.WindowRope?.Scaling);

    /// <inheritdoc cref="DependOnLength(DecoderConfig)"/>
    public static bool DependOnLength(RopeScaling? scaling) => scaling?.Kind is RopeScalingKind.Dynamic or RopeScalingKind.LongRope;

    private static double[] Plain(double theta, int d)
    {
        var inverse = new double[(d + 1) / 2];
        for (var i = 0; i < inverse.Length; i++)
            inverse[i] = Math.Pow(theta, -2.0 * i / d);
        return inverse;
    }

    private static double[] Map(double[] values, Func<double, double> f)
    {
        for (var i = 0; i < values.Length; i++)
            values[i] = f(values[i]);
        return values;
    }

    private static double Llama3(double f, RopeScaling scaling, int original)
    {
        var wavelength = 2 * Math.PI / f;
        var (low, high) = (scaling.LowFrequencyFactor, scaling.HighFrequencyFactor);
        if (wavelength > original / low)
            return f / scaling.Factor;
        if (wavelength < original / high)
            return f;
        var t = (original / wavelength - low) / (high - low);
        return (1 - t) * f / scaling.Factor + t * f;
    }

    private static double[] Yarn(double theta, int d, RopeScaling scaling, int original)
    {
        // The (fractional) dimension that makes this many turns within the original length.
        double Dimension(double turns) => d * Math.Log(original / (turns * 2 * Math.PI)) / (2 * Math.Log(theta));
        var low = Dimension(scaling.BetaFast);
        var high = Dimension(scaling.BetaSlow);
        if (scaling.Truncate)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        (low, high) = (Math.Max(low, 0), Math.Min(high, d - 1));
        if (low == high)
            high += 0.001;
        var inverse = Plain(theta, d);
        for (var i = 0; i < inverse.Length; i++)
        {
            var ramp = Math.Clamp((i - low) / (high - low), 0, 1);
            inverse[i] = inverse[i] / scaling.Factor * ramp + inverse[i] * (1 - ramp);
        }
        return inverse;
    }

    private static double YarnAttentionFactor(RopeScaling scaling)
    {
        static double Scale(double factor, double m) => factor <= 1 ? 1 : 0.1 * m * Math.Log(factor) + 1;
        if (scaling.AttentionFactor is { } given)
            return given;
        if (scaling.MScale is { } m and not 0 && scaling.MScaleAllDimensions is { } all and not 0)
            return Scale(scaling.Factor, m) / Scale(scaling.Factor, all);
        return Scale(scaling.Factor, 1);
    }

    private static double LongRopeAttentionFactor(RopeScaling scaling, int original)
    {
        if (scaling.AttentionFactor is { } given)
            return given;
        return scaling.Factor <= 1 ? 1 : Math.Sqrt(1 + Math.Log(scaling.Factor) / Math.Log(original));
    }
}
