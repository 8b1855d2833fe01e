using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Training.Methods;

namespace Handbook.Training.Plans;

/// <summary>The adapters of a run over its model, lowest first: those that the model consists of, the one that training goes on from as a
/// reference, and the one that is trained.</summary>
internal static class AdapterPlan
{
    /// <summary>The name of the adapter that is trained.</summary>
    public const string Trained = "default";

    /// <summary>The name of the adapter as it stood when the run began.</summary>
    private const string AtTheStart = "reference";

    /// <summary>The model that a run begins with, with the tables of the adapter that it goes on from.</summary>
    /// <exception cref="InputException">It is not there.</exception>
    public static ModelSource Source(MethodOptions run) => Grown(run, Named(run.Model)
        .ToGoOnWith(run.Adapter is { UsePeft: true, AdapterNameOrPath: { } named } ? Adapter(named) : null));

    /// <summary>The model that a recipe names, over the model below its adapters that the recipe means.</summary>
    /// <exception cref="InputException">It is not there, or its adapters lie on another revision than the recipe says.</exception>
    public static ModelSource Named(ModelOptions keys)
    {
        var source = ModelSource.Find(keys.ModelNameOrPath!, "model_name_or_path");
        if (keys.BaseModelRevision is not { Length: > 0 } wanted || source.Adapters.Count == 0)
            return source;
        var file = Path.Combine(source.Adapters[0], AdapterConfigFile.Name);
        if (AdapterConfigFile.Read(source.Adapters[0]).BaseModel is not { } based || ModelFolder.IsLocal(based))
            return source;      // a folder has no revisions
        var (name, said) = HubCache.Split(based);
        return (said ?? HubCache.Main) == wanted ? source : throw new InputException(
            $"base_model_revision is {wanted}, but {keys.ModelNameOrPath} is an adapter of {name} at {said ?? HubCache.Main}",
            why: "an adapter fits the weights that it was trained on, and its own config says which these are",
            fix: $"remove the key; or, if it was trained at {wanted}, write \"revision\": \"{wanted}\" into {file}")
        { Key = "base_model_revision" };
    }

    /// <summary>A model with rows for the tokens that a recipe adds.</summary>
    public static ModelSource Grown(MethodOptions run, ModelSource source) =>
        run.Model is { ResizeToMultipleOf: null } keys && keys.TokensToAdd().Count == 0 ? source
        : VocabularyGrowth.RowsFor(NewModel.IdCount(RowPlan.LoadTokenizer(run)), source.Config().Decoder.VocabularySize,
            run.Model.ResizeToMultipleOf) is { } rows ? source.With(new VocabularyGrowth(rows, run.Training.Seed)) : source;

    /// <param name="source">The model that the run begins with: <see cref="Source"/>.</param>
    /// <param name="weights">Its weights.</param>
    /// <param name="checkpoint">The folder to go on from; null begins anew.</param>
    /// <exception cref="InputException">Model, adapter and keys do not fit together.</exception>
    public static IReadOnlyList<AdapterLayout> Of(MethodOptions run, ModelSource source, IStoredWeights weights, string? checkpoint)
    {
        var keys = run.Adapter;
        var isCoded = run.Quantisation is { LoadIn4Bit: true } or { LoadIn8Bit: true } || weights.Parameters.Any(spec =>
            weights.FormatOf(spec.Name) is not null);
        var narrow = keys.AdapterDtype == AdapterType.BFloat16 || keys.AdapterDtype == AdapterType.Auto && isCoded;
        if (!keys.UsePeft)
            return source.Adapters.Count == 0 ? [] : throw new InputException(
                $"model_name_or_path: {source.Name} is an adapter of {source.Folder}, but use_peft is false",
                why: "all weights would be trained, and an adapter's folder has few of them",
                fix: $"set use_peft: true to train a new adapter over it, or merge it first: handbook merge {source.Name} --out FOLDER");
        if (checkpoint is not null)
            RequireUnchanged(run, source, checkpoint);
        var below = source.Layouts(weights);
        if (keys.AdapterNameOrPath is not { } named)
        {
            var begun = Layout(Trained, keys.Config(run.Definition.Head == ModelHead.Score),
                checkpoint is null ? new NewAdapter(run.Training.Seed) : new AdapterFolder(checkpoint), file: null,
                trained: true);
            new AdapterModules(weights.Family, weights.Config, weights.Parameters).RequireUsed(begun);
            NewAdapter.RequireRanks(begun);
            return [.. below, begun];
        }
        var folder = Adapter(named);
        AdapterChain.Of(folder)?.Require($"adapter_name_or_path: {named}", source.Chain);
        var config = AdapterConfigFile.Read(folder);
        if (run.IsWritten("lora_dropout"))         // otherwise an adapter that is gone on with keeps its own
            config = config with { Dropout = keys.LoraDropout };
        var file = Path.Combine(folder, AdapterConfigFile.Name);
        if (run.Definition.Head == ModelHead.Language && config.TaskType == "SEQ_CLS")
            throw new InputException($"adapter_name_or_path: {named} is the adapter of a reward model, but {run.MethodName} trains "
                + "what predicts tokens", why: "it was trained under a head that scores texts", fix: "name an adapter of a language model");
        AdapterLayout[] reference = ComparesWithBegun(run)
            ? [Layout(AtTheStart, config, new AdapterFolder(folder), file, trained: false) with { IsReference = true }] : [];
        var goneOn = Layout(Trained, config, new AdapterFolder(checkpoint ?? folder), file, trained: true);
        if (weights.HasNewHead && !goneOn.Whole.Any(pair => pair.Base.Name == "score.weight"))
            throw new InputException($"adapter_name_or_path: {named} is the adapter of a language model: neither it nor {source.Name} "
                + "has a head that scores texts", why: "a new head would be neither trained nor saved with it",
                fix: $"set model_name_or_path: {named} and remove adapter_name_or_path: a new adapter with a head is trained over it");
        return [.. below, .. reference, goneOn];

        AdapterLayout Layout(string name, AdapterConfig config, IAdapterSource values, string? file, bool trained) => AdapterLayout.Of(name,
            config, weights.Family, weights.Config, weights.Parameters, values, file, trained)
            with
        { IsBFloat16 = trained && narrow, HasOwnTables = source.HasOwnTables };
    }

    /// <summary>Whether the adapter that a run goes on with is its reference.</summary>
    private static bool ComparesWithBegun(MethodOptions run) => run.Definition.AsksReference(run) && run.Preference.RefModelNameOrPath is null;

    /// <summary>The adapter that a run goes on with, as it stood when the run began; null for none.</summary>
    /// <param name="checkpoint">The folder to go on from; null begins anew.</param>
    public static ModelLink? Begun(MethodOptions run, string? checkpoint) =>
        run.Adapter is not { UsePeft: true, AdapterNameOrPath: { } named } ? null
        : (checkpoint is null ? null : AdapterChain.Of(checkpoint)?.Begun) ?? AdapterChain.Link(Adapter(named), named);

    /// <summary>Requires that what a run of adapters reads again when it goes on is as it was.</summary>
    /// <param name="checkpoint">The folder to go on from.</param>
    /// <exception cref="InputException">The weights below, or those of the reference, are others now.</exception>
    public static void RequireUnchanged(MethodOptions run, ModelSource source, string checkpoint)
    {
        if (AdapterChain.Of(checkpoint)?.Difference(checkpoint, source.Chain) is { } changed)
            throw new InputException(changed.What, why: "the weights below changed since the run was begun; what an adapter learnt is a "
                + "difference from exactly those", fix: "put them back as they were, or begin anew on these with --fresh=true");
        if (run.Adapter.AdapterNameOrPath is { } named && ComparesWithBegun(run)
            && Begun(run, checkpoint)! is var begun && Begun(run, checkpoint: null)! is var now && begun.Sha256 != now.Sha256)
            throw new InputException($"adapter_name_or_path: {named} has other weights ({now.Sha256[..12]}) than when the run began "
                + $"({begun.Sha256[..12]})", why: "it is the reference that the trained adapter is compared with, and was overwritten since",
                fix: "put it back as it was, or begin anew with --fresh=true");
    }

    /// <summary>The folder of an adapter to go on with.</summary>
    /// <exception cref="InputException">It is none.</exception>
    public static string Adapter(string named)
    {
        var folder = ModelFolder.FindAny(named, "adapter_name_or_path");
        return AdapterFolder.Holds(folder) ? folder : throw new InputException($"adapter_name_or_path: {folder} holds no adapter",
            why: $"there is no {AdapterConfigFile.Name}",
                fix: "name a folder that PEFT or a run with use_peft wrote; a whole model is named in "
            + "model_name_or_path");
    }

    /// <summary>The files of the adapters that decide what the reference computes.</summary>
    public static IReadOnlyList<string> ReferenceFolders(MethodOptions run, ModelSource source) =>
        [.. source.Adapters, .. run.Adapter is { UsePeft: true, AdapterNameOrPath: { } named } ? (string[])[Adapter(named)] : []];
}
