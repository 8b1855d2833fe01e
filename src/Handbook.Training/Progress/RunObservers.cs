using Handbook.Base.Progress;
using Handbook.Training.Metrics;

namespace Handbook.Training.Progress;

/// <summary>Several observers as one; each hears everything, in the order in which they are named.</summary>
public sealed class RunObservers(params IRunObserver[] observers) : IRunObserver
{
    /// <summary>Hears nothing.</summary>
    public static IRunObserver None { get; } = new RunObservers();

    /// <inheritdoc/>
    public void Said(string text) => Each(observer => observer.Said(text));

    /// <inheritdoc/>
    public void Noted(string text) => Each(observer => observer.Noted(text));

    /// <inheritdoc/>
    public void Warned(string text) => Each(observer => observer.Warned(text));

    /// <inheritdoc/>
    public IWorkCount Began(string what, long? total, string unit) =>
        new Counts([.. observers.Select(observer => observer.Began(what, total, unit))]);

    /// <inheritdoc/>
    public void Entered(string folder) => Each(observer => observer.Entered(folder));

    /// <inheritdoc/>
    public void Started(TrainingOutline outline) => Each(observer => observer.Started(outline));

    /// <inheritdoc/>
    public void Stepped(StepReport report) => Each(observer => observer.Stepped(report));

    /// <inheritdoc/>
    public void Logged(int steps, double epoch, MetricSet metrics) => Each(observer => observer.Logged(steps, epoch, metrics));

    /// <inheritdoc/>
    public void Evaluated(int steps, double epoch, MetricSet metrics) => Each(observer => observer.Evaluated(steps, epoch, metrics));

    /// <inheritdoc/>
    public void Saved(string checkpoint) => Each(observer => observer.Saved(checkpoint));

    /// <inheritdoc/>
    public void Ended(TrainingSummary summary) => Each(observer => observer.Ended(summary));

    /// <inheritdoc/>
    public void Measured(string split, MetricSet results) => Each(observer => observer.Measured(split, results));

    private void Each(Action<IRunObserver> tell)
    {
        foreach (var observer in observers)
            tell(observer);
    }

    private sealed class Counts(IWorkCount[] counts) : IWorkCount
    {
        public void Advance(long count = 1)
        {
            Pulse.Beat();
            foreach (var one in counts)
                one.Advance(count);
        }

        public void Report(long done)
        {
            Pulse.Beat();
            foreach (var one in counts)
                one.Report(done);
        }

        public void Dispose()
        {
            foreach (var one in counts)
                one.Dispose();
        }
    }
}
