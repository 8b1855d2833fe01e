using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Training.Distributed;

namespace Handbook.Training.Sampling;

/// <summary>A journal to which several workers add: each has a file of its own meanwhile, whose lines the first moves into the one that
/// stays. What a sudden end left in the files of others is moved at the next start, so it is not done again.</summary>
/// <remarks>With one worker it is that worker's <see cref="Journal"/>; what several left behind is moved there, too.</remarks>
internal sealed class SharedJournal : IDisposable
{
    private readonly Workers _workers;
    private readonly string _path;
    private readonly Func<JsonElement, bool> _read;
    private Journal? _own;
    private long _known;

    /// <param name="workers">Who adds to it; all of them make one.</param>
    /// <param name="path">The file that stays, in a folder that all see.</param>
    /// <param name="read">Hears every line, everyone's; says whether it was new.</param>
    /// <exception cref="InputException">A file cannot be written or is broken, or a worker does not see it.</exception>
    public SharedJournal(Workers workers, string path, Func<JsonElement, bool> read)
    {
        (_workers, _path, _read) = (workers, path, read);
        if (workers.IsFirst)
            _own = new Journal(path, line => read(line));
        try
        {
            Share();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Adds a line; any thread may.</summary>
    public void Add(JsonObject line) => _own!.Add(line);

    /// <summary>Makes the lines of all known to all. All call it.</summary>
    public void Share()
    {
        var mine = 0L;
        if (!_workers.IsFirst && _own is not null)
        {
            _own.Dispose();
            mine = new FileInfo(PartOf(_workers.Rank)).Length;
        }
        var sizes = _workers.Gather(BitConverter.GetBytes(mine)).Select(bytes => BitConverter.ToInt64(bytes)).ToArray();
        var whole = long.Parse(_workers.First(() => $"{Collect(sizes)}"), CultureInfo.InvariantCulture);
        if (_workers.IsFirst)
            return;
        Require(_path, whole, _workers.Rank);
        ReadFrom(_known, whole);
        _known = whole;
        _own = new Journal(PartOf(_workers.Rank), _ => { });
    }

    // An @ is in no file's own name, as a hyphen might be.
    private string PartOf(int rank) => $"{Path.ChangeExtension(_path, null)}@{rank}{Path.GetExtension(_path)}";

    /// <summary>Moves the lines of the others into the file that stays.</summary>
    /// <returns>How long it is then.</returns>
    private long Collect(long[] sizes)
    {
        for (var rank = 1; rank < sizes.Length; rank++)
            if (sizes[rank] > 0)
                Require(PartOf(rank), sizes[rank], rank);
        var (folder, name) = (Path.GetDirectoryName(Path.GetFullPath(_path))!, Path.GetFileNameWithoutExtension(_path));
        string[] parts = [.. Directory.EnumerateFiles(folder, $"{name}@*{Path.GetExtension(_path)}").Order(StringComparer.Ordinal)];
        foreach (var part in parts)
            new Journal(part, line =>
            {
                if (_read(line))
                    _own!.Add(JsonObject.Create(line)!);
            }).Dispose();
        _own!.Flush();
        Array.ForEach(parts, File.Delete);
        return new FileInfo(_path).Length;
    }

    private static void Require(string path, long size, int rank)
    {
        if (!OneFolder.Sees(path, size))
            throw new InputException($"{path} of rank {rank}, with {size:N0} bytes, is not seen on {Environment.MachineName}",
                why: "all processes write to one output_dir", fix: "name a folder on a disk that all hosts share, at the same path");
    }

    private void ReadFrom(long start, long end)
    {
        using var file = new FileStream(_path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        file.Seek(start, SeekOrigin.Begin);
        var bytes = new byte[end - start];
        file.ReadExactly(bytes);
        Journal.Lines(bytes, _path, line => _read(line));
    }

    /// <summary>Closes the files; that of a worker which is not the first is gone where nothing is in it.</summary>
    public void Dispose()
    {
        _own?.Dispose();
        if (_own is not null && !_workers.IsFirst && new FileInfo(PartOf(_workers.Rank)) is { Exists: true, Length: 0 } empty)
            empty.Delete();
        _own = null;
    }
}
