using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Handbook.Torch.Kernels;

/// <summary>Elementary functions on sixteen float32 values. The polynomials are our own weighted minimax fits; a test measures every error
/// stated here.</summary>
internal static class VectorMath
{
    /// <summary>1.5 · 2²³: adding it rounds to a whole number, which then stands in the lowest bits.</summary>
    private const float Magic = 12582912f;

    /// <summary>eˣ, relative error below 1e-7 for results above 1.2e-38; 0 below −104, ∞ above 88.7, NaN stays NaN.</summary>
    /// <remarks><code>x = n·ln 2 + r, |r| ≤ ½ ln 2;   eˣ = 2ⁿ · ( 1 + r + r²·P(r) )</code></remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Exp(Vector512<float> x)
    {
        // The operand order matters: MAXPS and MINPS return their second operand when one is NaN.
        x = Vector512.MinNative(Vector512.Create(89f), Vector512.MaxNative(Vector512.Create(-105f), x));
        var n = Vector512.Round(x * Vector512.Create(1.44269504f));
        var r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693145752f), x);         // ln 2 in two parts: the first times n is exact
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-1.42860677e-6f), r);
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(0.0013814602f), r, Vector512.Create(0.0083687156f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.041668389f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.16666521f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.49999994f));
        p = Vector512.FusedMultiplyAdd(p, r * r, r) + Vector512<float>.One;
        return Shift(p, n);
    }

    /// <summary>2ᵗ for t ≤ 127, relative error below 1e-7 for results above 1.2e-38; 0 below −150, NaN stays NaN.</summary>
    /// <remarks><code>t = n + f, |f| ≤ ½;   2ᵗ = 2ⁿ · ( 1 + f·Q(f) )</code></remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> PowerOfTwo(Vector512<float> t)
    {
        t = Vector512.MaxNative(Vector512.Create(-151f), t);
        var n = Vector512.Round(t);
        var f = t - n;
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(0.00015353362f), f, Vector512.Create(0.0013398875f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.009618437f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.055503324f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.24022648f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.69314718f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512<float>.One);
        return Shift(p, n);
    }

    /// <summary>As <see cref="Exp"/>, but 0 already below −87.3, where the result would be subnormal: fewer instructions where there is no
    /// AVX-512.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> ExpOrZero(Vector512<float> x)
    {
        if (Avx512F.IsSupported)
            return Exp(x);
        var shifted = Vector512.FusedMultiplyAdd(x, Vector512.Create(1.44269504f), Vector512.Create(Magic));
        var n = shifted - Vector512.Create(Magic);
        var r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-0.693145752f), x);
        r = Vector512.FusedMultiplyAdd(n, Vector512.Create(-1.42860677e-6f), r);
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(0.0013814602f), r, Vector512.Create(0.0083687156f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.041668389f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.16666521f));
        p = Vector512.FusedMultiplyAdd(p, r, Vector512.Create(0.49999994f));
        p = Vector512.FusedMultiplyAdd(p, r * r, r) + Vector512<float>.One;
        p = (p.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
        p = Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512.Create(-87.33654f)), Vector512<float>.Zero, p);
        return Vector512.ConditionalSelect(Vector512.GreaterThan(x, Vector512.Create(88.72283f)), Vector512.Create(float.PositiveInfinity),
            p);
    }

    /// <summary>As <see cref="PowerOfTwo"/>, but 0 already below −126, where the result would be subnormal: fewer instructions where there
    /// is no AVX-512.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> PowerOfTwoOrZero(Vector512<float> t)
    {
        if (Avx512F.IsSupported)
            return PowerOfTwo(t);
        var shifted = t + Vector512.Create(Magic);
        var f = t - (shifted - Vector512.Create(Magic));
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(0.00015353362f), f, Vector512.Create(0.0013398875f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.009618437f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.055503324f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.24022648f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512.Create(0.69314718f));
        p = Vector512.FusedMultiplyAdd(p, f, Vector512<float>.One);
        p = (p.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
        return Vector512.ConditionalSelect(Vector512.LessThan(t, Vector512.Create(-126f)), Vector512<float>.Zero, p);
    }

    /// <summary>1 / (1 + e⁻ˣ), relative error below 2.5e-7 above −87.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Sigmoid(Vector512<float> x) => Vector512<float>.One / (Vector512<float>.One + ExpOrZero(-x));

    /// <summary>tanh x, relative error below 2.5e-7.</summary>
    /// <remarks><code>|x| &lt; 0.625:  x + x³·P(x²)        else  ± ( 1 − 2 / (e^2|x| + 1) )</code></remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Tanh(Vector512<float> x)
    {
        var magnitude = Vector512.Abs(x);
        var z = x * x;
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(-0.005603914f), z, Vector512.Create(0.020551719f));
        p = Vector512.FusedMultiplyAdd(p, z, Vector512.Create(-0.053714108f));
        p = Vector512.FusedMultiplyAdd(p, z, Vector512.Create(0.13331152f));
        p = Vector512.FusedMultiplyAdd(p, z, Vector512.Create(-0.33333272f));
        var near = Vector512.FusedMultiplyAdd(x * z, p, x);
        var far = Vector512<float>.One - Vector512.Create(2f) / (ExpOrZero(magnitude + magnitude) + Vector512<float>.One);
        far = Vector512.CopySign(far, x);
        return Vector512.ConditionalSelect(Vector512.LessThan(magnitude, Vector512.Create(0.625f)), near, far);
    }

    /// <summary>Φ(x), the normal distribution function, absolute error below 2.5e-7, and e^(−x²/2), which its density is made of.</summary>
    /// <remarks><code>
    /// Φ(−|x|) = ½ · e^(−x²/2) · erfcx(|x|/√2),   erfcx(y) = t·P(t),   t = 1 / (1 + 0.3275911·y)
    /// </code></remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> NormalCdf(Vector512<float> x, out Vector512<float> gauss)
    {
        var one = Vector512<float>.One;
        gauss = ExpOrZero(x * x * Vector512.Create(-0.5f));
        var t = one / Vector512.FusedMultiplyAdd(Vector512.Abs(x), Vector512.Create(0.3275911f * 0.70710678f), one);
        var p = Vector512.FusedMultiplyAdd(Vector512.Create(0.028620315f), t, Vector512.Create(-0.11285108f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.12396643f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(-0.035551175f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.076287605f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.094224416f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.12527251f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.15553378f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.17484672f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.1848271f));
        p = Vector512.FusedMultiplyAdd(p, t, Vector512.Create(0.18482341f));
        var lower = Vector512.Create(0.5f) * gauss * (p * t);
        return Vector512.ConditionalSelect(Vector512.LessThan(x, Vector512<float>.Zero), lower, one - lower);
    }

    /// <summary>erf for the plain float64 code, to a few roundings: a series of positive terms near 0, a continued fraction of erfc
    /// beyond.</summary>
    public static double Erf(double x)
    {
        var y = Math.Abs(x);
        if (double.IsNaN(x) || y > 6)
            return double.IsNaN(x) ? x : Math.Sign(x);
        var gauss = Math.Exp(-y * y) / Math.Sqrt(Math.PI);
        if (y < 2.5)
        {
            double term = x, sum = x;                                   // erf(x) = 2/√π · e^(−x²) · Σ 2ᵏ x^(2k+1) / (2k+1)!!
            for (var k = 1; Math.Abs(term) > 1e-17 * Math.Abs(sum); k++)
                sum += term *= 2 * x * x / (2 * k + 1);
            return 2 * gauss * sum;
        }
        var fraction = 0.0;                                             // erfc(y) = e^(−y²)/√π · 1/(y + ½/(y + 1/(y + 1½/(y + …))))
        for (var k = 80; k >= 1; k--)
            fraction = 0.5 * k / (y + fraction);
        return Math.Sign(x) * (1 - gauss / (y + fraction));
    }

    /// <summary>p · 2ⁿ for a whole n.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Shift(Vector512<float> p, Vector512<float> n)
    {
        if (Avx512F.IsSupported)
            return Avx512F.Scale(p, n);
        // Two factors, so that neither leaves the exponent's range. What NaN becomes does not matter: p is then NaN, and both factors are
        // 1.
        var exponent = Vector512.ConvertToInt32Native(n);
        var half = exponent >> 1;
        return p * Exponent(half) * Exponent(exponent - half);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Exponent(Vector512<int> n) => ((n + Vector512.Create(127)) << 23).AsSingle();
}
