using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Models.Gguf;

/// <summary>An adapter as a GGUF file, which llama.cpp lays over the GGUF file of its model.</summary>
/// <remarks>
/// <code>
/// there:  W·x + (α/r)·B·A·x,   one α for the whole file, r of each layer by its A
/// </code>
/// A layer of another factor, by rsLoRA or a pattern, gets the rest of it into its B. B's rows stand as those of the weight do in the
/// model's file.
/// </remarks>
internal static class GgufAdapter
{
    /// <param name="folder">The adapter's folder.</param>
    /// <param name="model">The folder of the model that it was trained on.</param>
    /// <param name="precision">f32, f16 or bf16.</param>
    /// <param name="path">The file; it is read back and compared before it gets its name.</param>
    /// <exception cref="InputException">The adapter has more than A and B, or llama.cpp does not know its model.</exception>
    public static GgufExported Write(string folder, string model, GgufPrecision precision, string path)
    {
        if (precision.Matrices.Size > 1)
            throw new InputException($"--to {precision.Name} is for models, and {folder} is an adapter",
                why: "an adapter is small, and codes "
                + "would cost it more than they save", fix: "write it with --to f16, or merge it first: handbook merge");
        TorchRuntime.Load();
        var config = PublishedConfig.Load(model);
        var layout = GgufExport.LayoutOf(config);
        var adapter = AdapterConfigFile.Read(folder);
        var laid = AdapterLayout.Of("adapter", adapter, config.Family, config.Decoder,
            config.Family.Parameters(config.Decoder, fused: true),
            new AdapterFolder(folder), Path.Combine(folder, AdapterConfigFile.Name), trained: false);
        laid.Source.Check(laid);
        RequirePlain(folder, laid);
        using var files = WeightFiles.Open(AdapterFolder.FileOf(folder));
        var names = AdapterFolder.Names(files);
        var modules = laid.Layers.SelectMany(layer => layer.Targets).ToDictionary(target => target.Module);
        var metadata = new GgufMetadata(path);
        metadata.Add("general.architecture", layout.Architecture);
        metadata.Add("general.type", "adapter");
        metadata.Add("general.name", RealPath.NameOf(folder));
        metadata.Add("general.file_type", precision.FileType);
        metadata.Add("adapter.type", "lora");
        metadata.Add("adapter.lora.alpha", adapter.Alpha);

        var (tensors, written) = (new List<GgufTensorToSave>(), new HashSet<string>());
        foreach (var tensor in GgufTensorMap.Of(config.Family, layout, config.Decoder, hasHead: !config.Decoder.TiedHead))
        {
            var sources = tensor.Pieces.SelectMany(piece => piece.Spec.Parts).Select(part => part.Published).Distinct().ToArray();
            if (!sources.Any(source => modules.ContainsKey(AdapterModules.PathOf(source)))
                || !tensor.Name.EndsWith(".weight", StringComparison.Ordinal))
                continue;
            if (sources is not [var only] || tensor.Pieces.Any(piece => piece.Spec.IsStacked))
                throw new InputException($"{folder}: {tensor.Name} of the model's file holds several layers, of which some have an adapter",
                    why: "llama.cpp lays one over a whole tensor", fix: MergeInstead(folder));
            var target = modules[AdapterModules.PathOf(only)];
            var prefix = AdapterLayout.Prefix + target.Module;
            var (down, up) = (Values(files, names[prefix + ".lora_A.weight"]), Values(files, names[prefix + ".lora_B.weight"]));
            var rank = (int)target.Rank;
            var rest = target.Scale * rank / adapter.Alpha;
            tensors.Add(Saved(tensor.Name + ".lora_a", down, tensor.Columns, precision));
            tensors.Add(Saved(tensor.Name + ".lora_b", Rows(tensor, up, rank, rest), rank, precision));
            written.Add(target.Module);
        }
        if (modules.Keys.FirstOrDefault(module => !written.Contains(module)) is { } lost)
            throw new InputException($"{folder}: {lost} has an adapter, but the model's file has no tensor of its own for it",
                why: config.Decoder.TiedHead && lost == laid.Modules.Head ? "its head is the embedding"
                    : "what was learnt there would be lost",
                fix: MergeInstead(folder));
        GgufWriter.Save(path, metadata, tensors);
        return new([.. tensors.GroupBy(tensor => tensor.Blocks).Select(group => (group.Key, group.Count()))], new FileInfo(path).Length,
            []);
    }

    private static string MergeInstead(string folder) => $"merge it into its model, and convert that: handbook merge {folder} --out FOLDER";

    private static void RequirePlain(string folder, AdapterLayout laid)
    {
        var more = laid.Layers.Any(layer => layer.Place == AdapterPlace.Embedding) ? "an adapter of the embedding"
            : laid.Layers.Any(layer => layer.Start is not null) ? "a start that was taken out of the weights (init_lora_weights)"
            : laid.Layers.SelectMany(layer => layer.Targets).Any(target => target.Magnitude is not null) ? "magnitudes (use_dora)"
            : laid.Layers.SelectMany(layer => layer.Targets).Any(target => target.UpBias is not null) ? "biases of B (lora_bias)"
            : laid.Whole.Count > 0 ? "layers or biases that were trained whole (modules_to_save, bias)"
            : laid.Tokens is not null ? "rows of tokens (trainable_token_indices)" : null;
        if (more is not null)
            throw new InputException($"{folder} has {more}", why: "llama.cpp knows the A and B of layers alone", fix: MergeInstead(folder));
    }

    /// <summary>B's rows in the order of the file, times a factor.</summary>
    private static float[] Rows(MappedTensor tensor, float[] up, int rank, double factor)
    {
        var rows = new float[tensor.Rows * rank];
        foreach (var piece in tensor.Pieces)
            for (var row = 0L; row < piece.Rows; row++)
            {
                var ours = piece.Ours(row);
                var part = piece.Spec.Parts.First(one => ours >= one.Start && ours < one.Start + one.Rows);
                var published = part.PublishedStart + (ours - part.Start) * part.Step;
                for (var i = 0; i < rank; i++)
                    rows[(piece.Start + row) * rank + i] = (float)(up[published * rank + i] * factor);
            }
        return rows;
    }

    private static float[] Values(WeightFiles files, string name)
    {
        var data = files.Read(name);
        var values = new float[data.Info.Count];
        ElementConversion.Convert(data.Bytes, data.Info.DType, MemoryMarshal.AsBytes(values.AsSpan()), DType.Float32);
        GC.KeepAlive(data.Owner);
        return values;
    }

    private static GgufTensorToSave Saved(string name, float[] values, long columns, GgufPrecision precision) =>
        new(name, [values.Length / columns, columns], precision.Matrices, stream =>
        {
            var bytes = new byte[values.Length * precision.Matrices.Bytes];
            precision.Matrices.Encode(values, [], bytes);
            stream.Write(bytes);
        });
}
