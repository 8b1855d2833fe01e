using System.Globalization;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Plans;
using Handbook.Training.Progress;

namespace Handbook.Runs;

/// <summary>From an adapter and all that lies below it to a model without adapters.</summary>
public static class MergeRun
{
    /// <summary>Merges, compares the merged model with the one that has the adapter, and keeps it where they agree.</summary>
    /// <param name="options">What is merged, and where it goes.</param>
    /// <param name="observer">Hears what happens; null for nobody.</param>
    /// <param name="cancel">Ends the work between two tensors; nothing stays.</param>
    /// <exception cref="InputException">Something the user can fix; the folder is as it was.</exception>
    public static MergeResult Run(MergeOptions options, IWorkObserver? observer = null, CancellationToken cancel = default)
    {
        observer ??= RunObservers.None;
        var source = Source(options, observer);
        var config = source.Config();
        var tokenizer = Tokenizer.Load(source.HavingTokenizer);
        var probe = MergeProbe.Of(tokenizer, config.Decoder, options.Probe);

        TorchRuntime.Load();
        using var weights = source.Open(config);
        var told = source.Notes.Count;
        var chain = AdapterChain.Of(source.Top);
        var targets = Targets(options, weights, chain);
        var plan = source.Plan(weights, DType.Float32);
        foreach (var note in source.Notes.Skip(told))
            observer.Noted(note);
        using var model = QuantisedCache.Loader(source, observer)(weights, plan);
        var before = probe.Measure(model, observer);
        var made = new AdapterChain([.. source.Chain.Links.SkipLast(1),
            source.Chain.Links[^1] with { Name = options.Shown ?? source.Name }]);
        var generation = GenerationDefaults.Load(source.Having(GenerationDefaults.FileName), config.Decoder);
        List<MergeDrift> drifts = [];
        MergedWeights Merged(MergeTarget? into) => new(model, weights, config, options.DType)
        { OfCodes = into is not MergeTarget.Original };
        var merged = Merged(targets[^1]);
        var allowed = options.MaxDrift ?? MergeDrift.Allowed(merged.DType);
        MergePlace.Write(options.Output, merged.Tensors().Sum(tensor => tensor.Info.ByteCount) + tokenizer.SavedBytes, folder =>
        {
            foreach (var into in targets)
            {
                var isKept = into == targets[^1];
                var place = isKept ? folder : Path.Combine(folder, "other");
                Write(Merged(into), place, made.MergedMetadata(into is null ? null : Words(into.Value, chain!)));
                drifts.Add(MergeDrift.Between(before, Measure(place, probe, observer)));
                if (!isKept)
                    Directory.Delete(place, recursive: true);
            }
            if (drifts[^1].Largest > allowed)
                throw TooFar(drifts, allowed, merged.DType, targets[^1], chain, options);
            WholeFile.WriteText(Path.Combine(folder, "README.md"), new MergeCard
            {
                Folder = options.Output,
                MadeOf = made,
                Into = targets[^1] is { } kept ? Words(kept, chain!) : null,
                DType = merged.DType,
                Changed = merged.Changed,
                IsRewardModel = config.Decoder.Head == ModelHead.Score,
                Drift = drifts[^1],
            }.ToMarkdown());
        });
        return new()
        {
            Folder = options.Output,
            Chain = made.ToString(),
            DType = merged.DType,
            Changed = merged.Changed,
            HasOwnHead = merged.HasOwnHead,
            IsRewardModel = config.Decoder.Head == ModelHead.Score,
            Bytes = merged.Tensors().Sum(tensor => tensor.Info.ByteCount),
            Drift = drifts[^1],
            TrainedOver = chain?.Quantised,
            Into = targets[^1],
            DriftOfOther = drifts.Count > 1 ? drifts[0] : null,
            Allowed = allowed,
        };

        void Write(MergedWeights weights, string folder, IReadOnlyDictionary<string, string> metadata)
        {
            var tensors = weights.Tensors();
            using var count = observer.Began("merging", tensors.Count, "tensors");
            new SavedModel(model, weights.Config, generation, tokenizer, weights.DType)
            { Tensors = [.. tensors.Select(tensor => Counted(tensor, count, cancel))], Metadata = metadata }.Write(folder);
        }
    }

    /// <summary>A target for a person.</summary>
    /// <param name="chain">Of an adapter that was trained over codes.</param>
    private static string Words(MergeTarget into, AdapterChain chain) => into == MergeTarget.Original ? "the original weights"
        : $"the values of {chain.Quantised}";

    /// <summary>What is compared, and last what is kept; a single null where the adapter was not trained over codes.</summary>
    /// <exception cref="InputException">What is asked for is not at hand.</exception>
    private static MergeTarget?[] Targets(MergeOptions options, ModelWeights weights, AdapterChain? chain)
    {
        if (chain?.Codes is null)
            return options.Into is null ? [null] : throw new InputException(
                $"--into: {options.Shown ?? options.Adapter} does not say that it was trained over quantised weights",
                why: "the format of the codes stands in the header of an adapter's tensors (quantised); without it "
                    + "there is one base to merge into",
                fix: "leave --into out; if another program trained it over codes, write these with handbook "
                    + "quantize, and name them with --base");
        if (weights.Quantised is { } kind)
            return options.Into != MergeTarget.Original ? [MergeTarget.Dequantised] : throw new InputException(
                $"--into original: the base is codes itself ({kind})", why: "the weights from which they were made are in another folder",
                fix: "name that folder with --base and --allow-other-base, or merge into the values of the codes: --into dequantised");
        return options.Into == MergeTarget.Original ? [MergeTarget.Dequantised, MergeTarget.Original]
            : [MergeTarget.Original, MergeTarget.Dequantised];
    }

    /// <summary>What is merged, judged before anything is loaded.</summary>
    private static ModelSource Source(MergeOptions options, IWorkObserver observer)
    {
        var other = OtherBase.Of(options.Base, options.AllowOtherBase);
        MergePlace.Require(options.Output, [("adapter", options.Adapter), ("base", options.Base)]);
        var source = ModelSource.Find(options.Adapter, other: other);
        MergePlace.Require(options.Output, source);
        if (source.Adapters.Count == 0)
            throw new InputException($"{options.Adapter} is a whole model, not an adapter", why: "there is nothing to merge into it",
                fix: $"name an adapter's folder, which has {AdapterConfigFile.Name}: what a run with use_peft: true wrote");
        foreach (var note in source.Notes)
            if (options.AllowOtherBase)
                observer.Warned(note);
            else
                observer.Noted(note);
        return source;
    }

    private static TensorToSave Counted(TensorToSave tensor, IWorkCount count, CancellationToken cancel) => tensor with
    {
        Write = stream =>
        {
            cancel.ThrowIfCancellationRequested();
            tensor.Write(stream);
            count.Advance();
        },
    };

    /// <summary>What the model in a folder says of the texts.</summary>
    private static double[] Measure(string folder, MergeProbe probe, IWorkObserver observer)
    {
        var source = ModelSource.Find(folder);
        using var model = source.Load(source.Config(), DType.Float32);
        return probe.Measure(model, observer);
    }

    private static InputException TooFar(List<MergeDrift> drifts, double allowed, DType dtype, MergeTarget? into, AdapterChain? chain,
        MergeOptions options)
    {
        var drift = drifts[^1];
        var isOriginal = into == MergeTarget.Original;
        var over = chain?.Quantised is { } quantised ? $", trained over weights in {quantised}," : "";
        return new($"the merged model differs from {options.Shown ?? options.Adapter}{over} by up to {Number(drift.Largest)} (mean "
            + $"{Number(drift.Mean)}, {drift.Count} compared), and {Number(allowed)} is allowed; nothing was written",
            why: isOriginal ? "it was merged into the original weights: those that the adapter was trained over are off from them by the "
                + "rounding of their codes, which it learnt to make up for"
                : $"the merged weights are rounded to {dtype.ToString().ToLowerInvariant()}: what an adapter adds is small "
                + "beside them, and a part of it is lost",
            fix: (isOriginal ? $"merge with --into dequantised, which differs by up to {Number(drifts[0].Largest)}, or "
                : dtype == DType.Float32 ? "" : "merge with --dtype float32, or ")
                + "use the adapter as it is; or say with --max-drift how much you let pass");
    }

    internal static string Number(double value) => value.ToString(value is 0 or >= 0.001 ? "0.0000" : "0.0e0",
        CultureInfo.InvariantCulture);
}
