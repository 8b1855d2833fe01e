using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>A model on its way into a folder, in the published layout: weights, or the adapter where one is trained, config, generation
/// config, tokenizer.</summary>
/// <param name="model">The network.</param>
/// <param name="config">The config it was loaded with; unknown keys are kept.</param>
/// <param name="generation">How it would like to be sampled.</param>
/// <param name="tokenizer">The tokenizer with its chat template.</param>
/// <param name="dtype">Element type of the weights in the file.</param>
public sealed class SavedModel(Decoder model, PublishedConfig config, GenerationDefaults generation, Tokenizer tokenizer, DType dtype)
{
    private readonly AdapterLayout? _adapter = model.Parameters.Plan.Adapters.FirstOrDefault(adapter => adapter.IsTrained);

    /// <summary>What the adapter was trained on; not read of a whole model.</summary>
    internal AdapterChain? TrainedOn { get; init; }

    /// <summary>What is written in the place of the network's own weights; null for these.</summary>
    internal IReadOnlyList<TensorToSave>? Tensors { get; init; }

    /// <summary>What the header of the weights says.</summary>
    internal IReadOnlyDictionary<string, string> Metadata { get; init; } = new WeightFilesOptions().Metadata;

    /// <summary>About how many bytes <see cref="Write"/> writes.</summary>
    public long Bytes => (Tensors is not null ? Tensors.Sum(tensor => tensor.Info.ByteCount)
        : _adapter is null ? model.Parameters.Count * dtype.Size
        : _adapter.Saved.Concat(_adapter.FixedSpecs).Concat(Tables(_adapter).Select(table => table.Own)).Sum(spec => spec.Count)
            * sizeof(float)) + tokenizer.SavedBytes + (1 << 20);

    /// <summary>Writes everything; the weights are read back and compared before this returns.</summary>
    /// <remarks>The end token of the tokenizer goes into both configs, and the one that ends a turn of the chat template into
    /// <c>generation_config.json</c>: a model whose config names another one never stops.</remarks>
    public void Write(string folder)
    {
        if (_adapter is null)
            // what nothing trains is not rounded either
            WeightFilesWriter.Save(folder, Tensors ?? PublishedTensors.Of(model.Parameters.Specs, Read,
                spec => spec.Kind == ParameterKind.Buffer ? model.Parameters[spec.Name].Value.DType : dtype),
                new() { Metadata = Metadata });
        else
            WriteAdapter(folder, _adapter);
        WriteFiles(folder, config.With(dtype), generation, tokenizer);
    }

    /// <summary>Writes all but the weights.</summary>
    internal static void WriteFiles(string folder, PublishedConfig config, GenerationDefaults generation, Tokenizer tokenizer)
    {
        var named = config.Decoder.Head == ModelHead.Score ? ScorePadding.WithToken(tokenizer, config.Decoder.EosIds) : tokenizer;
        var (bos, pad) = (tokenizer.BosId ?? config.Decoder.BosId, named.PadId ?? config.Decoder.PadId);
        config.With(bos, EndIds(config.Decoder.EosIds), pad).Save(folder);
        (generation with { BosId = bos, EosIds = WithTurnEnd(EndIds(generation.EosIds)), PadId = pad }).Save(folder);
        named.Save(folder);

        // A chat whose turns end with another token than texts do would go on to write the user's next turn.
        ValueList<int> WithTurnEnd(ValueList<int> ends) => config.Decoder.Head == ModelHead.Language
            && new PromptEncoder(folder, tokenizer, generation).TurnEnd is { } end && !ends.Contains(end) ? [.. ends, end] : ends;

        ValueList<int> EndIds(ValueList<int> known) => tokenizer.EosId is not { } id || known.Contains(id) ? known : [id];
    }

    private void WriteAdapter(string folder, AdapterLayout adapter)
    {
        var chain = TrainedOn ?? throw new InvalidOperationException("an adapter is saved with what it was trained on");
        var started = adapter.Layers.Where(layer => layer.Start is not null).ToArray();
        ParameterSpec[] plain = [.. adapter.Saved.Except(started.SelectMany(layer => layer.Specs))];
        var below = model.Parameters.With();
        var tables = Tables(adapter).ToArray();
        WeightFilesWriter.Save(folder, [.. PublishedTensors.Of(plain, Read, adapter.IsBFloat16 ? DType.BFloat16 : DType.Float32),
            .. started.SelectMany(layer => StartedAdapter.Tensors(layer, model.Parameters)),
            .. PublishedTensors.Of([.. tables.Select(table => table.Own)], name => Read(below, name),
                spec => below[spec.Name].Value.DType)],
            new() { Name = "adapter_model", MaxShardBytes = long.MaxValue, Metadata = chain.Metadata });
        AdapterConfigFile.Write(folder, started.Length > 0 ? StartedAdapter.Doubled(adapter.Config) : adapter.Config, config.Family,
            chain.Links[^1].Name);
    }

    private static IEnumerable<(ParameterSpec Base, ParameterSpec Own)> Tables(AdapterLayout adapter) => SavedTables.ToSave(adapter,
        adapter.HasOwnTables);

    private TensorData Read(string name) => Read(model.Parameters, name);

    private static TensorData Read(ModelParameters parameters, string name)
    {
        var whole = parameters.Whole(name);
        var value = whole.Device.IsCpu ? whole : TensorScope.Detach(HostMemory.Of(whole));
        return new TensorData(new TensorInfo(name, value.DType, [.. value.Shape]), TensorKeeper.Address(value), new TensorKeeper(value));
    }
}
