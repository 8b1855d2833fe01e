using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Quantised;

/// <summary>A model folder written in bitsandbytes' layout, which the Python library and this one open.</summary>
/// <param name="Matrices">Published matrices that became codes.</param>
/// <param name="Weights">Their weights.</param>
/// <param name="BytesBefore">Bytes of the weight files that it was made from.</param>
/// <param name="BytesNow">Bytes of the new ones.</param>
internal sealed record QuantisedFolder(int Matrices, long Weights, long BytesBefore, long BytesNow)
{
    /// <param name="folder">A model folder.</param>
    /// <param name="compute">Element type of products that config.json asks of whoever opens it.</param>
    /// <param name="output">The new folder. The weights are read back and compared before this returns.</param>
    /// <param name="done">Told of the weights of each matrix that was quantised.</param>
    /// <exception cref="InputException">The model is quantised already, or the folder cannot be written.</exception>
    public static QuantisedFolder Write(string folder, QuantisedFormat format, DType compute, string output, Action<long>? done = null)
    {
        TorchRuntime.Load();
        var config = PublishedConfig.Load(folder);
        using var weights = ModelWeights.Open(folder, config);
        if (weights.Quantised is { } kind)
            throw new InputException($"{folder} is quantised already ({kind})",
                why: "codes of codes would be off twice", fix: "name the model in full precision that it was made from");
        var count = weights.Parameters.Where(WeightQuantisation.Applies).Sum(spec => spec.Count);
        IReadOnlyList<string> files;
        int matrices;
        using (var tensors = QuantisedTensors.Of(weights, format, done: done))
        {
            matrices = tensors.Matrices;
            files = WeightFilesWriter.Save(output, tensors.Tensors);
        }
        config = config.With(("quantization_config", BitsAndBytesLayout.Config(format, compute)));
        config.Save(output);
        GenerationDefaults.Load(folder, config.Decoder).Save(output);
        Tokenizer.Load(folder).Save(output);
        using var written = ModelWeights.Open(output, config);
        foreach (var spec in written.Parameters.Where(WeightQuantisation.Applies))
            if (written.FormatOf(spec.Name) != format)
                throw new InputException($"{output}: {spec.Name} reads back as {written.FormatOf(spec.Name)?.ToString() ?? "no codes"}",
                    why: "the disk or its memory is faulty", fix: "choose another folder");
        return new(matrices, count, Size(ModelFolder.Files(folder)), Size(files));
    }

    private static long Size(IEnumerable<string> files) =>
        files.Where(file => !file.EndsWith(".json", StringComparison.Ordinal)).Sum(file => new FileInfo(file).Length);
}
