namespace Handbook.Training.Methods.Preferences;

/// <summary>The losses of preference pairs and of single answers, each as its paper writes it.</summary>
/// <remarks>
/// <code>
/// ρ(y) = log π(y|x) − log π_ref(y|x)        log-ratio; s(y) = g(ρ(y)) under another divergence than reverse KL
/// h = β · ( s(chosen) − s(rejected) )       r(y) = β · s(y)
/// </code>
/// </remarks>
internal static class PairLosses
{
    /// <summary>Where exponents stop, so that eˣ and its products stay finite: log of the largest float32, to four places.</summary>
    public const double ExponentCap = 88.7228;

    /// <summary><c>sigmoid</c>: −(1−ε) log σ(h) − ε log σ(−h). DPO, arXiv:2305.18290, eq. 7; with ε, cDPO (E. Mitchell, 2023), eq.
    /// 3.</summary>
    public static Dual Sigmoid(Dual h, double epsilon) => epsilon == 0
        ? -Dual.LogSigmoid(h)
        : -(1 - epsilon) * Dual.LogSigmoid(h) - epsilon * Dual.LogSigmoid(-h);

    /// <summary><c>hinge</c>: max(0, 1 − h). SLiC, arXiv:2305.10425; RSO, arXiv:2309.06657.</summary>
    public static Dual Hinge(Dual h) => Dual.Relu(1 - h);

    /// <summary><c>ipo</c>: (Δ − 1/(2β))², Δ the difference of scores per token. IPO, arXiv:2310.12036, eq. 17, where β is τ.</summary>
    public static Dual Ipo(Dual delta, double beta) => Dual.Square(delta - 1 / (2 * beta));

    /// <summary><c>exo_pair</c>: σ(h)[log σ(h) − log(1−ε)] + σ(−h)[log σ(−h) − log ε]. EXO, arXiv:2402.00856, eq. 16.</summary>
    public static Dual Exo(Dual h, double epsilon) =>
        Dual.Sigmoid(h) * (Dual.LogSigmoid(h) - Math.Log(1 - epsilon)) + Dual.Sigmoid(-h) * (Dual.LogSigmoid(-h) - Math.Log(epsilon));

    /// <summary><c>nca_pair</c>: −log σ(r_w) − ½ log σ(−r_w) − ½ log σ(−r_l). NCA, arXiv:2402.05369.</summary>
    public static Dual Nca(Dual chosen, Dual rejected) =>
        -Dual.LogSigmoid(chosen) - 0.5 * Dual.LogSigmoid(-chosen) - 0.5 * Dual.LogSigmoid(-rejected);

    /// <summary><c>robust</c>: [ −(1−ε) log σ(h) + ε log σ(−h) ] / (1−2ε). arXiv:2403.00409.</summary>
    public static Dual Robust(Dual h, double epsilon) =>
        (-(1 - epsilon) * Dual.LogSigmoid(h) + epsilon * Dual.LogSigmoid(-h)) / (1 - 2 * epsilon);

    /// <summary><c>bco_pair</c>: −log σ(r_w − δ) − log σ(−(r_l − δ)). BCO, arXiv:2404.04656.</summary>
    public static Dual Bco(Dual chosen, Dual rejected, double delta) => BcoDesirable(chosen, delta) + BcoUndesirable(rejected, delta);

    /// <summary>BCO of a good answer: −log σ(r − δ).</summary>
    public static Dual BcoDesirable(Dual reward, double delta) => -Dual.LogSigmoid(reward - delta);

    /// <summary>BCO of a bad answer: −log σ(−(r − δ)).</summary>
    public static Dual BcoUndesirable(Dual reward, double delta) => -Dual.LogSigmoid(-(reward - delta));

    /// <summary><c>sppo_hard</c>: (s_w − 1/(2β))² + (s_l + 1/(2β))². SPPO, arXiv:2405.00675, eq. 4.7 with probabilities 0 and 1.</summary>
    public static Dual SppoHard(Dual chosen, Dual rejected, double beta) =>
        Dual.Square(chosen - 0.5 / beta) + Dual.Square(rejected + 0.5 / beta);

    /// <summary><c>apo_zero</c>: [1 − σ(βρ_w)] + σ(βρ_l). APO, arXiv:2408.06266, eq. 7.</summary>
    public static Dual ApoZero(Dual chosen, Dual rejected) => Dual.Sigmoid(-chosen) + Dual.Sigmoid(rejected);

    /// <summary><c>apo_down</c>: σ(βρ_w) + [1 − σ(h)]. APO, arXiv:2408.06266, eq. 8.</summary>
    public static Dual ApoDown(Dual chosen, Dual h) => Dual.Sigmoid(chosen) + Dual.Sigmoid(-h);

    /// <summary><c>discopop</c>: (1−κ)·(−log σ(h)) + κ·e⁻ʰ with κ = σ(h/τ). DiscoPOP, arXiv:2406.08414, eq. 5.</summary>
    /// <remarks>κ·e⁻ʰ is exp(log κ − h): for τ below 1 it vanishes where h is very negative, and κ and e⁻ʰ apart would be 0·∞.</remarks>
    public static Dual Discopop(Dual h, double tau) =>
        Dual.Sigmoid(-h / tau) * -Dual.LogSigmoid(h) + Dual.Exp(Dual.LogSigmoid(h / tau) - h, ExponentCap);

    /// <summary><c>kto</c> of a good answer: 1 − σ(β(ρ − z)). KTO, arXiv:2402.01306.</summary>
    public static Dual KtoDesirable(Dual ratio, Dual z, double beta) => Dual.Sigmoid(-(beta * (ratio - z)));

    /// <summary><c>kto</c> of a bad answer: 1 − σ(β(z − ρ)).</summary>
    public static Dual KtoUndesirable(Dual ratio, Dual z, double beta) => Dual.Sigmoid(-(beta * (z - ratio)));

    /// <summary>log odds(y) = log p̄ − log(1 − p̄), from log p̄, the mean log-probability of a token. ORPO, arXiv:2403.07691, eq.
    /// 4.</summary>
    public static Dual LogOdds(Dual logProb) => logProb - Dual.Log1MExp(logProb);

    /// <summary>AlphaPO's reward (1 − p^−α) / α, from log p; log p itself where α is 0. arXiv:2501.03884.</summary>
    public static Dual AlphaReward(Dual logProb, double alpha) =>
        alpha == 0 ? logProb : (1 - Dual.Exp(-alpha * logProb, ExponentCap)) / alpha;
}
