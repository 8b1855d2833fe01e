using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models.Gguf;

/// <summary>What was written.</summary>
/// <param name="Tensors">Tensors of each format.</param>
/// <param name="Bytes">Size of the file.</param>
/// <param name="Notes">What a user should know.</param>
internal sealed record GgufExported(IReadOnlyList<(BlockFormat Format, int Count)> Tensors, long Bytes, IReadOnlyList<string> Notes);

/// <summary>A model folder as one GGUF file, as llama.cpp opens it.</summary>
internal static class GgufExport
{
    /// <param name="folder">The model.</param>
    /// <param name="path">The file; it is read back and compared before it gets its name.</param>
    /// <param name="importance">How much columns count where weights are rounded; null: all alike.</param>
    /// <param name="done">Told of the weights of each tensor that was written.</param>
    /// <exception cref="InputException">llama.cpp does not know the family, or does not compute what the model needs.</exception>
    public static GgufExported Write(string folder, GgufPrecision precision, string path, ImportanceMatrix? importance = null,
        Action<long>? done = null, CancellationToken cancel = default)
    {
        TorchRuntime.Load();
        var config = PublishedConfig.Load(folder);
        var layout = LayoutOf(config);
        using var weights = ModelWeights.Open(folder, config);
        var tokenizer = Tokenizer.Load(folder);
        var notes = new List<string>(weights.LeftOut);
        var metadata = new GgufMetadata(path);
        metadata.Add("general.architecture", layout.Architecture);
        metadata.Add("general.type", "model");
        metadata.Add("general.name", RealPath.NameOf(folder));
        metadata.Add("general.file_type", precision.FileType);
        metadata.Add("general.quantization_version", 2);
        metadata.Add("quantize.imatrix.entries_count", importance?.Count);
        GgufHyperparameters.Add(metadata, layout, config.Decoder, notes);
        var prompts = new PromptEncoder(folder, tokenizer, GenerationDefaults.Load(folder, config.Decoder));
        GgufVocabulary.Add(metadata, tokenizer, prompts, config.Decoder.VocabularySize, notes);

        var tensors = new List<GgufTensorToSave>();
        foreach (var tensor in GgufTensorMap.Of(config.Family, layout, config.Decoder, hasHead: !config.Decoder.TiedHead
            || layout.NeedsHead))
            tensors.Add(Saved(tensor, precision.FormatOf(tensor, layout, config.Decoder), weights, importance, done, cancel));
        foreach (var (name, values) in GgufHyperparameters.FrequencyDivisors(config.Decoder))
            tensors.Add(new(name, [values.Length], BlockFormat.F32,
                stream => stream.Write(MemoryMarshal.AsBytes<float>(Array.ConvertAll(values, value => (float)value)))));
        GgufWriter.Save(path, metadata, tensors);
        return new([.. tensors.GroupBy(tensor => tensor.Blocks).Select(group => (group.Key, group.Count()))], new FileInfo(path).Length,
            notes);
    }

    /// <summary>The layout of a model's family.</summary>
    /// <exception cref="InputException">There is none.</exception>
    internal static GgufLayout LayoutOf(PublishedConfig config) => GgufLayouts.Of(config.Family.ModelType) ?? throw new InputException(
        $"no GGUF file is written of a {config.Family.ModelType} model",
        why: GgufLayouts.WhyNot(config.Family.ModelType) ?? $"families that are: {string.Join(", ", GgufLayouts.Known)}",
        fix: "serve it as safetensors, with vLLM or transformers");

    private static GgufTensorToSave Saved(MappedTensor tensor, BlockFormat format, ModelWeights weights, ImportanceMatrix? importance,
        Action<long>? done, CancellationToken cancel) => new(tensor.Name, tensor.Shape, format, stream =>
    {
        foreach (var piece in tensor.Pieces)
        {
            cancel.ThrowIfCancellationRequested();
            using var values = new NativeBuffer(piece.Spec.Count * sizeof(float));
            weights.Read(piece.Spec.Name, DType.Float32, values.DangerousGetHandle());
            // the head's columns count as what it reads; a row of the embedding is looked up by itself
            var counts = importance is null || tensor.Name == "token_embd.weight" ? []
                : importance.Of(tensor.Name == GgufTensorMap.Head + ".weight" ? ParameterSpec.Head : piece.Spec.Name).ToArray();
            Encode(stream, values, tensor, piece, format, counts);
            weights.ForgetPages();
            done?.Invoke(piece.Spec.Count);
        }
    });

    /// <summary>Writes the rows of a piece, some of them side by side.</summary>
    private static unsafe void Encode(Stream stream, NativeBuffer values, MappedTensor tensor, GgufPiece piece, BlockFormat format,
        float[] importance)
    {
        // A vector is one row of all its elements.
        var columns = tensor.Shape.Count == 1 ? piece.Spec.Count : tensor.Columns;
        var rows = piece.Spec.Count / columns;
        var rowBytes = checked((int)(columns / format.Size * format.Bytes));
        var together = (int)Math.Clamp((8 << 20) / rowBytes, 1, rows);
        var encoded = new byte[(long)together * rowBytes];
        for (var first = 0L; first < rows; first += together)
        {
            var count = (int)Math.Min(together, rows - first);
            Parallel.For(0, count, i =>
            {
                var row = new ReadOnlySpan<float>((float*)values.Pointer + (tensor.Shape.Count == 1 ? 0 : piece.Ours(first + i)) * columns,
                    (int)columns);
                var to = encoded.AsSpan(i * rowBytes, rowBytes);
                if (tensor.Offset == 0 && (tensor.Shape.Count > 1 || piece.Heads == 0))
                    format.Encode(row, importance, to);
                else
                    format.Encode(Changed(row, tensor, piece), importance, to);
            });
            stream.Write(encoded, 0, count * rowBytes);
        }
    }

    private static float[] Changed(ReadOnlySpan<float> row, MappedTensor tensor, GgufPiece piece)
    {
        var changed = new float[row.Length];
        for (var i = 0; i < row.Length; i++)
            changed[i] = row[tensor.Shape.Count == 1 ? (int)piece.Ours(i) : i] + (float)tensor.Offset;
        return changed;
    }
}
