using System.Text.Json;
using Handbook.Base;

namespace Handbook.Models.Files;

/// <summary>The tensors of a saved model under their published names, in one file or in shards with an index.</summary>
public sealed class WeightFiles : IDisposable
{
    /// <summary>File names in the order they are looked for.</summary>
    private static readonly string[] _known =
        ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

    // Written by trainers beside the weights; never the weights themselves.
    private static readonly string[] _beside = ["training_args", "optimizer", "scheduler", "rng_state", "adapter_model", "scaler"];

    private readonly IReadOnlyList<ITensorFile> _files;
    private readonly Dictionary<string, ITensorFile> _where;

    private WeightFiles(string path, IReadOnlyList<ITensorFile> files, Dictionary<string, ITensorFile> where)
    {
        (Path, _files, _where) = (path, files, where);
        Names = [.. where.Keys];
        var metadata = new Dictionary<string, string>();
        foreach (var (key, value) in files.SelectMany(f => f.Metadata))
            metadata.TryAdd(key, value);
        Metadata = metadata;
    }

    /// <summary>The file that was opened: the weights themselves, or their index.</summary>
    public string Path { get; }

    /// <summary>The published names of all tensors.</summary>
    public IReadOnlyList<string> Names { get; }

    /// <summary>Free texts of the files; some name a tensor that stands under another name.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Whether there is a tensor of this name.</summary>
    public bool Has(string name) => _where.ContainsKey(name);

    /// <summary>Element type and shape of a tensor; nothing of it is read.</summary>
    /// <exception cref="InputException">There is no tensor of this name.</exception>
    public TensorInfo Info(string name) => Find(name).Info(name);

    /// <summary>A tensor in the mapped file; its pages are read as they are touched.</summary>
    /// <exception cref="InputException">There is no tensor of this name.</exception>
    public TensorData Read(string name) => Find(name).Read(name);

    /// <summary>The elements' bytes. Valid while this object lives.</summary>
    public ReadOnlySpan<byte> Bytes(string name) => Read(name).Bytes;

    /// <summary>The file a tensor stands in, for messages.</summary>
    public string FileOf(string name) => Find(name).Path;

    /// <summary>Lets the system take back the pages that were read so far.</summary>
    public void ForgetPages()
    {
        foreach (var file in _files)
            file.ForgetPages();
    }

    /// <summary>Closes the files; memory that somebody holds a reference on lives on.</summary>
    public void Dispose()
    {
        foreach (var file in _files)
            file.Dispose();
    }

    /// <param name="path">A folder with weights, a weights file, or the index of a sharded model.</param>
    public static WeightFiles Open(string path)
    {
        var file = Directory.Exists(path) ? FindIn(path) : path;
        if (!File.Exists(file))
            throw new InputException($"{file} does not exist", fix: "name a folder with weights, or a weights file");
        if (file.EndsWith(".index.json"))
            return OpenShards(file);
        ITensorFile[] files = [OpenFile(file)];
        return new(file, files, files[0].Names.ToDictionary(name => name, _ => files[0]));
    }

    private static ITensorFile OpenFile(string file) => System.IO.Path.GetExtension(file) switch
    {
        ".safetensors" => SafetensorsFile.Open(file),
        ".bin" or ".pt" or ".pth" or ".ckpt" => TorchFile.Open(file),
        ".gguf" => throw ModelFolder.IsGguf(file),
        _ => throw new InputException($"{file}: cannot tell the format of the weights from this name",
            fix: "name a .safetensors, .bin, .pt or .pth file, an index (…index.json), or a folder"),
    };

    private static string FindIn(string folder)
    {
        foreach (var name in _known)
            if (File.Exists(System.IO.Path.Combine(folder, name)))
                return System.IO.Path.Combine(folder, name);
        foreach (var extensions in (string[][])[[".safetensors"], [".bin", ".pth", ".pt"]])
        {
            var found = Directory.GetFiles(folder)
                .Where(f => extensions.Contains(System.IO.Path.GetExtension(f)) && !_beside.Any(System.IO.Path.GetFileName(f)!.StartsWith))
                .Order(StringComparer.Ordinal).ToArray();
            if (found.Length == 1)
                return found[0];
            if (found.Length > 1)
                throw new InputException($"{folder} holds {found.Length} weight files and no "
                    + $"index: {string.Join(", ", found.Take(4).Select(System.IO.Path.GetFileName))}{(found.Length > 4 ? ", …" : "")}",
                    fix: "name the file itself, or fetch the index (…index.json) that belongs to them");
        }
        if (File.Exists(System.IO.Path.Combine(folder, Adapters.AdapterFolder.Weights)))
            throw new InputException($"{folder} has {Adapters.AdapterFolder.Weights}, but no {Adapters.AdapterConfigFile.Name}",
                why: "the config says which layers have an adapter, and what model lies below it", fix: "name a folder that holds both");
        if (Directory.EnumerateFiles(folder, "*.gguf").Order(StringComparer.Ordinal).FirstOrDefault() is { } other)
            throw ModelFolder.IsGguf(other);
        throw new InputException($"{folder} holds no weights",
            why: $"looked for {string.Join(", ", _known)}, *.safetensors, *.bin, *.pth, *.pt",
            fix: "name the folder of a saved model");
    }

    private static WeightFiles OpenShards(string index)
    {
        var map = ReadIndex(index);
        var folder = System.IO.Path.GetDirectoryName(index)!;
        var files = new Dictionary<string, ITensorFile>();
        try
        {
            foreach (var shard in map.Values.Distinct().Order(StringComparer.Ordinal))
            {
                var path = System.IO.Path.Combine(folder, shard);
                if (!File.Exists(path))
                    throw new InputException($"{index}: names the file {shard}, which is missing", fix: $"fetch {shard} into {folder}");
                files[shard] = OpenFile(path);
            }
            var where = new Dictionary<string, ITensorFile>();
            foreach (var (name, shard) in map)
                where[name] = files[shard].Names.Contains(name) ? files[shard]
                    : throw new InputException($"{index}: says that {shard} holds tensor \"{name}\", but it does not",
                        fix: "fetch the shards and the index again, all from one revision");
            // An index need not list everything: what it leaves out is still there to be found.
            foreach (var file in files.Values)
                foreach (var name in file.Names)
                    where.TryAdd(name, file);
            return new(index, [.. files.Values], where);
        }
        catch
        {
            foreach (var file in files.Values)
                file.Dispose();
            throw;
        }
    }

    private static Dictionary<string, string> ReadIndex(string index)
    {
        byte[] bytes;
        try
        {
            bytes = File.ReadAllBytes(index);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{index} cannot be read: {e.Message}", inner: e);
        }
        var json = PublishedConfig.ParseObject(bytes, index);
        if (json["weight_map"] is not System.Text.Json.Nodes.JsonObject map)
            throw new InputException($"{index}: has no object weight_map", fix: "fetch the index again");
        var shards = new Dictionary<string, string>();
        foreach (var (name, node) in map)
        {
            if (node?.GetValueKind() != JsonValueKind.String)
                throw new InputException($"{index}: weight_map has no file name for tensor \"{name}\"", fix: "fetch the index again");
            var shard = node.GetValue<string>();
            // A shard lies beside its index: a path would reach files that are not the model's.
            if (shard.Length == 0 || shard != System.IO.Path.GetFileName(shard) || shard is "." or "..")
                throw new InputException($"{index}: weight_map names \"{shard}\" for tensor \"{name}\", which is not a plain file name");
            shards[name] = shard;
        }
        if (shards.Count == 0)
            throw new InputException($"{index}: weight_map is empty", fix: "fetch the index again");
        return shards;
    }

    private ITensorFile Find(string name) => _where.TryGetValue(name, out var file)
        ? file
        : throw new InputException($"{Path}: has no tensor \"{name}\"");
}
