using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>A function and its slope, for sixteen float32 values and for one float64.</summary>
internal interface IActivation
{
    static abstract Vector512<float> Value(Vector512<float> x);
    static abstract Vector512<float> Value(Vector512<float> x, out Vector512<float> slope);
    static abstract double Value(double x, out double slope);
}

internal readonly struct Silu : IActivation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x) => x / (Vector512<float>.One + VectorMath.ExpOrZero(-x));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x, out Vector512<float> slope)
    {
        var s = VectorMath.Sigmoid(x);
        var value = x * s;
        slope = Vector512.FusedMultiplyAdd(value, Vector512<float>.One - s, s);
        return value;
    }

    public static double Value(double x, out double slope)
    {
        var s = 1 / (1 + Math.Exp(-x));
        slope = s + x * s * (1 - s);
        return x * s;
    }
}

internal readonly struct Gelu : IActivation
{
    private const double DensityAtZero = 0.39894228040143267794;        // 1 / √(2π)

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x) => x * VectorMath.NormalCdf(x, out _);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x, out Vector512<float> slope)
    {
        var cdf = VectorMath.NormalCdf(x, out var gauss);
        slope = Vector512.FusedMultiplyAdd(x * Vector512.Create((float)DensityAtZero), gauss, cdf);
        return x * cdf;
    }

    public static double Value(double x, out double slope)
    {
        var cdf = 0.5 * (1 + VectorMath.Erf(x / Math.Sqrt(2)));
        slope = cdf + x * DensityAtZero * Math.Exp(-x * x / 2);
        return x * cdf;
    }
}

/// <remarks><code>½·(1 + tanh u) = σ(2u),   2u = x·(a + b·x²)</code></remarks>
internal readonly struct GeluTanh : IActivation
{
    private const double A = 1.59576912160573071176, B = A * 0.044715;  // 2·√(2/π)

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x) =>
        x * VectorMath.Sigmoid(x * Vector512.FusedMultiplyAdd(x * x, Vector512.Create((float)B), Vector512.Create((float)A)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x, out Vector512<float> slope)
    {
        var square = x * x;
        var s = VectorMath.Sigmoid(x * Vector512.FusedMultiplyAdd(square, Vector512.Create((float)B), Vector512.Create((float)A)));
        var value = x * s;
        var inner = Vector512.FusedMultiplyAdd(square, Vector512.Create((float)(3 * B)), Vector512.Create((float)A));
        slope = Vector512.FusedMultiplyAdd(value * (Vector512<float>.One - s), inner, s);
        return value;
    }

    public static double Value(double x, out double slope)
    {
        var s = 1 / (1 + Math.Exp(-x * (A + B * x * x)));
        slope = s + x * s * (1 - s) * (A + 3 * B * x * x);
        return x * s;
    }
}

internal readonly struct QuickGelu : IActivation
{
    private const double K = 1.702;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x) => x * VectorMath.Sigmoid(x * (float)K);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x, out Vector512<float> slope)
    {
        var s = VectorMath.Sigmoid(x * (float)K);
        var value = x * s;
        slope = Vector512.FusedMultiplyAdd(value * (float)K, Vector512<float>.One - s, s);
        return value;
    }

    public static double Value(double x, out double slope)
    {
        var s = 1 / (1 + Math.Exp(-K * x));
        slope = s + K * x * s * (1 - s);
        return x * s;
    }
}

internal readonly struct Relu : IActivation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x) => Vector512.MaxNative(Vector512<float>.Zero, x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x, out Vector512<float> slope)
    {
        slope = Vector512.ConditionalSelect(Vector512.GreaterThan(x, Vector512<float>.Zero), Vector512<float>.One, Vector512<float>.Zero);
        return Value(x);
    }

    public static double Value(double x, out double slope)
    {
        slope = x > 0 ? 1 : 0;
        return Math.Max(0, x);
    }
}

internal readonly struct ReluSquared : IActivation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x)
    {
        var positive = Vector512.MaxNative(Vector512<float>.Zero, x);
        return positive * positive;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x, out Vector512<float> slope)
    {
        var positive = Vector512.MaxNative(Vector512<float>.Zero, x);
        slope = positive + positive;
        return positive * positive;
    }

    public static double Value(double x, out double slope)
    {
        var positive = Math.Max(0, x);
        slope = 2 * positive;
        return positive * positive;
    }
}

internal readonly struct HyperbolicTangent : IActivation
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x) => VectorMath.Tanh(x);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Vector512<float> Value(Vector512<float> x, out Vector512<float> slope)
    {
        var value = VectorMath.Tanh(x);
        slope = Vector512.FusedMultiplyAdd(-value, value, Vector512<float>.One);
        return value;
    }

    public static double Value(double x, out double slope)
    {
        var value = Math.Tanh(x);
        slope = 1 - value * value;
        return value;
    }
}
