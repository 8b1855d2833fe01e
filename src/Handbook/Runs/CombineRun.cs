using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Runs;

/// <summary>Several adapters on the same weights, each with its weight, and how they become one.</summary>
internal sealed record CombineOptions
{
    /// <summary>Folders or names of adapters, each with its weight.</summary>
    public required IReadOnlyList<(string Name, double Weight)> Adapters { get; init; }

    public required CombinationMethod Method { get; init; }

    public required CombinationOptions Numbers { get; init; }

    /// <summary>The folder for the adapter; it is missing or empty.</summary>
    public required string Output { get; init; }

    /// <summary>As <see cref="MergeOptions.Base"/>.</summary>
    public string? Base { get; init; }

    /// <inheritdoc cref="MergeOptions.AllowOtherBase"/>
    public bool AllowOtherBase { get; init; }
}

/// <summary>From several adapters to one.</summary>
internal static class CombineRun
{
    /// <summary>Writes the combined adapter.</summary>
    /// <returns>What it is an adapter of: names with the first letters of their hashes.</returns>
    /// <exception cref="InputException">Something the user can fix; the folder is as it was.</exception>
    public static string Run(CombineOptions options, IWorkObserver observer, CancellationToken cancel)
    {
        MergePlace.Require(options.Output, options.Adapters.Select(adapter => ("adapter", (string?)adapter.Name)));
        var other = OtherBase.Of(options.Base, options.AllowOtherBase);
        ModelSource[] sources = [.. options.Adapters.Select(adapter => ModelSource.Find(adapter.Name, other: other))];
        RequireOneBase(sources);
        foreach (var source in sources)
            MergePlace.Require(options.Output, source);
        foreach (var note in sources.SelectMany(source => source.Notes).Distinct())
            observer.Noted(note);
        var below = new AdapterChain([.. sources[0].Chain.Links.SkipLast(1)])
        {
            Quantised = sources.Select(source => AdapterChain.Of(source.Top)?.Quantised).Distinct().ToArray() is [var one] ? one : null,
        };
        var config = sources[0].Config();

        TorchRuntime.Load();
        IReadOnlyList<TensorToSave> tensors;
        AdapterConfig combined;
        using (var count = observer.Began("combining", null, "layers"))
            (tensors, combined) = CombinedAdapter.Of([.. sources.Zip(options.Adapters, (source, adapter) => (source.Top, adapter.Weight))],
                config, options.Method, options.Numbers, _ =>
                {
                    cancel.ThrowIfCancellationRequested();
                    count.Advance();
                });
        var under = sources[0].Adapters.Count > 1 ? sources[0].Adapters[^2] : sources[0].Folder;
        var named = below.Links[^1].Name;
        MergePlace.Write(options.Output, tensors.Sum(tensor => tensor.Info.ByteCount), folder =>
        {
            WeightFilesWriter.Save(folder, tensors, new() { Name = "adapter_model", MaxShardBytes = long.MaxValue, Metadata = below.Metadata });
            AdapterConfigFile.Write(folder, combined, config.Family, ModelFolder.TryFind(named) is null ? Path.GetFullPath(under) : named);
            Tokenizer.Load(sources[0].HavingTokenizer).Save(folder);
            GenerationDefaults.Load(sources[0].Having(GenerationDefaults.FileName), config.Decoder).Save(folder);
        });
        return below.ToString();
    }

    private static void RequireOneBase(ModelSource[] sources)
    {
        foreach (var source in sources)
        {
            if (source.Adapters.Count == 0)
                throw new InputException($"{source.Name} is a whole model, not an adapter", why: "only adapters are combined",
                    fix: $"name folders that have {AdapterConfigFile.Name}");
            var (first, own) = (Below(sources[0]), Below(source));
            if (!own.HasWeightsOf(first))
                throw new InputException($"{sources[0].Name} is an adapter of {first}, but {source.Name} of {own}",
                    why: "adapters are differences from their own weights; those from other weights do not add up",
                    fix: "combine adapters that were trained on the same model, with the same adapters below them");
            var (rows, others) = (sources[0].Config().Decoder.VocabularySize, source.Config().Decoder.VocabularySize);
            if (rows != others)
                throw new InputException($"{sources[0].Name} has tables of {rows:N0} tokens, and {source.Name} of {others:N0}",
                    why: "the vocabulary below them was resized (the tables lie beside the adapter), and what one learnt fits no other size",
                    fix: "combine adapters that were trained over the same vocabulary");
        }

        static AdapterChain Below(ModelSource source) => new([.. source.Chain.Links.SkipLast(1)]);
    }
}
