using System.Text;
using Handbook.Base.Files;

namespace Handbook.Training.Checkpoints;

/// <summary>The folder being written. Files may also be written below <see cref="Folder"/> directly: all of them are
/// flushed and listed.</summary>
internal sealed class CheckpointWriter
{
    private readonly Disk _disk;

    internal CheckpointWriter(string folder, Disk disk)
    {
        Folder = folder;
        _disk = disk;
    }

    /// <summary>Where the files go until the checkpoint is whole; it gets its final name afterwards.</summary>
    public string Folder { get; }

    /// <summary>Opens a file of the checkpoint for writing.</summary>
    /// <param name="name">Path below the folder, with forward slashes.</param>
    public Stream Create(string name) => _disk.Create(Path.Combine(Folder, name));

    public void WriteText(string name, string text) => WriteBytes(name, Encoding.UTF8.GetBytes(text));

    public void WriteBytes(string name, ReadOnlySpan<byte> bytes)
    {
        using var stream = Create(name);
        stream.Write(bytes);
    }

    /// <summary>Copies a file that belongs to the checkpoint but was written elsewhere.</summary>
    public void Copy(string source, string? name = null)
    {
        using var from = File.OpenRead(source);
        using var to = Create(name ?? Path.GetFileName(source));
        from.CopyTo(to);
    }

    /// <summary>Files below <see cref="Folder"/> that other processes have written, flushed and hashed.</summary>
    public List<ManifestFile> Others { get; } = [];

    /// <summary>Makes all files and folders below <see cref="Folder"/> durable.</summary>
    internal void Flush()
    {
        foreach (var file in Directory.EnumerateFiles(Folder, "*", SearchOption.AllDirectories))
            _disk.FlushFile(file);
        foreach (var folder in Directory.EnumerateDirectories(Folder, "*", SearchOption.AllDirectories))
            _disk.FlushFolder(folder);
        _disk.FlushFolder(Folder);
    }
}
