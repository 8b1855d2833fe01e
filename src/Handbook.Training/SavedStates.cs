using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Training;

/// <summary>Masters and states in the files of a checkpoint: each process that shares them out has written one, and whoever goes on reads of
/// all what it keeps itself, however many they were.</summary>
internal sealed class SavedStates : IDisposable
{
    private const string Stem = "optimizer", Ending = ".safetensors";

    private readonly string _folder;
    private readonly SafetensorsFile[] _files;
    private readonly Dictionary<string, List<(long From, SafetensorsFile File, string Name)>> _parts = [];

    private SavedStates(string folder, SafetensorsFile[] files)
    {
        (_folder, _files) = (folder, files);
        foreach (var file in files)
            foreach (var name in file.Names)
            {
                var (whole, from, _) = NamedSlices.Split(name);
                if (!_parts.TryGetValue(whole, out var parts))
                    _parts[whole] = parts = [];
                parts.Add((from, file, name));
            }
    }

    /// <summary>The name of a process's file.</summary>
    public static string FileOf(int rank, int count) => count == 1 ? Stem + Ending : $"{Stem}-{rank + 1:00000}-of-{count:00000}{Ending}";

    /// <summary>Opens those of a checkpoint.</summary>
    /// <exception cref="InputException">It has none.</exception>
    public static SavedStates Open(string folder)
    {
        string[] paths = [.. Directory.EnumerateFiles(folder, $"{Stem}*{Ending}").Order(StringComparer.Ordinal)];
        return new(folder, paths.Length > 0 ? Array.ConvertAll(paths, path => SafetensorsFile.Open(path))
            : [SafetensorsFile.Open(System.IO.Path.Combine(folder, FileOf(0, 1)))]);
    }

    /// <summary>Names of whole tensors.</summary>
    public IEnumerable<string> Names => _parts.Keys;

    public IReadOnlyDictionary<string, string> Metadata => _files[0].Metadata;

    /// <summary>What messages call it.</summary>
    public string Path => _files.Length == 1 ? System.IO.Path.Combine(_folder, FileOf(0, 1)) : $"{_folder}/{Stem}-*{Ending}";

    /// <summary>The type of a whole tensor, and its elements.</summary>
    public (DType Type, long Count) Shape(string name)
    {
        var parts = _parts[name];
        return (parts[0].File.Info(parts[0].Name).DType, parts.Max(part => part.From + part.File.Info(part.Name).Count));
    }

    /// <summary>Fills a tensor with the elements of a whole one.</summary>
    /// <param name="from">The first of them.</param>
    /// <returns>How many were found.</returns>
    public unsafe long Read(string name, long from, Tensor target)
    {
        var (found, size) = (0L, target.DType.Size);
        var end = from;
        foreach (var (start, file, part) in _parts[name].OrderBy(part => part.From))
        {
            var count = file.Info(part).Count;
            var (first, last) = (Math.Max(end, start), Math.Min(from + target.Count, start + count));
            if (first >= last)
                continue;
            var data = file.Read(part);
            HostMemory.Write(target, host => NativeMemory.Copy((byte*)data.Pointer + (first - start) * size,
                (byte*)host.Data + (first - from) * size, (nuint)((last - first) * size)));
            GC.KeepAlive(data.Owner);
            found += last - first;
            end = last;
        }
        return found;
    }

    public void Dispose() => Array.ForEach(_files, file => file.Dispose());
}
