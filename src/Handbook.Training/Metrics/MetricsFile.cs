using System.Text;
using System.Text.Json;
using Handbook.Base.Files;
using Handbook.Training.Progress;

namespace Handbook.Training.Metrics;

/// <summary><c>metrics.jsonl</c>: one object per logged step, in full precision, each step once however
/// often the run was resumed.</summary>
internal sealed class MetricsFile : IRunObserver, IDisposable
{
    public const string FileName = "metrics.jsonl";

    private readonly FileStream _stream;
    private long _lastStart;
    private MetricSet? _last;

    private MetricsFile(string path, List<MetricSet> kept, long lastStart)
    {
        Kept = kept;
        _stream = new FileStream(path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite);
        _stream.Seek(0, SeekOrigin.End);
        _last = kept.Count > 0 ? kept[^1] : null;
        _lastStart = lastStart;
    }

    /// <summary>The entries found when the file was opened.</summary>
    public IReadOnlyList<MetricSet> Kept { get; }

    /// <summary>Opens the file of a run; lines after <paramref name="resumeStep"/>, and a line cut short, are
    /// dropped in one atomic step.</summary>
    /// <param name="outputDir">The run folder.</param>
    /// <param name="resumeStep">The step of the checkpoint that the run continues from; 0 begins an empty file.</param>
    public static MetricsFile Open(string outputDir, int resumeStep)
    {
        var path = Path.Combine(outputDir, FileName);
        var kept = new List<MetricSet>();
        var text = new StringBuilder();
        long lastStart = 0;
        if (File.Exists(path))
        {
            var before = File.ReadAllText(path);
            foreach (var line in before.Split('\n'))
            {
                if (TryRead(line) is not { } entry || entry.Number("step") is not { } step || step > resumeStep || resumeStep == 0)
                    continue;
                if (kept.Count > 0 && kept[^1].Number("step") >= step)
                    continue;
                lastStart = text.Length;    // ASCII: a char is a byte
                kept.Add(entry);
                text.Append(line).Append('\n');
            }
            if (text.Length != before.Length)
                WholeFile.WriteText(path, text.ToString());
        }
        return new MetricsFile(path, kept, lastStart);
    }

    /// <summary>Reads all whole lines of a run's file; empty where there is none.</summary>
    public static IReadOnlyList<MetricSet> ReadAll(string outputDir)
    {
        var path = Path.Combine(outputDir, FileName);
        return !File.Exists(path) ? [] : [.. File.ReadLines(path).Select(TryRead).OfType<MetricSet>()];
    }

    /// <inheritdoc/>
    public void Logged(int steps, double epoch, MetricSet metrics) => Append(steps, metrics);

    /// <inheritdoc/>
    public void Evaluated(int steps, double epoch, MetricSet metrics) => Append(steps, metrics);

    /// <summary>Adds the metrics of a step. What belongs to the step of the last line (its evaluation) joins that line.</summary>
    public void Append(int step, MetricSet metrics)
    {
        var entry = new MetricSet { ["step"] = step };
        var joins = _last?.Number("step") == step;
        if (joins)
            foreach (var (name, value) in _last!)
                entry[name] = value;
        else if (_last?.Number("step") > step)
            throw new InvalidOperationException($"{FileName}: step {step} comes after step {_last["step"]}");
        foreach (var (name, value) in metrics)
            if (name != "step")
                entry[name] = value;
        var line = Encoding.ASCII.GetBytes(PythonJson.Write(entry) + "\n");
        if (joins)
            _stream.Seek(_lastStart, SeekOrigin.Begin);
        else
            _lastStart = _stream.Position;
        // One write: another process sees the line before or after, never a part that a kill left.
        _stream.Write(line);
        _stream.Flush();
        if (joins)
            _stream.SetLength(_stream.Position);
        _last = entry;
    }

    /// <summary>Returns when everything logged is on the medium; called before a checkpoint that builds on it.</summary>
    public void Flush() => _stream.Flush(flushToDisk: true);

    public void Dispose() => _stream.Dispose();

    private static MetricSet? TryRead(string line)
    {
        if (line.Length == 0)
            return null;
        try
        {
            using var document = JsonDocument.Parse(line);
            return document.RootElement.ValueKind == JsonValueKind.Object ? MetricSet.Read(document.RootElement) : null;
        }
        catch (JsonException)
        {
            return null;    // the line that was being written when the process died
        }
    }
}
