using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Serving;
using Handbook.Serving;
using Handbook.Torch;
using Handbook.Training.Progress;

namespace Handbook.Server.Dashboard;

/// <summary>The models that pages ask: opened when they are first wanted, two at a time in memory, answered by one engine.</summary>
/// <param name="compute">Element type of products.</param>
internal sealed class OpenModels(DType compute) : IDisposable
{
    /// <summary>Models in memory at the same time.</summary>
    private const int Most = 2;

    private readonly EngineOptions _options = new() { MaxRows = 4, MaxWaiting = 16 };
    private readonly Lock _lock = new();
    private readonly SemaphoreSlim _opening = new(1);
    private readonly List<Entry> _entries = [];         // most lately used last
    private AnswerEngine? _engine;

    private sealed class Entry(string place, DateTime written, ServedModels models)
    {
        public string Place { get; } = place;

        public DateTime Written { get; } = written;

        public ServedModels Models { get; } = models;

        public int Users { get; set; }
    }

    /// <summary>A model that stays in memory until this is disposed.</summary>
    internal sealed class Lease(ServedModel model, AnswerEngine engine, Action end) : IDisposable
    {
        public ServedModel Model { get; } = model;

        /// <summary>Everything that the network computes goes through it.</summary>
        public AnswerEngine Engine { get; } = engine;

        public void Dispose() => end();
    }

    /// <summary>Opens a model, or finds it open. One that was written anew meanwhile is opened anew.</summary>
    /// <param name="place">A folder of a model or of an adapter.</param>
    /// <param name="cancel">Leaves while another model is being opened.</param>
    /// <exception cref="InputException">It holds no language model, or all that fit are being asked.</exception>
    public async Task<Lease> Take(string place, CancellationToken cancel)
    {
        await _opening.WaitAsync(cancel);
        try
        {
            var written = Written(place);
            if (written == default)
                throw new InputException($"{place} holds no model yet", "a run saves its model at checkpoints and at its end");
            var entry = _entries.Find(one => one.Place == place && one.Written == written);
            if (entry is null)
            {
                MakeRoom(place);
                _engine ??= new AnswerEngine(_options with { CacheBytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 8 });
                entry = new(place, written, await Task.Run(() => ServedModels.Open(ModelSource.Find(place), "model", [], compute, null,
                    _options, RunObservers.None, _engine), cancel));
            }
            lock (_lock)
            {
                _entries.Remove(entry);
                _entries.Add(entry);
                entry.Users++;
            }
            return new(entry.Models.All[0], _engine!, () =>
            {
                lock (_lock)
                    entry.Users--;
            });
        }
        finally
        {
            _opening.Release();
        }
    }

    private static DateTime Written(string place) => !Directory.Exists(place) ? default
        : Directory.EnumerateFiles(place, "*.safetensors").Select(File.GetLastWriteTimeUtc).DefaultIfEmpty().Max();

    private void MakeRoom(string place)
    {
        lock (_lock)
        {
            foreach (var old in _entries.Where(one => one.Users == 0 && one.Place == place).ToArray())
                Close(old);
            while (_entries.Count >= Most)
                Close(_entries.Find(one => one.Users == 0) ?? throw new InputException(
                    $"{Most} other models are being asked, and no more are kept in memory", fix: "wait until they have answered"));
        }
    }

    private void Close(Entry entry)
    {
        _entries.Remove(entry);
        entry.Models.Dispose();
    }

    public void Dispose()
    {
        _engine?.Dispose();         // nobody computes with the weights any more
        foreach (var entry in _entries)
            entry.Models.Dispose();
        _opening.Dispose();
    }
}
