using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Models.Files;

/// <summary>A folder's weights in the other of the two formats that PyTorch's libraries read: safetensors, or files of <c>torch.save</c>
/// (<c>.bin</c>). Everything else goes along as it is.</summary>
internal static class WeightFormat
{
    private static readonly string[] _beside = [".json", ".txt", ".model", ".jinja", ".tiktoken", ".md"];

    /// <summary>About how many bytes <see cref="Write"/> writes.</summary>
    public static long Bytes(string folder)
    {
        using var files = WeightFiles.Open(folder);
        return files.Names.Sum(name => files.Info(name).ByteCount) + (64 << 20);
    }

    /// <summary>Whether a folder's weights are in files of <c>torch.save</c>.</summary>
    public static bool IsTorch(string folder)
    {
        using var files = WeightFiles.Open(folder);
        return !files.Path.Contains(".safetensors", StringComparison.Ordinal);
    }

    /// <param name="folder">The model.</param>
    /// <param name="torch">Whether files of <c>torch.save</c> are written; else safetensors.</param>
    /// <param name="output">The new folder; the weights are read back and compared before this returns.</param>
    /// <param name="done">Told of the elements of each tensor that was written.</param>
    /// <returns>How many tensors were written.</returns>
    /// <exception cref="InputException">A tensor is of a type that the format does not have.</exception>
    public static int Write(string folder, bool torch, string output, Action<long>? done = null, CancellationToken cancel = default)
    {
        using var files = WeightFiles.Open(folder);
        var (tensors, shared) = (new List<TensorToSave>(), new Dictionary<string, string>(files.Metadata));
        var known = new Dictionary<(nint, TensorInfo), string>();
        foreach (var name in files.Names)
        {
            var data = files.Read(name);
            // What two names share is stored once, and the other name noted, as safetensors' own library does.
            if (!torch && !known.TryAdd((data.Pointer, data.Info with { Name = "" }), name))
            {
                shared[name] = known[(data.Pointer, data.Info with { Name = "" })];
                continue;
            }
            tensors.Add(new(data.Info with { Name = name }, stream =>
            {
                cancel.ThrowIfCancellationRequested();
                TensorToSave.From(data).Write(stream);
                files.ForgetPages();
                done?.Invoke(data.Info.Count);
            }));
        }
        shared["format"] = "pt";
        WeightFilesWriter.Save(output, tensors, torch ? new() { Name = "pytorch_model", IsTorch = true } : new() { Metadata = shared });
        foreach (var file in Directory.EnumerateFiles(folder).Concat(Templates(folder)))
            if (_beside.Contains(Path.GetExtension(file)) && !file.EndsWith(".index.json", StringComparison.Ordinal))
                WholeFile.WriteBytes(Path.Combine(output, Path.GetRelativePath(folder, file)), File.ReadAllBytes(file));
        return tensors.Count;
    }

    private static IEnumerable<string> Templates(string folder) => Path.Combine(folder, "additional_chat_templates") is var templates
        && Directory.Exists(templates) ? Directory.EnumerateFiles(templates) : [];
}
