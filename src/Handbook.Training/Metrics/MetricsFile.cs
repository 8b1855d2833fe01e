using System.Text;
using System.Text.Json;
using Handbook.Base.Files;
using Handbook.Training.Progress;

namespace Handbook.Training.Metrics;

/// <summary><c>metrics.jsonl</c>: one object per logged step, in full precision, each step once however
/// often the run was resumed; that of the last step has the results of the whole training, too.</summary>
internal sealed class MetricsFile : IRunObserver, IDisposable
{
    public const string FileName = "metrics.jsonl";

    private readonly string _path;
    private readonly string? _begins;
    private FileStream? _stream;
    private long _lastStart;
    private MetricSet? _last;

    /// <param name="begins">What the file begins with; null where it does already.</param>
    private MetricsFile(string path, List<MetricSet> kept, long lastStart, string? begins)
    {
        (_path, _begins) = (path, begins);
        Kept = kept;
        _last = kept.Count > 0 ? kept[^1] : null;
        _lastStart = lastStart;
    }

    /// <summary>The entries found when the file was opened.</summary>
    public IReadOnlyList<MetricSet> Kept { get; }

    /// <summary>Reads the file of a run; lines after <paramref name="resumeStep"/>, and a line cut short, are dropped in one atomic step
    /// when the run begins to write (<see cref="Begin"/>): until then it may turn out that it cannot go on.</summary>
    /// <param name="outputDir">The run folder.</param>
    /// <param name="resumeStep">The step of the checkpoint that the run continues from; 0 begins an empty file.</param>
    public static MetricsFile Open(string outputDir, int resumeStep)
    {
        var path = Path.Combine(outputDir, FileName);
        var kept = new List<MetricSet>();
        var text = new StringBuilder();
        long lastStart = 0;
        var changes = false;
        if (File.Exists(path))
        {
            var before = File.ReadAllText(path);
            foreach (var line in before.Split('\n'))
            {
                if (TryRead(line) is not { } entry || entry.Number("step") is not { } step || step > resumeStep || resumeStep == 0)
                    continue;
                if (kept.Count > 0 && kept[^1].Number("step") >= step)
                    continue;
                // An earlier end was not the end: its results are left out, and so is what has nothing else.
                var ended = ClosingEntry.IsIn(entry);
                var whole = ended ? ClosingEntry.Without(entry) : entry;
                if (ended && whole.All(pair => pair.Key is "step" or "epoch"))
                    continue;
                lastStart = text.Length;    // ASCII: a char is a byte
                kept.Add(whole);
                text.Append(ended ? PythonJson.Write(whole) : line).Append('\n');
            }
            changes = text.Length != before.Length;
        }
        return new MetricsFile(path, kept, lastStart, changes ? text.ToString() : null);
    }

    /// <summary>Drops what does not belong to the run, and opens the file.</summary>
    public FileStream Begin()
    {
        if (_stream is not null)
            return _stream;
        if (_begins is not null)
            WholeFile.WriteText(_path, _begins);
        _stream = new FileStream(_path, FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite);
        _stream.Seek(0, SeekOrigin.End);
        return _stream;
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
        var stream = Begin();
        if (joins)
            stream.Seek(_lastStart, SeekOrigin.Begin);
        else
            _lastStart = stream.Position;
        // One write: another process sees the line before or after, never a part that a kill left.
        stream.Write(line);
        stream.Flush();
        if (joins)
            stream.SetLength(stream.Position);
        _last = entry;
    }

    /// <summary>Returns when everything logged is on the medium; called before a checkpoint that builds on it.</summary>
    public void Flush() => Begin().Flush(flushToDisk: true);

    public void Dispose() => _stream?.Dispose();

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
