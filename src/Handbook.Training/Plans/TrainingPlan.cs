using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Base.Progress;
using Handbook.Data.Cache;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Models.Sharding;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Plans;

/// <summary>What a run will do, decided from its options before anything large is loaded; what runs afterwards reads it.</summary>
internal sealed record TrainingPlan
{
    private readonly List<string> _notes = [];
    private readonly ModelLink? _begun;

    private TrainingPlan(MethodOptions run, ModelLink? begun) => (Run, _begun) = (run, begun);

    /// <summary>The options that it was made from.</summary>
    public MethodOptions Run { get; }

    /// <summary>The method that trains.</summary>
    public MethodDefinition Method => Run.Definition;

    /// <summary>The model that the run begins with, adapters below the trained one included.</summary>
    public ModelSource Source { get; private init; } = null!;

    /// <summary>The folder of the model's whole weights.</summary>
    public string InitialFolder => Source.Folder;

    /// <summary>Where what is trained is read from: the same, or a checkpoint.</summary>
    public string ModelFolder { get; private init; } = "";

    /// <summary>The model's config, with the head that the method trains.</summary>
    public PublishedConfig Config { get; private init; } = null!;

    /// <summary>What is trained, and in which precision each weight is held and multiplied.</summary>
    public ParameterPlan Parameters { get; private init; } = null!;

    /// <summary>Share of the adapter's inputs that is dropped in training; 0 for none.</summary>
    public double Dropout => Parameters.Adapters.FirstOrDefault(adapter => adapter.IsTrained) is { } trained
        && !(Run.Adapter.DisableDropout ?? Method.DisablesDropout) ? trained.Config.Dropout : 0;

    /// <summary>What the adapter is trained on; null where the model's own weights are trained.</summary>
    public AdapterChain? TrainedOn => Run.Adapter.UsePeft
        ? Source.Chain with { Quantised = AdapterChain.KeptAs(Parameters), Begun = _begun } : null;

    /// <summary>Element type of the saved weights.</summary>
    public DType SaveType { get; private init; }

    /// <summary>The tokenizer, as it will be saved.</summary>
    public Tokenizer Tokenizer { get; private init; } = null!;

    /// <summary>What decides the rows.</summary>
    public TrainingDataOptions Rows { get; private init; } = null!;

    /// <summary>What the user should know of what was decided.</summary>
    public IReadOnlyList<string> Notes => _notes;

    /// <summary>Decides.</summary>
    /// <param name="run">Checked options of a method that trains.</param>
    /// <param name="checkpoint">The folder of the checkpoint that the run goes on from; null begins anew.</param>
    /// <exception cref="InputException">Model, tokenizer and method do not fit together.</exception>
    /// <param name="rank">Which of the processes that train together this is.</param>
    /// <param name="count">How many they are.</param>
    public static TrainingPlan Of(MethodOptions run, string? checkpoint, int rank = 0, int count = 1)
    {
        var model = AdapterPlan.Source(run);
        var initial = model.Folder;
        var adapts = run.Adapter.UsePeft;
        var source = adapts ? initial : checkpoint ?? initial;
        // A checkpoint's config names the tokenizer's tokens, padding too, whose row of the embedding would then learn nothing more.
        var config = WithHead(model.Config(), run.Definition, model.Name);
        var tokenizer = RowPlan.LoadTokenizer(run);
        RequireVocabulary(tokenizer, config, source);
        RequireOrder(run, count);
        using var weights = Open(adapts || checkpoint is null ? model : null, source, config, run);
        if (!adapts)
            RequireTrainable(weights, source);
        var adapters = AdapterPlan.Of(run, model, weights, checkpoint);
        var (saveType, compute) = Types(run, weights);
        var plan = new TrainingPlan(run, AdapterPlan.Begun(run, checkpoint))
        {
            Source = model,
            ModelFolder = checkpoint ?? initial,
            Config = config,
            Parameters = SharedOut(Kept(run, weights, adapters), Shard.Of((ShardingStage)run.Training.ZeroStage, rank, count,
                run.Training.Deterministic)),
            SaveType = saveType,
            Tokenizer = tokenizer,
            Rows = RowPlan.Options(run, tokenizer),
        };
        plan.Note(weights, compute);
        plan.NoteShards(count);
        return plan;
    }

    // Which answers are written together depends on how prompts are shared out, and with it the last bit of what is said of them.
    private static void RequireOrder(MethodOptions run, int count)
    {
        if (run.Training.Deterministic && run.Definition.ScoresAnswers && count > run.Training.ContextParallelSize)
            throw new InputException($"deterministic is true, but {count / run.Training.ContextParallelSize} processes share the prompts of "
                + $"{run.Definition.Name}", why: "answers that are written in other company may differ in a last bit, and then in a word",
                fix: "set deterministic: false; the same number of processes gives the same bits without it");
    }

    /// <summary>Element types of the saved weights and of products.</summary>
    private static (DType Saved, DType Compute) Types(MethodOptions run, IStoredWeights weights)
    {
        var saved = run.Model.TorchDtype switch
        {
            WeightType.BFloat16 => DType.BFloat16,
            WeightType.Auto when weights.DTypeOf(weights.Parameters[0].Name) == DType.BFloat16 => DType.BFloat16,
            _ => DType.Float32,
        };
        return (saved, run.Training.Bf16 || saved == DType.BFloat16 ? DType.BFloat16 : DType.Float32);
    }

    /// <summary>How every parameter is kept, where nothing is shared out.</summary>
    /// <param name="weights">The model's, or what is known of them.</param>
    /// <param name="adapters">See <see cref="AdapterPlan.Of"/>.</param>
    public static ParameterPlan Kept(MethodOptions run, IStoredWeights weights, IReadOnlyList<AdapterLayout> adapters)
    {
        var (_, compute) = Types(run, weights);
        return Masters((run.Adapter.UsePeft
            ? ParameterPlan.Frozen(weights, compute, run.Quantisation.Quantisation(compute)).With(adapters, run.Adapter.LoraplusLrRatio ?? 1)
            : ParameterPlan.Trained(weights.Parameters, DType.Float32, compute)).WithRates(run.Training.RateFactor), run.Training);
    }

    // What is trained is cut; what is frozen lies in files, which processes of a host share.
    private static ParameterPlan SharedOut(ParameterPlan plan, Shard shard) =>
        (shard is { Cuts: true, Stage: ShardingStage.Parameters } ? plan.Assembled() : plan).SharedOut(shard);

    /// <summary>Masters that only a paged optimiser reads lie where its states do.</summary>
    private static ParameterPlan Masters(ParameterPlan plan, TrainingOptions options) =>
        options.IsPaged() ? plan.WithMastersIn(options.OutputDir) : plan;

    /// <summary>The same, computed on the device that was chosen.</summary>
    public TrainingPlan On(DevicePlan chosen)
    {
        var there = this with { Parameters = Parameters.On(chosen.Device.Device) };
        there._notes.AddRange(chosen.Notes);
        return there;
    }

    /// <summary>Loads the model that the plan describes; weights that it quantises come from the cache.</summary>
    public Decoder LoadModel(IWorkObserver observer)
    {
        var folder = Run.Adapter.UsePeft ? InitialFolder : ModelFolder;
        using var weights = Open(folder == InitialFolder ? Source : null, folder, Config, Run);
        return QuantisedCache.Load(folder, weights, Parameters, CacheFolder.Default, observer);
    }

    /// <summary>Requires that the weights that will be trained are numbers.</summary>
    /// <param name="weights">The model's.</param>
    /// <param name="source">Its folder.</param>
    /// <exception cref="InputException">They are codes.</exception>
    public static void RequireTrainable(ModelWeights weights, string source)
    {
        if (weights.Quantised is { } kind)
            throw new InputException($"{source}: the weights are quantised ({kind}), and this run would train them all",
                why: "a step is far smaller than the gap between two codes",
                fix: "set use_peft: true to train an adapter over them, or name the model in full precision that it was made from");
    }

    /// <summary>Requires that the model has an embedding for every token.</summary>
    /// <param name="source">The model's folder.</param>
    /// <exception cref="InputException">It has not.</exception>
    public static void RequireVocabulary(Tokenizer tokenizer, PublishedConfig config, string source)
    {
        var ids = NewModel.IdCount(tokenizer);
        if (ids > config.Decoder.VocabularySize)
            throw new InputException($"{source}: the embedding has {config.Decoder.VocabularySize} rows, but the tokenizer gives ids up "
                + $"to {ids - 1}",
                why: "an id without a row in the embedding cannot be looked up",
                    fix: "name the model's own tokenizer in tokenizer_name_or_path");
    }

    /// <param name="below">The model that the run began with; null where the weights of a checkpoint are trained on.</param>
    private static ModelWeights Open(ModelSource? below, string folder, PublishedConfig config, MethodOptions run)
    {
        long? headSeed = run.Definition.Head == ModelHead.Score ? run.Training.Seed : null;
        return below?.Open(config, headSeed) ?? ModelWeights.Open(folder, config, fused: true, headSeed: headSeed);
    }

    /// <summary>A model's config with the head that a method trains.</summary>
    /// <param name="source">The model's folder.</param>
    /// <exception cref="InputException">The model has another head, and the method makes no new one.</exception>
    public static PublishedConfig WithHead(PublishedConfig config, MethodDefinition method, string source) =>
        method.Head == ModelHead.Score ? config.WithScoreHead()
        : config.Decoder.Head == ModelHead.Language ? config
        : throw new InputException($"{source} is a {(config.Decoder.Labels == 1 ? "reward model" : "classifier")}, but "
            + $"{method.Name} trains what predicts tokens",
            fix: "set model_name_or_path to a language model");

    /// <summary>What the adapter that is trained is, in a sentence without its point.</summary>
    public string AdapterNote()
    {
        var trained = Parameters.Adapters[^1];
        var (own, all) = (Parameters.TrainedCount, Parameters.Rules.Where(rule => rule.Adapter is null).Sum(rule => rule.Spec.Count));
        var layers = trained.Layers.Sum(layer => layer.Targets.Count);
        return $"{(trained.Config.UseDora ? "DoRA" : trained.Config.UseRslora ? "rsLoRA" : "LoRA")} of rank {trained.Config.Rank} on "
            + $"{layers} layers: {own:N0} numbers are trained, {100.0 * own / all:0.###} % of the model's {all:N0}, which stay as they are"
            + (trained.Whole.Where(pair => pair.Base.Kind != ParameterKind.Bias).ToArray() is { Length: > 0 } whole
                ? "; trained whole: "
                    + string.Join(", ", whole.Select(pair => AdapterModules.PathOf(pair.Base.Parts[0].Published)).Distinct()) : "")
            + (trained.Config.Bias == AdapterBias.None ? "" : $"; with {(trained.Config.Bias == AdapterBias.All ? "all" : "their")} biases")
            + (trained.HasOwnTables ? $"; the tables of its {Config.Decoder.VocabularySize:N0} tokens are saved with it" : "");
    }

    /// <summary>Requires that what the recipe shares out among so many processes can be.</summary>
    /// <exception cref="InputException">Its optimiser works on whole matrices.</exception>
    internal static void RequireShards(MethodOptions run, int count)
    {
        if (count > 1 && run.Training.ZeroStage > 0 && OptimizerTraits.Of(run.Training.Optimizer()).NeedsMatrices)
            throw new InputException($"zero_stage is {run.Training.ZeroStage}, but {RecipeNames.Of(run.Training.Optimizer())} works on whole "
                + $"matrices, which it would cut among {count} processes",
                fix: "set zero_stage: 0, or take an optimiser that treats every element alike, such as adamw_torch");
    }

    private static long Bytes(IEnumerable<ParameterRule> rules) =>
        rules.Sum(rule => rule.Quantisation is null ? rule.Spec.Count * rule.Type.Size : rule.ResidentBytes);

    private void NoteShards(int count)
    {
        if (Run.Training.Deterministic)
            _notes.Add("deterministic: gradients are added up bin by bin in one order, so that any number of processes gives the same bits"
                + (count > 1 && Run.Training.ZeroStage < 2 ? "; each process owns a part of the sums, as with zero_stage: 2" : ""));
        if (Run.Training.ZeroStage > 0)
            _notes.Add(count == 1 ? $"zero_stage {Run.Training.ZeroStage} has no effect on one process"
                : $"ZeRO-{Run.Training.ZeroStage}: each of {count} processes keeps 1/{count} of the optimiser's states" + Run.Training.ZeroStage switch
                {
                    1 => "",
                    2 => " and gradients",
                    _ when Parameters.Adapters.Count > 0 => $", gradients and the adapter's weights; {FrozenNote()}",
                    _ => ", gradients and weights",
                });
    }

    // What lies below an adapter is not cut.
    private string FrozenNote()
    {
        var frozen = Parameters.Rules.Where(rule => !rule.IsTrained).ToArray();
        var mapped = frozen.Where(rule => rule.Storage is ParameterStorage.Mapped or ParameterStorage.Codes).ToArray();
        var pages = mapped.Sum(rule => rule.Quantisation is null ? rule.Spec.Count * rule.Type.Size : rule.ResidentBytes);
        var own = Bytes(frozen.Except(mapped)) + mapped.Sum(rule => rule.Spec.Count * (rule.Copy?.Size ?? 0));
        return $"frozen weights are not cut: {Size.Of(pages)} of them are pages of files, of which each host has one copy for all its "
            + $"processes, {Size.Of(own)} each process has itself";
    }

    private void Note(ModelWeights weights, DType compute)
    {
        var decoder = Config.Decoder;
        _notes.AddRange(Source.Notes);
        if (Source.Growth is { Rows: var rows })
            _notes.Add($"embedding and head get {rows - Source.With(growth: null).Config().Decoder.VocabularySize} rows for new tokens, "
                + $"{rows} in all; a new row begins as the average one");
        if (Run.Adapter is { UsePeft: true, AdapterNameOrPath: { } named } && AdapterChain.Of(AdapterPlan.Adapter(named)) is null)
            _notes.Add($"{named} does not say which weights it was trained on: it is taken for an adapter of {Source.Name}");
        if (Run.Quantisation.Quantisation(compute) is { } asked && weights.Parameters.Select(spec => weights.FormatOf(spec.Name))
            .FirstOrDefault(format => format is not null) is { } kept && kept != asked.Format)
            _notes.Add($"{(Run.Quantisation.LoadIn4Bit ? "load_in_4bit" : "load_in_8bit")} asks for {asked.Format}, but {Source.Folder} holds "
                + $"codes already ({kept}): these are used as they are");
        if (Run.Quantisation.Quantisation(compute) is { } codes && Parameters.Rules.Where(rule => rule.Adapter is null
            && rule is { Spec: { IsStacked: true, Kind: ParameterKind.Weight }, Quantisation: null }).ToArray() is { Length: > 0 } stacked)
            _notes.Add($"experts that are published as one tensor stay numbers, as in the Python library, whose {codes.Format} is for linear "
                + $"layers: {Size.Of(Bytes(stacked))} of {Size.Of(Bytes(Parameters.Rules.Where(rule => rule.Adapter is null)))}");
        if (Parameters.Adapters.Count > 0)
            _notes.Add(AdapterNote());
        _notes.AddRange(AdapterChain.NotesOfOtherForm(AdapterPlan.ReferenceFolders(Run, Source), AdapterChain.KeptAs(Parameters)));
        if (weights.HasNewHead)
            _notes.Add($"{ModelFolder} is a language model: its head is left out, and a new one that scores is drawn (score.weight, "
                + "normal with deviation "
                + $"{decoder.InitializerRange:g}, seed {Run.Training.Seed})");
        _notes.AddRange(weights.LeftOut.Except(Source.Notes));
        if (compute == DType.BFloat16 && !Processor.MultipliesBFloat16)
            _notes.Add($"{Processor.WideningReason}; products are widened to float32 and rounded, so bf16 saves memory but no time");
        if (SaveType == DType.BFloat16 && Parameters.Adapters.Count == 0)
            _notes.Add("torch_dtype bfloat16: weights are saved in bfloat16; while training, the masters and the optimiser keep float32, "
                + "so small updates are not lost");
        if (decoder is { AttentionDropout: > 0 } or { ResidualDropout: > 0 } or { EmbeddingDropout: > 0 })
            _notes.Add("the model's config asks for dropout, which is not applied here: every forward pass is the full model");
        if (BalancedMethod.Note(Run, decoder) is { } experts)
            _notes.Add(experts);
        if (decoder.Head == ModelHead.Score && ScorePadding.WithToken(Tokenizer, decoder.EosIds) is var padded
            && padded.PadId != Tokenizer.PadId)
            _notes.Add($"the reward model is saved with the padding token {padded.SpecialTokens["pad_token"]}: the Python library reads a "
                + "score at the last token "
                + "that is not padding, so this must not be an end token");
    }
}
