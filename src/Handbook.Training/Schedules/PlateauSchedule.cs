namespace Handbook.Training.Schedules;

/// <summary>Lowers the rate when a metric has not improved for a while; the rate depends on what was reported, not on the step.</summary>
/// <remarks>
/// <code>
/// better = metric &lt; best (1 − threshold)      mode min, threshold_mode rel; the others accordingly
/// after more than patience reports without a better one: rate ← max(rate · factor, min_lr), then cooldown reports without counting
/// </code>
/// The semantics and defaults of torch's <c>ReduceLROnPlateau</c>: factor 0.1, patience 10, threshold 1e-4, cooldown 0, min_lr 0, eps 1e-8.
/// </remarks>
internal sealed class PlateauSchedule(double baseRate, ScheduleParameters parameters) : LearningRateSchedule(baseRate, _ => 1)
{
    private readonly double _factor = parameters.Number("factor", 0.1);
    private readonly double _patience = parameters.Number("patience", 10);
    private readonly double _threshold = parameters.Number("threshold", 1e-4);
    private readonly bool _relative = parameters.Text("threshold_mode", "rel") == "rel";
    private readonly bool _greater = parameters.Text("mode", "min") == "max";
    private readonly int _cooldown = (int)parameters.Number("cooldown", 0);
    private readonly double _least = parameters.Number("min_lr", 0);
    private readonly double _epsilon = parameters.Number("eps", 1e-8);
    private PlateauState _state = new(baseRate, Best: null, BadReports: 0, Cooldown: 0);

    public override PlateauState? State
    {
        get => _state;
        set => _state = value ?? throw new ArgumentNullException(nameof(value), "reduce_lr_on_plateau goes on only from a saved state");
    }

    public override double At(int stepsDone) => _state.Rate;

    public override void Report(double metric)
    {
        var better = IsBetter(metric);
        var bad = better ? 0 : _state.BadReports + 1;
        var cooldown = _state.Cooldown;
        if (cooldown > 0)
        {
            cooldown--;
            bad = 0;
        }
        var rate = _state.Rate;
        if (bad > _patience)
        {
            var lower = Math.Max(rate * _factor, _least);
            if (rate - lower > _epsilon)
                rate = lower;
            cooldown = _cooldown;
            bad = 0;
        }
        _state = new(rate, better ? metric : _state.Best, bad, cooldown);
    }

    private bool IsBetter(double metric) => _state.Best is not { } best || (_greater, _relative) switch
    {
        (false, true) => metric < best * (1 - _threshold),
        (false, false) => metric < best - _threshold,
        (true, true) => metric > best * (1 + _threshold),
        (true, false) => metric > best + _threshold,
    };
}

/// <summary>What <c>reduce_lr_on_plateau</c> remembers; it goes into a checkpoint.</summary>
/// <param name="Rate">The learning rate now.</param>
/// <param name="Best">The best metric so far; null before the first report.</param>
/// <param name="BadReports">Reports since the best one.</param>
/// <param name="Cooldown">Reports that will not be counted after the last lowering.</param>
internal sealed record PlateauState(double Rate, double? Best, int BadReports, int Cooldown);
