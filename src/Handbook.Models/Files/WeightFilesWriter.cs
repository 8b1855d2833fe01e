using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;

namespace Handbook.Models.Files;

/// <summary>How weights are written.</summary>
public sealed record WeightFilesOptions
{
    /// <summary>A file grows to at most this many bytes, unless one tensor alone is larger. The published default is 5 GB.</summary>
    public long MaxShardBytes { get; init; } = 5_000_000_000;

    /// <summary>Files are <c>NAME.safetensors</c>, or <c>NAME-00001-of-00002.safetensors</c> with
    /// <c>NAME.safetensors.index.json</c>.</summary>
    public string Name { get; init; } = "model";

    /// <summary>Whether files are those of <c>torch.save</c>, <c>NAME.bin</c>, which have no free texts.</summary>
    internal bool IsTorch { get; init; }

    /// <summary>How files end.</summary>
    internal string Extension => IsTorch ? ".bin" : ".safetensors";

    /// <summary>Free texts for the header of each file.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; init; } = new Dictionary<string, string> { ["format"] = "pt" };
}

/// <summary>Saves tensors in the published layout. What is on disk is read back and compared before the old files are replaced.</summary>
public static class WeightFilesWriter
{
    /// <param name="folder">Made where it is missing.</param>
    /// <param name="tensors">In the order the shards are filled; each name once.</param>
    /// <returns>The files that now hold the model, the index last.</returns>
    /// <exception cref="InputException">The disk is full or the folder cannot be written; what was there before is untouched.</exception>
    public static IReadOnlyList<string> Save(string folder, IReadOnlyList<TensorToSave> tensors, WeightFilesOptions? options = null)
    {
        options ??= new();
        var shards = Split(tensors, options.MaxShardBytes);
        var paths = new List<string>();
        for (var i = 0; i < shards.Count; i++)
            paths.Add(Path.Combine(folder,
                shards.Count == 1 ? options.Name + options.Extension
                    : $"{options.Name}-{i + 1:D5}-of-{shards.Count:D5}{options.Extension}"));
        string[] unfinished = [.. paths.Select(WholeFile.Unfinished)];
        try
        {
            for (var i = 0; i < shards.Count; i++)
                WriteAndCompare(unfinished[i], shards[i], options);
            for (var i = 0; i < shards.Count; i++)
                WholeFile.Publish(unfinished[i], paths[i]);
        }
        catch (Exception e)
        {
            foreach (var file in unfinished)
                WholeFile.Forget(file);
            if (WholeFile.Explain(e, folder) is { } explained)
                throw explained;
            throw;
        }
        if (shards.Count > 1)
        {
            var index = Path.Combine(folder, $"{options.Name}{options.Extension}.index.json");
            WholeFile.WriteBytes(index, Index(shards, paths));
            paths.Add(index);
        }
        RemoveOthers(folder, options, paths);
        return paths;
    }

    /// <summary>Fills one shard after the other, in order; a tensor larger than a shard gets its own.</summary>
    private static List<List<TensorToSave>> Split(IReadOnlyList<TensorToSave> tensors, long most)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(most);
        var shards = new List<List<TensorToSave>>();
        List<TensorToSave> current = [];
        var size = 0L;
        foreach (var tensor in tensors)
        {
            if (current.Count > 0 && size + tensor.Info.ByteCount > most)
            {
                shards.Add(current);
                (current, size) = ([], 0);
            }
            current.Add(tensor);
            size += tensor.Info.ByteCount;
        }
        shards.Add(current);
        return shards;
    }

    private static void WriteAndCompare(string path, List<TensorToSave> tensors, WeightFilesOptions options)
    {
        IReadOnlyDictionary<string, byte[]> hashes;
        using (var stream = Disk.Real.Create(path))
            hashes = options.IsTorch ? TorchWriter.Write(stream, tensors, options.Name)
                : SafetensorsWriter.Write(stream, tensors, options.Metadata);
        Disk.Real.FlushFile(path);      // what is compared is what the medium has, as far as the system tells
        using ITensorFile written = options.IsTorch ? TorchFile.Open(path) : SafetensorsFile.Open(path);
        foreach (var tensor in tensors)
            if (written.Info(tensor.Info.Name) != tensor.Info || !Hash(written, tensor.Info.Name).AsSpan()
                .SequenceEqual(hashes[tensor.Info.Name]))
                throw new IOException($"tensor {tensor.Info.Name} reads back differently from what was written; the disk or its "
                    + "memory is faulty");
    }

    private static byte[] Hash(ITensorFile file, string name)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var data = file.Read(name);
        const int chunk = 1 << 22;
        for (var at = 0L; at < data.Info.ByteCount; at += chunk)
        {
            hash.AppendData(data.Slice(at, (int)Math.Min(chunk, data.Info.ByteCount - at)));
            file.ForgetPages();         // otherwise saving would need the model's size once more
            Pulse.Beat();
        }
        return hash.GetHashAndReset();
    }

    private static byte[] Index(List<List<TensorToSave>> shards, List<string> paths)
    {
        var all = shards.SelectMany(s => s).ToArray();
        using var json = new MemoryStream();
        using (var writer = new Utf8JsonWriter(json,
            new() { Indented = true, NewLine = "\n", Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            writer.WriteStartObject();
            writer.WriteStartObject("metadata");
            writer.WriteNumber("total_parameters", all.Sum(t => t.Info.Count));
            writer.WriteNumber("total_size", all.Sum(t => t.Info.ByteCount));
            writer.WriteEndObject();
            writer.WriteStartObject("weight_map");
            var where = shards.Zip(paths).SelectMany(s => s.First.Select(t => (t.Info.Name, File: Path.GetFileName(s.Second))));
            foreach (var (name, file) in where.OrderBy(w => w.Name, StringComparer.Ordinal))
                writer.WriteString(name, file);
            writer.WriteEndObject();
            writer.WriteEndObject();
        }
        json.Write("\n"u8);
        return json.ToArray();
    }

    /// <summary>Removes an earlier save's files of the same name, which a reader would take for this model's.</summary>
    private static void RemoveOthers(string folder, WeightFilesOptions options, List<string> keep)
    {
        var (name, end) = (options.Name, options.Extension);
        var old = Directory.GetFiles(folder, $"{name}-*-of-*{end}")
            .Append(Path.Combine(folder, name + end)).Append(Path.Combine(folder, $"{name}{end}.index.json"));
        foreach (var file in old)
            if (!keep.Contains(file) && File.Exists(file))
                File.Delete(file);
    }
}
