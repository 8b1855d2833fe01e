using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>A model on its way into a folder, in the published layout: weights, config, generation config, tokenizer.</summary>
/// <param name="model">The network.</param>
/// <param name="config">The config it was loaded with; unknown keys are kept.</param>
/// <param name="generation">How it would like to be sampled.</param>
/// <param name="tokenizer">The tokenizer with its chat template.</param>
/// <param name="dtype">Element type of the weights in the file.</param>
public sealed class SavedModel(Decoder model, PublishedConfig config, GenerationDefaults generation, Tokenizer tokenizer, DType dtype)
{
    /// <summary>About how many bytes <see cref="Write"/> writes.</summary>
    public long Bytes => model.Parameters.Count * dtype.Size + tokenizer.SavedBytes + (1 << 20);

    /// <summary>Writes everything; the weights are read back and compared before this returns.</summary>
    /// <remarks>The end token of the tokenizer goes into both configs: a model whose config names another one never stops.</remarks>
    public void Write(string folder)
    {
        WeightFilesWriter.Save(folder, PublishedTensors.Of(model.Parameters.Specs, Read, dtype));
        var named = model.Config.Head == ModelHead.Score ? ScorePadding.WithToken(tokenizer, config.Decoder.EosIds) : tokenizer;
        var (bos, eos, pad) = (tokenizer.BosId ?? config.Decoder.BosId, EndIds(config.Decoder.EosIds), named.PadId ?? config.Decoder.PadId);
        config.With(dtype).With(bos, eos, pad).Save(folder);
        (generation with { BosId = bos, EosIds = EndIds(generation.EosIds), PadId = pad }).Save(folder);
        named.Save(folder);
    }

    private ValueList<int> EndIds(ValueList<int> known) => tokenizer.EosId is not { } id || known.Contains(id) ? known : [id];

    private TensorData Read(string name)
    {
        var value = model.Parameters[name].Value;
        return new TensorData(new TensorInfo(name, value.DType, [.. value.Shape]), TensorKeeper.Address(value), new TensorKeeper(value));
    }
}
