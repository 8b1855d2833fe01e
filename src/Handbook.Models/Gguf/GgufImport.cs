using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models.Gguf;

/// <summary>A GGUF file as a model folder.</summary>
internal static class GgufImport
{
    /// <summary>About how many bytes <see cref="Write"/> writes.</summary>
    public static long Bytes(GgufFile file, DType type) => file.Tensors.Sum(tensor => tensor.Count) * type.Size + (64 << 20);

    /// <summary>The element type that keeps what a file holds: that of most of its weights, or float32 where these are codes.</summary>
    public static DType TypeOf(GgufFile file)
    {
        var most = file.Tensors.GroupBy(tensor => tensor.Blocks).MaxBy(group => group.Sum(tensor => tensor.Count))?.Key;
        return most == BlockFormat.F16 ? DType.Float16 : most == BlockFormat.BF16 ? DType.BFloat16 : DType.Float32;
    }

    /// <param name="file">The file.</param>
    /// <param name="type">Element type of the weights in the folder.</param>
    /// <param name="output">The folder; the weights are read back and compared before this returns.</param>
    /// <param name="done">Told of the weights of each tensor that was written.</param>
    /// <returns>The family.</returns>
    /// <exception cref="InputException">The architecture is not read back, or the file lacks tensors of it.</exception>
    public static string Write(GgufFile file, DType type, string output, Action<long>? done = null, CancellationToken cancel = default)
    {
        var (config, layout) = GgufConfig.Read(file);
        var tokenizer = GgufTokenizer.Read(file);
        var tensors = Bind(file, config, layout);
        WeightFilesWriter.Save(output, PublishedTensors.Of(config.Family.Parameters(config.Decoder), our =>
        {
            cancel.ThrowIfCancellationRequested();
            var data = Values(file, tensors[our].Tensor, tensors[our].Piece);
            done?.Invoke(data.Info.Count);
            return data;
        }, type));
        var decoder = config.Decoder;
        SavedModel.WriteFiles(output, config.With(type), new GenerationDefaults
        {
            BosId = decoder.BosId,
            EosIds = decoder.EosIds,
            PadId = decoder.PadId
        }, tokenizer);
        return config.Family.ModelType;
    }

    /// <summary>The tensor and the piece of it that hold each of our parameters.</summary>
    private static Dictionary<string, (MappedTensor Tensor, GgufPiece Piece)> Bind(GgufFile file, PublishedConfig config, GgufLayout layout)
    {
        var places = new Dictionary<string, (MappedTensor, GgufPiece)>();
        var used = new HashSet<string> { "rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight" };
        if (config.Decoder.TiedHead)
            used.Add(GgufTensorMap.Head + ".weight");       // a copy of the embedding, where there is one
        List<string> problems = [];
        foreach (var tensor in GgufTensorMap.Of(config.Family, layout, config.Decoder, hasHead: false))
        {
            used.Add(tensor.Name);
            if (file.Find(tensor.Name) is not { } info)
                problems.Add($"it lacks tensor \"{tensor.Name}\"");
            else if (!info.Shape.Equals(tensor.Shape))
                problems.Add($"tensor \"{tensor.Name}\" has shape {info.Shape}, but its keys ask for {tensor.Shape}");
            foreach (var piece in tensor.Pieces)
                places[piece.Spec.Name] = (tensor, piece);
        }
        problems.AddRange(file.Tensors.Where(tensor => !used.Contains(tensor.Name))
            .Select(tensor => $"tensor \"{tensor.Name}\" belongs to nothing that a {config.Family.ModelType} model has"));
        return problems.Count == 0 ? places : throw new InputException(
            $"{file.Path}: {string.Join("; ", problems.Take(5))}{(problems.Count > 5 ? $"; and {problems.Count - 5} more" : "")}",
            why: "weights that are left out or missing would change what the model computes",
            fix: "name the model's folder, or its name on the hub, instead of this file");
    }

    /// <summary>A parameter as float32, row-major in our shape.</summary>
    private static unsafe TensorData Values(GgufFile file, MappedTensor tensor, GgufPiece piece)
    {
        var info = file.Find(tensor.Name)!;
        var buffer = new NativeBuffer(piece.Spec.Count * sizeof(float));
        if (tensor.Shape.Count == 1)
        {
            var all = new float[info.Count];
            file.Read(info, 0, all);
            for (var i = 0L; i < piece.Spec.Count; i++)
                ((float*)buffer.Pointer)[tensor.Pieces.Count > 1 || piece.Heads > 0 ? piece.Ours(i) : i] = all[piece.Start + i]
                    - (float)tensor.Offset;
        }
        else
        {
            var columns = (int)tensor.Columns;
            Parallel.For(0, piece.Rows, row =>
            {
                var to = new Span<float>((float*)buffer.Pointer + piece.Ours(row) * columns, columns);
                file.Read(info, piece.Start + row, to);
                for (var i = 0; tensor.Offset != 0 && i < columns; i++)
                    to[i] -= (float)tensor.Offset;
            });
        }
        return new(new(piece.Spec.Name, DType.Float32, piece.Spec.Shape), buffer.DangerousGetHandle(), buffer);
    }
}
