namespace Handbook.Training.Methods.Preferences;

/// <summary>A number with its derivatives by two variables, so that a loss is written once, as its formula, and differentiates
/// itself.</summary>
/// <param name="Value">The number.</param>
/// <param name="First">Its derivative by the first variable, mostly the chosen answer's score.</param>
/// <param name="Second">Its derivative by the second variable, mostly the rejected answer's score.</param>
internal readonly record struct Dual(double Value, double First, double Second)
{
    /// <summary>The first variable itself.</summary>
    public static Dual Variable1(double value) => new(value, 1, 0);

    /// <summary>The second variable itself.</summary>
    public static Dual Variable2(double value) => new(value, 0, 1);

    public static implicit operator Dual(double constant) => new(constant, 0, 0);

    public static Dual operator -(Dual x) => new(-x.Value, -x.First, -x.Second);

    public static Dual operator +(Dual x, Dual y) => new(x.Value + y.Value, x.First + y.First, x.Second + y.Second);

    public static Dual operator -(Dual x, Dual y) => new(x.Value - y.Value, x.First - y.First, x.Second - y.Second);

    public static Dual operator *(Dual x, Dual y) =>
        new(x.Value * y.Value, x.First * y.Value + x.Value * y.First, x.Second * y.Value + x.Value * y.Second);

    public static Dual operator /(Dual x, double divisor) => new(x.Value / divisor, x.First / divisor, x.Second / divisor);

    public static Dual Square(Dual x) => x * x;

    /// <summary>max(0, x); the derivative at 0 is 0.</summary>
    public static Dual Relu(Dual x) => x.Value > 0 ? x : 0;

    /// <summary>σ(x) = 1 / (1 + e⁻ˣ).</summary>
    public static Dual Sigmoid(Dual x) => x.Through(SigmoidOf(x.Value), SigmoidOf(x.Value) * SigmoidOf(-x.Value));

    /// <summary>log σ(x), exact in both tails.</summary>
    public static Dual LogSigmoid(Dual x) => x.Through(LogSigmoidOf(x.Value), SigmoidOf(-x.Value));

    /// <summary>eˣ, constant from the cap on.</summary>
    public static Dual Exp(Dual x, double cap)
    {
        var power = Math.Exp(Math.Min(x.Value, cap));
        return x.Through(power, x.Value <= cap ? power : 0);
    }

    /// <summary>log(1 − eˣ) for x ≤ 0, constant from −10⁻¹² on, where 1 − eˣ has no digits left.</summary>
    public static Dual Log1MExp(Dual x)
    {
        const double Largest = -1e-12;
        if (x.Value > Largest)
            return Log1MExpOf(Largest);
        return x.Through(Log1MExpOf(x.Value), 1 / -ExpM1(-x.Value));
    }

    internal static double SigmoidOf(double x) => x >= 0 ? 1 / (1 + Math.Exp(-x)) : Math.Exp(x) / (1 + Math.Exp(x));

    internal static double LogSigmoidOf(double x) => Math.Min(x, 0) - Log1P(Math.Exp(-Math.Abs(x)));

    // the branch at −ln 2 avoids cancellation on both sides
    private static double Log1MExpOf(double x) => x < -0.6931471805599453 ? Log1P(-Math.Exp(x)) : Math.Log(-ExpM1(x));

    // log(1 + x) and eˣ − 1 with all digits near 0 (Kahan), which double.LogP1 and double.ExpM1 do not keep
    private static double Log1P(double x)
    {
        var y = 1 + x;
        return y == 1 ? x : Math.Log(y) * x / (y - 1);
    }

    private static double ExpM1(double x)
    {
        var y = Math.Exp(x);
        return y == 1 ? x : Math.Abs(x) > 1 ? y - 1 : (y - 1) * x / Math.Log(y);
    }

    private Dual Through(double value, double slope) => new(value, slope == 0 ? 0 : slope * First, slope == 0 ? 0 : slope * Second);
}
