using System.Text;

namespace Handbook.Base.Files;

/// <summary>A file that is replaced whole or not at all: written beside its place, flushed, renamed.</summary>
public static class AtomicFile
{
    /// <param name="path">The file to replace.</param>
    /// <param name="text">Its new content, as UTF-8.</param>
    /// <param name="durable">False for files that may be lost in a power cut, such as plots.</param>
    public static void WriteText(string path, string text, bool durable = true) =>
        WriteBytes(path, Encoding.UTF8.GetBytes(text), durable);

    /// <inheritdoc cref="WriteText"/>
    public static void WriteBytes(string path, ReadOnlySpan<byte> bytes, bool durable = true)
    {
        path = Path.GetFullPath(path);
        var folder = Path.GetDirectoryName(path)!;
        var temporary = Path.Combine(folder, $".tmp-{Path.GetFileName(path)}-{Environment.ProcessId}");
        var disk = Disk.Real;
        try
        {
            using (var stream = disk.Create(temporary))
                stream.Write(bytes);
            if (durable)
                disk.FlushFile(temporary);
            disk.MoveFile(temporary, path);
            if (durable)
                disk.FlushFolder(folder);
        }
        catch (Exception error)
        {
            if (File.Exists(temporary))
                File.Delete(temporary);
            if (Disk.Explain(error, path) is { } explained)
                throw explained;
            throw;
        }
    }
}
