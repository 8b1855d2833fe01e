using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Training.Rewards;

/// <summary>The file that scored rows are written to: whole under its name, or not at all.</summary>
/// <remarks>
/// While it grows it is called <c>….part</c>, and <c>….part.json</c> says how far it is good and what it is of. The same rows under the
/// same model go on behind the last part that was finished; anything else begins anew. Where nothing was kept, nothing is left behind:
/// neither the file nor a folder made for it.
/// </remarks>
internal sealed class ScoreFile : IDisposable
{
    private readonly string _path;
    private readonly string _key;
    private readonly FileStream _part;
    private readonly string? _madeFolder;
    private bool _isDone;

    private ScoreFile(string path, string key, FileStream part, ScoreSummary summary, string? madeFolder) =>
        (_path, _key, _part, Summary, _madeFolder) = (path, key, part, summary, madeFolder);

    /// <summary>What is in the file.</summary>
    public ScoreSummary Summary { get; }

    public Stream Stream => _part;

    /// <param name="path">The file's name once it is whole.</param>
    /// <param name="key">What decides its content.</param>
    /// <param name="fresh">Begin anew, whatever is there.</param>
    /// <exception cref="InputException">The file cannot be written.</exception>
    public static ScoreFile Open(string path, string key, bool fresh)
    {
        if (Directory.Exists(path))
            throw new InputException($"{path} is a folder", fix: $"name a file, e.g. {Path.Combine(path, "scores.jsonl")}");
        try
        {
            var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
            var made = Absent(folder);
            Directory.CreateDirectory(folder);
            var part = new FileStream(path + ".part", FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            var known = fresh ? null : Read(path + ".part.json");
            var goesOn = known?.Key == key && known.Bytes <= part.Length;
            part.SetLength(goesOn ? known!.Bytes : 0);
            part.Seek(0, SeekOrigin.End);
            return new(path, key, part, goesOn ? known!.Summary : new(), made);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path} cannot be written: {failure.Message}",
                fix: "name a file in a folder that you may write to, which no other run is writing", inner: failure);
        }
    }

    /// <summary>Makes sure that what was written so far is found again.</summary>
    public void Keep()
    {
        _part.Flush(flushToDisk: true);
        WholeFile.WriteBytes(_path + ".part.json", JsonSerializer.SerializeToUtf8Bytes(new State(_key, _part.Length, Summary)));
    }

    /// <summary>Gives the file its name.</summary>
    public void Finish()
    {
        _part.Dispose();
        WholeFile.Publish(_path + ".part", _path);
        File.Delete(_path + ".part.json");
        _isDone = true;
    }

    /// <summary>Leaves nothing behind.</summary>
    public void Discard()
    {
        _part.Dispose();
        File.Delete(_path + ".part");
        File.Delete(_path + ".part.json");
        for (var folder = Path.GetDirectoryName(Path.GetFullPath(_path)); _madeFolder is not null && folder!.StartsWith(_madeFolder,
            StringComparison.Ordinal) && !Directory.EnumerateFileSystemEntries(folder).Any(); folder = Path.GetDirectoryName(folder))
            Directory.Delete(folder);
        _isDone = true;
    }

    public void Dispose()
    {
        _part.Dispose();
        if (!_isDone && !File.Exists(_path + ".part.json"))
            Discard();
    }

    /// <summary>The first folder on the way that is not there; null where all are.</summary>
    private static string? Absent(string folder)
    {
        string? absent = null;
        for (var at = folder; at is not null && !Directory.Exists(at); at = Path.GetDirectoryName(at))
            absent = at;
        return absent;
    }

    private static State? Read(string path)
    {
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<State>(File.ReadAllBytes(path)) : null;
        }
        catch (JsonException)
        {
            return null;        // not ours, or damaged: then there is nothing to go on from
        }
    }

    private sealed record State(string Key, long Bytes, ScoreSummary Summary);
}
