using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Training.Distributed;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation;

/// <summary>What rows gave, a line each, known to all who share them out: kept in a file, or told to each other where nothing is
/// kept.</summary>
internal sealed class KeptRows : IDisposable
{
    private readonly Workers _workers;
    private readonly SharedJournal? _journal;
    private readonly Func<JsonElement, bool> _read;
    private readonly StringBuilder _untold = new();

    /// <param name="workers">Who share the rows out; all of them make one.</param>
    /// <param name="path">The file; null keeps nothing.</param>
    /// <param name="read">Hears every line, everyone's; says whether it was new.</param>
    public KeptRows(Workers workers, string? path, Func<JsonElement, bool> read)
    {
        (_workers, _read) = (workers, read);
        _journal = path is null ? null : new(workers, path, read);
    }

    /// <summary>Adds a line.</summary>
    public void Add(JsonObject line)
    {
        _read(JsonSerializer.SerializeToElement(line));
        if (_journal is not null)
            _journal.Add(line);
        else if (_workers.Count > 1)
            _untold.Append(line.ToJsonString(JsonLines.Options)).Append('\n');
    }

    /// <summary>Makes everyone's lines known to all. All call it.</summary>
    public void Share()
    {
        _journal?.Share();
        if (_journal is not null || _workers.Count == 1)
            return;
        foreach (var told in _workers.Gather(Encoding.UTF8.GetBytes(_untold.ToString())))
            Journal.Lines(told, "what another process told", line => _read(line));
        _untold.Clear();
    }

    public void Dispose() => _journal?.Dispose();
}
