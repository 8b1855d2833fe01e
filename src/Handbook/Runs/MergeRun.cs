using System.Globalization;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Torch.Quantised;
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
        var tokenizer = Tokenizer.Load(source.Having("tokenizer.json"));
        var probe = MergeProbe.Of(tokenizer, config.Decoder, options.Probe);

        TorchRuntime.Load();
        using var weights = source.Open(config);
        var plan = ParameterPlan.Frozen(weights, DType.Float32).With(source.Layouts(weights));
        var now = AdapterChain.KeptAs(plan);
        foreach (var note in AdapterChain.NotesOfOtherForm(source.Adapters, now))
            observer.Noted(note);
        var coded = AdapterChain.Of(source.Top) is { Codes: { } codes, Quantised: var kept } && kept != now ? codes : (QuantisedFormat?)null;
        var trained = coded is { } format ? Measure(source, weights, format, probe, observer) : null;
        using var model = Decoder.Load(weights, plan);
        var before = probe.Measure(model, observer);
        var merged = new MergedWeights(model, weights, config, options.DType);
        var allowed = options.MaxDrift ?? MergeDrift.Allowed(merged.DType);
        IReadOnlyList<TensorToSave> tensors = merged.Tensors();
        MergeDrift? drift = null;
        MergeDrift? fromTraining = null;
        using (var count = observer.Began("merging", tensors.Count, "tensors"))
        {
            var saved = new SavedModel(model, merged.Config, GenerationDefaults.Load(source.Having(GenerationDefaults.FileName), config.Decoder),
                tokenizer, merged.DType)
            { Tensors = [.. tensors.Select(tensor => Counted(tensor, count, cancel))] };
            MergePlace.Write(options.Output, saved.Bytes, folder =>
            {
                saved.Write(folder);
                var after = Measure(folder, probe, observer);
                drift = MergeDrift.Between(before, after);
                fromTraining = trained is null ? null : MergeDrift.Between(trained, after);
                if (drift.Largest > allowed)
                    throw TooFar(drift, allowed, merged.DType, options);
            });
        }
        return new()
        {
            Folder = options.Output,
            Chain = new AdapterChain([.. source.Chain.Links.SkipLast(1), source.Chain.Links[^1] with { Name = options.Shown ?? source.Name }])
                .ToString(),
            DType = merged.DType,
            Changed = merged.Changed,
            HasOwnHead = merged.HasOwnHead,
            IsRewardModel = config.Decoder.Head == ModelHead.Score,
            Bytes = tensors.Sum(tensor => tensor.Info.ByteCount),
            Drift = drift!,
            TrainedOver = coded?.ToString(),
            DriftFromTraining = fromTraining,
            Allowed = allowed,
        };
    }

    /// <summary>What is merged, judged before anything is loaded.</summary>
    private static ModelSource Source(MergeOptions options, IWorkObserver observer)
    {
        var other = OtherBase.Of(options.Base, options.AllowOtherBase);
        MergePlace.Require(options.Output, [("adapter", options.Adapter), ("base", options.Base)]);
        var source = ModelSource.Find(options.Adapter, other: other);
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

    /// <summary>What the model as it was trained says of the texts, over weights in codes.</summary>
    private static double[] Measure(ModelSource source, ModelWeights weights, QuantisedFormat format, MergeProbe probe, IWorkObserver observer)
    {
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32, new(format, DType.Float32))
            .With(source.Layouts(weights)));
        return probe.Measure(model, observer);
    }

    private static InputException TooFar(MergeDrift drift, double allowed, DType dtype, MergeOptions options) => new(
        $"the merged model differs from {options.Shown ?? options.Adapter} by up to {Number(drift.Largest)} (mean {Number(drift.Mean)}, {drift.Count} compared), "
        + $"and {Number(allowed)} is allowed; nothing was written",
        why: $"the merged weights are rounded to {dtype.ToString().ToLowerInvariant()}: what an adapter adds is small beside them, and a part of "
        + "it is lost", fix: (dtype == DType.Float32 ? "" : "merge with --dtype float32, or ") + "use the adapter as it is; or say with --max-drift "
        + "how much you let pass");

    internal static string Number(double value) => value.ToString(value is 0 or >= 0.001 ? "0.0000" : "0.0e0", CultureInfo.InvariantCulture);
}
