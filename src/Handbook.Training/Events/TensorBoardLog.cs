using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Training.Events;

/// <summary>Writes what a run logs as TensorBoard scalars; the file is made with the first of them.</summary>
/// <param name="outputDir">The run folder.</param>
/// <param name="resumeStep">The step that the run continues from; 0 for a new run.</param>
/// <param name="folder">Where the file goes; null for a folder of this start below <c>runs/</c>.</param>
internal sealed class TensorBoardLog(string outputDir, int resumeStep, string? folder) : IRunObserver, IDisposable
{
    private EventFile? _file;

    public void Logged(int steps, double epoch, MetricSet metrics) => Write(steps, metrics, "train/", "");

    public void Evaluated(int steps, double epoch, MetricSet metrics) => Write(steps, metrics, "eval/", "eval_");

    private void Write(int step, MetricSet metrics, string tag, string prefix)
    {
        _file ??= new EventFile(outputDir, resumeStep, folder: folder);
        foreach (var (name, value) in metrics)
            _file.Scalar(tag + (name.StartsWith(prefix, StringComparison.Ordinal) ? name[prefix.Length..] : name), value.Value, step);
        _file.Flush();
    }

    public void Dispose() => _file?.Dispose();
}
