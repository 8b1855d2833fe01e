
namespace Handbook.Training.Schedules;

/// <summary>The shapes of the learning rate, as multipliers of the base rate.</summary>
/// <remarks>
/// With p = (s − W) / (T − W), the share of the run done after the warm-up:
/// <code>
/// linear                 m = max(0, (T − s) / (T − W))
/// cosine                 m = ½ (1 + cos(2π c p))                    c = num_cycles = ½: one half wave
/// cosine_with_restarts   m = ½ (1 + cos(π (c p mod 1)))             c = num_cycles = 1; 0 from p = 1 on
/// cosine_with_min_lr     m = ½ (1 + cos(2π c p)) (1 − r) + r        r = min_lr_rate, or min_lr / η
/// cosine_warmup_with_min_lr   the same one step early (s + 1), and a warm-up from warmup_lr_rate, or from 1 / W
/// polynomial             m = ((η − e) (1 − p)^power + e) / η        e = lr_end = 1e-7, power = 1
/// constant               m = 1
/// inverse_sqrt           m = 1 / √((s + τ − W) / τ)                 τ = timescale = W, or 10000 without warm-up
/// warmup_stable_decay    1 until the last num_decay_steps, then falling to r = min_lr_ratio
/// </code>
/// The same doubles as transformers' <c>get_scheduler</c>, operation by operation.
/// </remarks>
internal static class ScheduleShapes
{
    public static Func<int, double> Multiplier(SchedulerType type, ScheduleParameters parameters, int warmup, int total, double baseRate) =>
        type switch
        {
            SchedulerType.Linear => Warmed(warmup, s => Math.Max(0, (double)(total - s) / Math.Max(1, total - warmup))),
            SchedulerType.Cosine => Cosine(warmup, total, parameters.Number("num_cycles", 0.5), 0),
            SchedulerType.CosineWithMinLr => Cosine(warmup, total, parameters.Number("num_cycles", 0.5), Least(parameters, baseRate)),
            SchedulerType.CosineWarmupWithMinLr => CosineFromWarmupRate(warmup, total, parameters, baseRate),
            SchedulerType.CosineWithRestarts => Restarts(warmup, total, parameters.Number("num_cycles", 1)),
            SchedulerType.Polynomial =>
                Polynomial(warmup, total, baseRate, parameters.Number("lr_end", 1e-7), parameters.Number("power", 1)),
            SchedulerType.Constant => _ => 1,
            SchedulerType.ConstantWithWarmup => Warmed(warmup, _ => 1),
            SchedulerType.InverseSqrt => InverseSqrt(warmup, parameters.Number("timescale", warmup > 0 ? warmup : 10_000)),
            SchedulerType.WarmupStableDecay => WarmupStableDecay(warmup, total, parameters),
            _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a function of the step alone"),
        };

    private static Func<int, double> Warmed(int warmup, Func<int, double> after) =>
        s => s < warmup ? (double)s / Math.Max(1, warmup) : after(s);

    private static double Progress(int s, int warmup, int total) => (double)(s - warmup) / Math.Max(1, total - warmup);

    private static Func<int, double> Cosine(int warmup, int total, double cycles, double least) => Warmed(warmup, s =>
    {
        var factor = 0.5 * (1 + Math.Cos(Math.PI * cycles * 2 * Progress(s, warmup, total)));
        return Math.Max(0, factor * (1 - least) + least);
    });

    private static double Least(ScheduleParameters parameters, double baseRate) =>
        parameters.Has("min_lr") ? parameters.Number("min_lr", 0) / baseRate : parameters.Number("min_lr_rate", 0);

    private static Func<int, double> CosineFromWarmupRate(int warmup, int total, ScheduleParameters parameters, double baseRate)
    {
        var (least, cycles, start) = (Least(parameters, baseRate), parameters.Number("num_cycles", 0.5),
            parameters.Number("warmup_lr_rate", 0));
        return s =>
        {
            if (s < warmup)
                return parameters.Has("warmup_lr_rate") ? start + (1 - start) * s / Math.Max(1, warmup - 1)
                    : (s + 1.0) / Math.Max(1, warmup);
            var p = (s - warmup + 1.0) / Math.Max(1, total - warmup);
            var factor = 0.5 * (1 + Math.Cos(Math.PI * cycles * 2 * p));
            return Math.Max(0, factor * (1 - least) + least);
        };
    }

    private static Func<int, double> Restarts(int warmup, int total, double cycles) => Warmed(warmup, s =>
    {
        var p = Progress(s, warmup, total);
        return p >= 1 ? 0 : Math.Max(0, 0.5 * (1 + Math.Cos(Math.PI * (cycles * p % 1))));
    });

    private static Func<int, double> Polynomial(int warmup, int total, double baseRate, double end, double power) => Warmed(warmup, s =>
    {
        if (s > total)
            return end / baseRate;
        var remaining = total == warmup ? 0 : 1 - (double)(s - warmup) / (total - warmup);
        return ((baseRate - end) * Math.Pow(remaining, power) + end) / baseRate;
    });

    private static Func<int, double> InverseSqrt(int warmup, double timescale) =>
        Warmed(warmup, s => 1 / Math.Sqrt((s + (timescale - warmup)) / timescale));

    private static Func<int, double> WarmupStableDecay(int warmup, int total, ScheduleParameters parameters)
    {
        var decay = (int)parameters.Number("num_decay_steps", 0);
        var stable = (int)parameters.Number("num_stable_steps", total - warmup - decay);
        var (rise, fall) = (parameters.Text("warmup_type", "linear"), parameters.Text("decay_type", "cosine"));
        var (least, cycles) = (parameters.Number("min_lr_ratio", 0), parameters.Number("num_cycles", 0.5));
        return s =>
        {
            if (s < warmup)
                return Math.Max(0, Rise((double)s / Math.Max(1, warmup)) * (1 - least) + least);
            if (s < warmup + stable)
                return 1;
            return s < warmup + stable + decay
                ? Math.Max(0, Fall((double)(s - warmup - stable) / Math.Max(1, decay)) * (1 - least) + least)
                : least;
        };

        double Rise(double p) => rise switch
        {
            "cosine" => 0.5 * (1 - Math.Cos(Math.PI * p)),
            "1-sqrt" => 1 - Math.Sqrt(1 - p),
            _ => p,
        };

        double Fall(double p) => fall switch
        {
            "linear" => 1 - p,
            "1-sqrt" => 1 - Math.Sqrt(p),
            _ => 0.5 * (1 + Math.Cos(Math.PI * cycles * 2 * p)),
        };
    }
}
