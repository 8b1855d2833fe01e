using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Adapters;

/// <summary>An adapter as PEFT saves it: its config, and its tensors as a source of values.</summary>
/// <param name="folder">Where it lies.</param>
internal sealed class AdapterFolder(string folder) : IAdapterSource
{
    /// <summary>The tensors, newest name first.</summary>
    private static readonly string[] s_files = ["adapter_model.safetensors", "adapter_model.bin"];

    /// <summary>The name of its tensors in a folder.</summary>
    public static string Weights => s_files[0];

    /// <summary>Where it lies.</summary>
    public string Folder { get; } = folder;

    /// <summary>Whether a folder holds an adapter.</summary>
    public static bool Holds(string folder) => File.Exists(Path.Combine(folder, AdapterConfigFile.Name))
        || s_files.Any(name => File.Exists(Path.Combine(folder, name)));

    /// <summary>The file with its tensors.</summary>
    /// <exception cref="InputException">There is none.</exception>
    public static string FileOf(string folder) => s_files.Select(name => Path.Combine(folder, name)).FirstOrDefault(File.Exists)
        ?? throw new InputException($"{folder} has {AdapterConfigFile.Name}, but no {Weights}",
            why: "the adapter's tensors are missing", fix: "name a folder that holds both");

    public void Check(AdapterLayout layout)
    {
        using var tensors = new Tensors(Folder);
        foreach (var layer in layout.Layers)
            if (layer.Start is not null)
                StartedAdapter.Check(layer, tensors.Find);
            else
                foreach (var part in layer.Specs.SelectMany(spec => spec.Parts))
                    tensors.Find(part.Published, part.PublishedShape);
        foreach (var part in layout.Whole.Select(pair => pair.Own).DistinctBy(own => own.Name)
            .Concat(layout.Tokens is { } rows ? [rows.Own] : []).SelectMany(own => own.Parts))
            tensors.Find(part.Published, part.PublishedShape);
        foreach (var pair in layout.Whole.GroupBy(pair => pair.Own.Name))
            tensors.RequireSame([.. pair.Select(own => own.Own.Parts[0])]);
        tensors.RequireNoOthers(SavedTables.Known(layout.Modules.Family));      // those are the model's own, and are read with it
    }

    public void Fill(AdapterLayout layout, ModelParameters parameters)
    {
        using var tensors = new Tensors(Folder);
        foreach (var layer in layout.Layers)
            if (layer.Start is { } start)
                StartedAdapter.Read(layer, start, parameters, tensors.Find);
            else
                foreach (var spec in layer.Specs)
                    Read(spec);
        foreach (var (replaced, own) in layout.Whole.DistinctBy(pair => pair.Own.Name))
        {
            if (own.Parts.Count < replaced.Parts.Count)
                parameters[own.Name].Value.Detach().CopyFrom(layout.Below(parameters, replaced.Name));
            Read(own);
        }
        if (layout.Tokens is { } rows)
            Read(rows.Own);

        unsafe void Read(ParameterSpec spec)
        {
            HostMemory.Write(parameters[spec.Name].Value, value =>
            {
                foreach (var part in spec.Parts)
                {
                    var data = tensors.Find(part.Published, part.PublishedShape);
                    PartCopy.ToOurs(data, part, spec.Count / Math.Max(spec.Shape[0], 1), value.DType, (nint)value.Data);
                    GC.KeepAlive(data.Owner);
                }
            });
        }
    }

    /// <summary>The tensors of a folder by today's names, and which of them were asked for.</summary>
    private sealed class Tensors : IDisposable
    {
        private const string Cure = "take the adapter_config.json that was saved with it, and the model that it was trained on";

        private readonly WeightFiles _files;
        private readonly Dictionary<string, string> _names;
        private readonly HashSet<string> _used = [];

        public Tensors(string folder)
        {
            _files = WeightFiles.Open(FileOf(folder));
            _names = Names(_files);
        }

        public TensorData Find(string published, ValueList<long> shape)
        {
            if (!_names.TryGetValue(published, out var name))
                throw published.EndsWith(".base_layer.bias", StringComparison.Ordinal) ? new InputException(
                    $"{_files.Path}: tensor \"{published}\" is missing, and bias asks for it",
                    why: "PEFT before 0.20 did not save the biases that bias: lora_only trains: what they learnt is lost",
                    fix: "write \"bias\": \"none\" into adapter_config.json to use the adapter with the model's own biases")
                    : new InputException($"{_files.Path}: tensor \"{published}\" is missing",
                    why: "the config names its layer as one with an adapter", fix: Cure);
            _used.Add(published);
            var info = _files.Info(name);
            if (!info.Shape.Equals(shape))
                throw new InputException($"{_files.Path}: tensor \"{name}\" has shape {info.Shape}, but the config and the model ask for "
                    + $"{shape}",
                    why: published.Contains(".lora_", StringComparison.Ordinal)
                        ? "the rank differs, or the adapter was trained on another model"
                        : "the adapter was trained on another model, or with another vocabulary",
                    fix: Cure);
            return info.DType.IsFloat ? _files.Read(name) : throw new InputException($"{_files.Path}: tensor \"{name}\" has elements "
                + $"of type {info.DType}, but an adapter's are floating-point numbers", fix: Cure);
        }

        /// <summary>Requires that what is one matrix is the same tensor under all of its names; the first is there, others may be
        /// missing.</summary>
        public void RequireSame(IReadOnlyList<ParameterPart> parts)
        {
            foreach (var other in parts.Skip(1).Where(part => _names.ContainsKey(part.Published)))
                if (!SavedTables.IsSame(Find(parts[0].Published, parts[0].PublishedShape), Find(other.Published, other.PublishedShape)))
                    throw new InputException($"{_files.Path}: tensors \"{parts[0].Published}\" and \"{other.Published}\" differ, but "
                        + "ensure_weight_tying makes them one", why: "head and embedding are trained as the one matrix that they are",
                        fix: "remove ensure_weight_tying from adapter_config.json, and name both in modules_to_save, where they were "
                        + "trained apart");
        }

        public void RequireNoOthers(IEnumerable<string> passed)
        {
            if (_names.Keys.Except(_used).Except(passed).Order(StringComparer.Ordinal).ToArray() is [var extra, ..] all)
                throw new InputException($"{_files.Path}: tensor \"{extra}\"{(all.Length > 1 ? $" and {all.Length - 1} more" : "")} "
                    + $"{(all.Length > 1 ? "belong" : "belongs")} to no layer that has an adapter",
                    why: "what an adapter learnt there would be lost without a word", fix: Cure);
        }

        public void Dispose() => _files.Dispose();
    }

    /// <summary>The tensors by today's names: some releases kept the adapter's name in them, or other ends.</summary>
    internal static Dictionary<string, string> Names(WeightFiles files)
    {
        var result = new Dictionary<string, string>();
        foreach (var name in files.Names)
        {
            var today = name.Replace(".default.", ".", StringComparison.Ordinal);
            today = today.EndsWith(".default", StringComparison.Ordinal) ? today[..^8] : today;
            if (today.EndsWith(".lora_magnitude_vector.weight", StringComparison.Ordinal))
                today = today[..^".weight".Length];
            today = today.Replace(".modules_to_save.", ".", StringComparison.Ordinal);
            if (!today.StartsWith(AdapterLayout.Prefix, StringComparison.Ordinal))
                today = AdapterLayout.Prefix + today;
            result[today] = name;
        }
        return result;
    }
}
