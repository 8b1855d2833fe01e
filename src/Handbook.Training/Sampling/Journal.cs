using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;

namespace Handbook.Training.Sampling;

/// <summary>A file that only grows, a JSON object on each line: what is in it is done and is not done again.</summary>
/// <remarks>
/// A line counts when its line feed is there: a line that a sudden end cut off is removed at the next start. Lines reach the system at
/// once, so the end of the process loses none; they reach the disk at least every second, so a power cut loses little.
/// </remarks>
internal sealed class Journal : IDisposable
{
    private static readonly TimeSpan s_flushEvery = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly FileStream _file;
    private readonly string _path;
    private int _lines;
    private long _flushed = Environment.TickCount64;

    /// <param name="path">The file; made where it is missing.</param>
    /// <param name="read">Hears every line that is there, in order.</param>
    /// <exception cref="InputException">The file cannot be written, or a line in its middle is broken.</exception>
    public Journal(string path, Action<JsonElement> read)
    {
        _path = path;
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            _file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read, bufferSize: 0);
        }
        catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{path} cannot be written: {failure.Message}",
                fix: "choose another output_dir, or end the other run that writes there", inner: failure);
        }
        try
        {
            _file.SetLength(Read(read));
            _file.Seek(0, SeekOrigin.End);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>Adds a line; any thread may.</summary>
    public void Add(JsonObject line)
    {
        var bytes = Encoding.UTF8.GetBytes(line.ToJsonString(JsonLines.Options) + "\n");
        Pulse.Beat();
        lock (_lock)
        {
            var whole = _file.Position;
            try
            {
                _file.Write(bytes);
                _lines++;
                if (Environment.TickCount64 - _flushed >= s_flushEvery.TotalMilliseconds)
                    Flush();
            }
            catch (Exception failure) when (FileProblem.IsDiskFull(failure))
            {
                _file.SetLength(whole);     // no half line, lest another thread add one behind it
                throw Full(_path, _lines, failure);
            }
            catch (Exception failure) when (Disk.Explain(failure, _path) is { } explained)
            {
                throw explained;
            }
        }
    }

    /// <summary>What is kept when the disk is full.</summary>
    /// <param name="lines">Lines that are whole.</param>
    internal static InputException Full(string path, int lines, Exception failure) =>
        new($"{path}: the disk is full", $"the {lines:N0} lines before are kept",
            "free some space and run the same command again: it goes on behind them", failure);

    /// <summary>Returns when every line is on the disk.</summary>
    public void Flush()
    {
        lock (_lock)
        {
            _file.Flush(flushToDisk: true);
            _flushed = Environment.TickCount64;
        }
    }

    public void Dispose()
    {
        Flush();
        _file.Dispose();
    }

    /// <returns>Length of the whole lines.</returns>
    private long Read(Action<JsonElement> read)
    {
        var bytes = new byte[_file.Length];
        _file.ReadExactly(bytes);
        (_lines, var length) = Lines(bytes, _path, read);
        return length;
    }

    /// <summary>Reads whole lines.</summary>
    /// <param name="bytes">The file, or its end from the beginning of a line on.</param>
    /// <param name="path">For the message.</param>
    /// <returns>How many there are, and their length.</returns>
    internal static (int Lines, int Length) Lines(byte[] bytes, string path, Action<JsonElement> read)
    {
        var (start, number) = (0, 0);
        while (Array.IndexOf(bytes, (byte)'\n', start) is >= 0 and var end)
        {
            number++;
            try
            {
                read(JsonSerializer.Deserialize<JsonElement>(bytes.AsSpan(start, end - start)));
            }
            // the others: of another form
            catch (Exception failure) when (failure
                is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
            {
                throw new InputException($"{path}:{number}: is broken: {failure.Message}",
                    "the file was changed, or the disk lost a part of it",
                    "remove the file to do its work again, or the broken line to do again what it held", failure);
            }
            start = end + 1;
        }
        return (number, start);
    }
}

/// <summary>How our lines of JSON are written.</summary>
internal static class JsonLines
{
    /// <summary>On one line, every character readable but those that JSON must escape.</summary>
    public static JsonSerializerOptions Options { get; } = new()
    { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>The same, indented for people.</summary>
    public static JsonSerializerOptions Indented { get; } = new(Options) { WriteIndented = true };

    /// <summary>Writes a file of one indented value whole or not at all.</summary>
    public static void WriteIndented(string path, JsonNode value) => WholeFile.WriteText(path, value.ToJsonString(Indented) + "\n");

    /// <summary>Writes a file of lines whole or not at all.</summary>
    public static void Write(string path, IEnumerable<JsonObject> lines) => WholeFile.WriteText(path, Text(lines));

    public static string Text(IEnumerable<JsonObject> lines)
    {
        var text = new StringBuilder();
        foreach (var line in lines)
            text.Append(line.ToJsonString(Options)).Append('\n');
        return text.ToString();
    }
}
