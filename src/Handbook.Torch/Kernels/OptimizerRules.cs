using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Handbook.Torch.Kernels;

/// <summary>AdamW with torch's semantics. Loshchilov and Hutter 2019, arXiv:1711.05101.</summary>
/// <remarks>
/// <code>
/// p ← p·(1 − η·λ)
/// m ← m + (1−β₁)·(g − m);   v ← β₂·v + (1−β₂)·g²
/// p ← p − η/(1−β₁ᵗ) · m / ( √v/√(1−β₂ᵗ) + ε )
/// </code>
/// </remarks>
/// <param name="rate">η.</param>
/// <param name="beta1">β₁.</param>
/// <param name="beta2">β₂.</param>
/// <param name="epsilon">ε.</param>
/// <param name="decay">λ.</param>
/// <param name="step">t, from 1.</param>
/// <param name="decoupled">False for Adam: the decay is added to the gradient instead, g + λ·p.</param>
internal readonly struct AdamRule(double rate, double beta1, double beta2, double epsilon, double decay, long step, bool decoupled = true)
    : IOptimizerRule
{
    private readonly double _keep = decoupled ? 1 - rate * decay : 1, _decay = decoupled ? 0 : decay, _fresh1 = 1 - beta1, _beta2 = beta2,
        _fresh2 = 1 - beta2;
    private readonly double _stepSize = rate / (1 - Math.Pow(beta1, step)), _root = 1 / Math.Sqrt(1 - Math.Pow(beta2, step)),
        _epsilon = epsilon;

    public RuleNumbers Numbers => new(RuleKind.Adam, (float)_keep, (float)_decay, (float)_fresh1, (float)_beta2, (float)_fresh2,
        (float)_stepSize, (float)_root, (float)_epsilon);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Update(Vector512<float> p, Vector512<float> g, ref Vector512<float> a, ref Vector512<float> b)
    {
        g = Vector512.FusedMultiplyAdd(p, Vector512.Create((float)_decay), g);
        a = Vector512.FusedMultiplyAdd(g - a, Vector512.Create((float)_fresh1), a);
        b = Vector512.FusedMultiplyAdd(g * g, Vector512.Create((float)_fresh2), b * (float)_beta2);
        var denominator = Vector512.FusedMultiplyAdd(Vector512.Sqrt(b), Vector512.Create((float)_root), Vector512.Create((float)_epsilon));
        return Vector512.FusedMultiplyAdd(a / denominator, Vector512.Create((float)-_stepSize), p * (float)_keep);
    }

    public double Update(double p, double g, ref double a, ref double b)
    {
        g += _decay * p;
        a += _fresh1 * (g - a);
        b = _beta2 * b + _fresh2 * g * g;
        return p * _keep - _stepSize * a / (Math.Sqrt(b) * _root + _epsilon);
    }
}

/// <summary>Gradient descent, torch's SGD: one state where there is momentum, none otherwise.</summary>
/// <remarks><code>g ← g + λ·p;   m ← μ·m + g (first step: m = g);   p ← p − η·m, or p − η·(g + μ·m) with Nesterov</code></remarks>
/// <param name="rate">η.</param>
/// <param name="momentum">μ.</param>
/// <param name="decay">λ.</param>
/// <param name="nesterov">Look ahead.</param>
internal readonly struct SgdRule(double rate, double momentum, double decay, bool nesterov = false) : IOptimizerRule
{
    private readonly double _rate = rate, _momentum = momentum, _decay = decay;
    private readonly bool _nesterov = nesterov;

    public RuleNumbers Numbers => new(RuleKind.Sgd, (float)_rate, (float)_momentum, (float)_decay, _nesterov ? 1 : 0);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Update(Vector512<float> p, Vector512<float> g, ref Vector512<float> a, ref Vector512<float> b)
    {
        g = Vector512.FusedMultiplyAdd(p, Vector512.Create((float)_decay), g);
        a = Vector512.FusedMultiplyAdd(a, Vector512.Create((float)_momentum), g);        // from m = 0 the first step gives g
        var direction = _nesterov ? Vector512.FusedMultiplyAdd(a, Vector512.Create((float)_momentum), g) : a;
        return Vector512.FusedMultiplyAdd(direction, Vector512.Create((float)-_rate), p);
    }

    public double Update(double p, double g, ref double a, ref double b)
    {
        g += _decay * p;
        a = _momentum * a + g;
        return p - _rate * (_nesterov ? g + _momentum * a : a);
    }
}

/// <summary>RMSprop as in torch, without momentum: one state.</summary>
/// <remarks><code>v ← α·v + (1−α)·g²;   p ← p − η·g / (√v + ε)</code></remarks>
/// <param name="rate">η.</param>
/// <param name="alpha">α, 0.99 in torch.</param>
/// <param name="epsilon">ε, 1e-8 in torch.</param>
/// <param name="decay">λ: g + λ·p takes the gradient's place.</param>
internal readonly struct RmsPropRule(double rate, double alpha, double epsilon, double decay) : IOptimizerRule
{
    private readonly double _rate = rate, _alpha = alpha, _epsilon = epsilon, _decay = decay;

    public RuleNumbers Numbers => new(RuleKind.RmsProp, (float)_rate, (float)_alpha, (float)(1 - _alpha), (float)_epsilon, (float)_decay);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Update(Vector512<float> p, Vector512<float> g, ref Vector512<float> a, ref Vector512<float> b)
    {
        g = Vector512.FusedMultiplyAdd(p, Vector512.Create((float)_decay), g);
        a = Vector512.FusedMultiplyAdd(g * g, Vector512.Create((float)(1 - _alpha)), a * (float)_alpha);
        return Vector512.FusedMultiplyAdd(g / (Vector512.Sqrt(a) + Vector512.Create((float)_epsilon)), Vector512.Create((float)-_rate), p);
    }

    public double Update(double p, double g, ref double a, ref double b)
    {
        g += _decay * p;
        a = _alpha * a + (1 - _alpha) * g * g;
        return p - _rate * g / (Math.Sqrt(a) + _epsilon);
    }
}

/// <summary>Adagrad as in torch: one state. Duchi et al. 2011.</summary>
/// <remarks><code>v ← v + g²;   p ← p − η/(1 + (t−1)·κ) · g / (√v + ε)</code></remarks>
/// <param name="rate">η.</param>
/// <param name="epsilon">ε, 1e-10 in torch.</param>
/// <param name="decay">λ: g + λ·p takes the gradient's place.</param>
/// <param name="rateDecay">κ, 0 in torch.</param>
/// <param name="step">t, from 1.</param>
internal readonly struct AdagradRule(double rate, double epsilon, double decay, double rateDecay, long step) : IOptimizerRule
{
    private readonly double _rate = rate / (1 + (step - 1) * rateDecay), _epsilon = epsilon, _decay = decay;

    public RuleNumbers Numbers => new(RuleKind.Adagrad, (float)_rate, (float)_epsilon, (float)_decay);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Update(Vector512<float> p, Vector512<float> g, ref Vector512<float> a, ref Vector512<float> b)
    {
        g = Vector512.FusedMultiplyAdd(p, Vector512.Create((float)_decay), g);
        a = Vector512.FusedMultiplyAdd(g, g, a);
        return Vector512.FusedMultiplyAdd(g / (Vector512.Sqrt(a) + Vector512.Create((float)_epsilon)), Vector512.Create((float)-_rate), p);
    }

    public double Update(double p, double g, ref double a, ref double b)
    {
        g += _decay * p;
        a += g * g;
        return p - _rate * g / (Math.Sqrt(a) + _epsilon);
    }
}

/// <summary>Lion: one state. Chen et al. 2023, arXiv:2302.06675, algorithm 2.</summary>
/// <remarks><code>p ← p·(1 − η·λ) − η·sign( β₁·m + (1−β₁)·g );   m ← β₂·m + (1−β₂)·g</code></remarks>
/// <param name="rate">η.</param>
/// <param name="beta1">β₁, 0.9.</param>
/// <param name="beta2">β₂, 0.99.</param>
/// <param name="decay">λ.</param>
internal readonly struct LionRule(double rate, double beta1, double beta2, double decay) : IOptimizerRule
{
    private readonly double _rate = rate, _beta1 = beta1, _beta2 = beta2, _keep = 1 - rate * decay;

    public RuleNumbers Numbers => new(RuleKind.Lion, (float)_rate, (float)_beta1, (float)(1 - _beta1), (float)_beta2, (float)(1 - _beta2),
        (float)_keep);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Update(Vector512<float> p, Vector512<float> g, ref Vector512<float> a, ref Vector512<float> b)
    {
        var direction = Vector512.FusedMultiplyAdd(g, Vector512.Create((float)(1 - _beta1)), a * (float)_beta1);
        var sign = Vector512.ConditionalSelect(Vector512.Equals(direction, Vector512<float>.Zero), direction,
            Vector512.CopySign(Vector512<float>.One, direction));
        sign = Vector512.ConditionalSelect(Vector512.Equals(direction, direction), sign, direction);       // NaN stays NaN
        a = Vector512.FusedMultiplyAdd(g, Vector512.Create((float)(1 - _beta2)), a * (float)_beta2);
        return Vector512.FusedMultiplyAdd(sign, Vector512.Create((float)-_rate), p * (float)_keep);
    }

    public double Update(double p, double g, ref double a, ref double b)
    {
        var direction = _beta1 * a + (1 - _beta1) * g;
        a = _beta2 * a + (1 - _beta2) * g;
        return p * _keep - _rate * (double.IsNaN(direction) ? direction : Math.Sign(direction));
    }
}

/// <summary>Schedule-free AdamW: two states, z and v; the parameter is y, where gradients are taken. Defazio et al. 2024,
/// arXiv:2405.15682, algorithm 1.</summary>
/// <remarks>
/// <code>
/// v ← β₂·v + (1−β₂)·g²;   d = g / ( √v/√(1−β₂ᵗ) + ε ) + λ·y
/// y ← (1−c)·y + c·z + η·(β₁·(1−c) − 1)·d
/// z ← z − η·d
/// x = y + (1 − 1/β₁)·(z − y), the mean that is evaluated and saved, is never stored
/// </code>
/// As in the authors' package, the weight decay is taken at y.
/// </remarks>
/// <param name="rate">η, warm-up included.</param>
/// <param name="beta1">β₁: how near y is to x.</param>
/// <param name="beta2">β₂.</param>
/// <param name="epsilon">ε.</param>
/// <param name="decay">λ.</param>
/// <param name="share">c, the weight of this step in the mean.</param>
/// <param name="step">t, from 1.</param>
internal readonly struct ScheduleFreeRule(double rate, double beta1, double beta2, double epsilon, double decay, double share, long step)
    : IOptimizerRule
{
    private readonly double _rate = rate, _beta2 = beta2, _epsilon = epsilon, _decay = decay, _share = share;
    private readonly double _root = 1 / Math.Sqrt(1 - Math.Pow(beta2, step)), _pull = rate * (beta1 * (1 - share) - 1);

    public RuleNumbers Numbers => new(RuleKind.ScheduleFree, (float)_rate, (float)_beta2, (float)(1 - _beta2), (float)_epsilon, (float)_decay,
        (float)_share, (float)_root, (float)_pull);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector512<float> Update(Vector512<float> p, Vector512<float> g, ref Vector512<float> a, ref Vector512<float> b)
    {
        b = Vector512.FusedMultiplyAdd(g * g, Vector512.Create((float)(1 - _beta2)), b * (float)_beta2);
        var denominator = Vector512.FusedMultiplyAdd(Vector512.Sqrt(b), Vector512.Create((float)_root), Vector512.Create((float)_epsilon));
        var direction = Vector512.FusedMultiplyAdd(p, Vector512.Create((float)_decay), g / denominator);
        p = Vector512.FusedMultiplyAdd(a - p, Vector512.Create((float)_share), p);
        a = Vector512.FusedMultiplyAdd(direction, Vector512.Create((float)-_rate), a);
        return Vector512.FusedMultiplyAdd(direction, Vector512.Create((float)_pull), p);
    }

    public double Update(double p, double g, ref double a, ref double b)
    {
        b = _beta2 * b + (1 - _beta2) * g * g;
        var direction = g / (Math.Sqrt(b) * _root + _epsilon) + _decay * p;
        p += _share * (a - p);
        a -= _rate * direction;
        return p + _pull * direction;
    }
}
