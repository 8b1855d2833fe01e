using System.Text;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Training.Sampling;

namespace Handbook.Server.Dashboard;

/// <summary>Rows of preferences that somebody chose, one JSON object a line, in the form that <c>dpo</c> and its like train on.</summary>
internal sealed class PreferenceFile(string path)
{
    private readonly Lock _lock = new();

    public string Path { get; } = path;

    /// <summary>Rows in the file.</summary>
    public int Count()
    {
        lock (_lock)
            return File.Exists(Path) ? File.ReadLines(Path).Count(line => line.Trim().Length > 0) : 0;
    }

    /// <summary>Adds a row; it is in the file when this returns.</summary>
    /// <exception cref="InputException">The file cannot be written.</exception>
    public void Add(JsonObject row)
    {
        lock (_lock)
            try
            {
                if (System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path)) is { } folder)
                    Directory.CreateDirectory(folder);
                using var file = new FileStream(Path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.Read);
                // A last line without an end, which somebody wrote by hand, keeps to itself.
                var begin = "";
                if (file.Length > 0)
                {
                    file.Seek(-1, SeekOrigin.End);
                    begin = file.ReadByte() == '\n' ? "" : "\n";
                }
                file.Write(Encoding.UTF8.GetBytes(begin + row.ToJsonString(JsonLines.Options) + "\n"));
                file.Flush(flushToDisk: true);
            }
            catch (Exception failure) when (failure is IOException or UnauthorizedAccessException)
            {
                throw new InputException($"{Path} cannot be written: {failure.Message}", fix: "start the dashboard with another --preferences",
                    inner: failure);
            }
    }
}
