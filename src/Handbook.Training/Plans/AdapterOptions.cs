using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Training.Methods;

namespace Handbook.Training.Plans;

/// <summary>The keys of adapters, under the names of TRL's and PEFT's options.</summary>
public sealed record AdapterOptions
{
    /// <summary>Train an adapter over the frozen model instead of the model's own weights: LoRA, with 4-bit weights QLoRA.</summary>
    [Key(IsUsual = true)]
    public bool UsePeft { get; init; }

    /// <summary>The folder of an adapter to go on with; null begins a new one. Its own config says what it is.</summary>
    public string? AdapterNameOrPath { get; init; }

    /// <summary>Rank of the adapter's matrices.</summary>
    [Key(IsUsual = true)]
    public int LoraR { get; init; } = 16;

    /// <summary>α: what the adapter adds is multiplied by α / r. Any positive number.</summary>
    public double LoraAlpha { get; init; } = 32;

    /// <summary>Share of an adapter's input that is 0 in each training step; the other elements grow by as much.</summary>
    public double LoraDropout { get; init; } = 0.05;

    /// <summary>The layers that get an adapter: ends of their names as a list, one regular expression over whole names, or
    /// <c>all-linear</c>; null takes the usual ones of the family.</summary>
    public IReadOnlyList<string>? LoraTargetModules { get; init; }

    /// <summary>Parameters that get an adapter by the ends of their names: those that hold the weights of all experts, such as
    /// <c>mlp.experts.gate_up_proj</c> and <c>mlp.experts.down_proj</c>; needs <c>lora_dropout: 0</c>. null for none.</summary>
    public IReadOnlyList<string>? LoraTargetParameters { get; init; }

    /// <summary>Layers that get none although <c>lora_target_modules</c> means them.</summary>
    public IReadOnlyList<string>? ExcludeModules { get; init; }

    /// <summary>Numbers of the only layers that get adapters, from 0; null for all.</summary>
    public IReadOnlyList<double>? LayersToTransform { get; init; }

    /// <summary>What stands before a layer's number in the names, e.g. <c>layers</c>; null for anything.</summary>
    public IReadOnlyList<string>? LayersPattern { get; init; }

    /// <summary>Ranks of single layers, by names or regular expressions.</summary>
    public IReadOnlyDictionary<string, double>? RankPattern { get; init; }

    /// <summary>α of single layers, by names or regular expressions.</summary>
    public IReadOnlyDictionary<string, double>? AlphaPattern { get; init; }

    /// <summary>Modules that are trained whole and saved with the adapter, e.g. <c>[embed_tokens, lm_head]</c>. A reward model's head is
    /// always among them.</summary>
    public IReadOnlyList<string>? LoraModulesToSave { get; init; }

    /// <summary>Ids of tokens whose rows of the embedding, and of a tied head, are trained while the others stay: for tokens that are new
    /// to
    /// the model.</summary>
    public IReadOnlyList<double>? TrainableTokenIndices { get; init; }

    /// <summary>What the adapter's model does: <c>CAUSAL_LM</c>, or <c>SEQ_CLS</c> for reward models.</summary>
    public string LoraTaskType { get; init; } = "CAUSAL_LM";

    /// <summary>Multiply by α / √r instead, so that large ranks learn as fast (rsLoRA).</summary>
    public bool UseRslora { get; init; }

    /// <summary>Train direction and length of each layer's rows apart (DoRA).</summary>
    public bool UseDora { get; init; }

    /// <summary>Type in which a trained adapter is kept: <c>float32</c>, <c>bfloat16</c>, or <c>auto</c> for the reference trainer's own
    /// choice,
    /// which is bfloat16 over weights in few bits, and float32 otherwise.</summary>
    public AdapterType AdapterDtype { get; init; }

    /// <summary>Which of the model's own biases are trained beside the adapter and saved with it: <c>none</c>, <c>all</c>, or
    /// <c>lora_only</c>, those of the layers that have an adapter.</summary>
    public TrainedBias Bias { get; init; }

    /// <summary>Give B a bias.</summary>
    public bool LoraBias { get; init; }

    /// <summary>How a new adapter begins: <c>true</c> (as the reference), <c>gaussian</c>, <c>pissa</c> (principal singular vectors of the
    /// weight), <c>olora</c> (its QR decomposition), or <c>false</c> (random, so that the model changes at once).</summary>
    public AdapterStart InitLoraWeights { get; init; }

    /// <summary>Train a tied head and the embedding as one where <c>lora_modules_to_save</c> names either; otherwise each that it names
    /// gets a copy of its own.</summary>
    public bool EnsureWeightTying { get; init; }

    /// <summary>Train without dropout whatever <c>lora_dropout</c> says; null as the method's trainer does: methods that compare answers
    /// and
    /// reward models leave it out.</summary>
    public bool? DisableDropout { get; init; }

    /// <summary>Factor on the learning rate of B (LoRA+), usually 16; null trains A and B alike.</summary>
    public double? LoraplusLrRatio { get; init; }

    /// <summary>PEFT's, first that of language models.</summary>
    private static readonly string[] s_taskTypes =
        ["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "TOKEN_CLS", "QUESTION_ANS", "FEATURE_EXTRACTION"];

    /// <param name="movesReference">Whether the reference follows the policy.</param>
    /// <param name="scores">Whether the method trains a head that scores texts.</param>
    /// <param name="report">Hears what is wrong.</param>
    internal void Validate(bool movesReference, bool scores, Diagnostics report)
    {
        if (LoraR < 1)
            report.OutOfRange("lora_r", LoraR, "must be 1 or more", fix: "set lora_r: 16");
        if (LoraAlpha <= 0)
            report.OutOfRange("lora_alpha", LoraAlpha, "must be above 0", why: "what the adapter adds is multiplied by it",
                fix: "set lora_alpha: 32");
        if (LoraDropout is < 0 or >= 1)
            report.OutOfRange("lora_dropout", LoraDropout, "must be from 0 to below 1", fix: "set lora_dropout: 0.05");
        if (UsePeft && AdapterNameOrPath is null && LoraDropout > 0 && LoraTargetParameters is { Count: > 0 })
            report.Error("lora_dropout", $"is {LoraDropout}, but adapters on parameters have none",
                why: "lora_target_parameters adds B·A to the parameter itself, so that no input of A's can be dropped",
                fix: "set lora_dropout: 0");
        if (LoraplusLrRatio is <= 0)
            report.OutOfRange("loraplus_lr_ratio", LoraplusLrRatio, "must be above 0", fix: "set loraplus_lr_ratio: 16");
        foreach (var layer in LayersToTransform ?? [])
            if (layer < 0 || layer != Math.Floor(layer))
                report.Error("layers_to_transform", $"has {layer}, but layers are numbered 0, 1, 2, …", fix: "write whole numbers");
        if (LayersPattern is { Count: > 0 } && LayersToTransform is not { Count: > 0 })
            report.Error("layers_pattern", "is given without layers_to_transform",
                why: "it says what stands before the numbers of layers, and none is named", fix: "name layers in layers_to_transform, or remove layers_pattern");
        foreach (var id in TrainableTokenIndices ?? [])
            if (id < 0 || id != Math.Floor(id))
                report.Error("trainable_token_indices", $"has {id}, but ids of tokens are 0, 1, 2, …", fix: "write whole numbers");
        if ((TrainableTokenIndices ?? []).GroupBy(id => id).FirstOrDefault(group => group.Count() > 1) is { } twice)
            report.Error("trainable_token_indices", $"has {twice.Key} more than once", fix: "name each token once");
        if (!s_taskTypes.Contains(LoraTaskType))
            report.Error("lora_task_type", $"is {LoraTaskType}, which no library reads", fix: scores ? "set lora_task_type: SEQ_CLS"
                : "remove the key");
        else if (LoraTaskType != s_taskTypes[0] && !(scores && LoraTaskType == "SEQ_CLS"))
            report.Error("lora_task_type",
                $"is {LoraTaskType}, but this method trains what {(scores ? "scores texts" : "predicts tokens")}",
                why: "who loads the adapter would put another head on the model", fix: "remove the key");
        foreach (var (key, patterns) in new[] { ("rank_pattern", RankPattern), ("alpha_pattern", AlphaPattern) })
            foreach (var (pattern, value) in patterns ?? new Dictionary<string, double>())
                if (ModuleNames.Problem(pattern) is { } problem)
                    report.Error(key, $"has \"{pattern}\", which is not a regular expression: {problem}");
                else if (value <= 0 || key == "rank_pattern" && value != Math.Floor(value))
                    report.Error(key, $"gives {pattern} the value {value}",
                        fix: key == "rank_pattern" ? "write a whole number, 1 or more" : "write a number above 0");
        if (LoraTargetModules is [var only] && ModuleNames.Problem(only) is { } wrong)
            report.Error("lora_target_modules", $"is \"{only}\", which is not a regular expression: {wrong}",
                why: "one word is matched against whole names", fix: "write the ends of names as a list of several, or all-linear");
        if (InitLoraWeights is AdapterStart.Pissa or AdapterStart.Olora && (UseDora || LoraBias))
            report.Error("init_lora_weights", $"is {RecipeNames.Of(InitLoraWeights)} beside {(UseDora ? "use_dora" : "lora_bias")}",
                why: "such an adapter is saved with twice its rank, which holds for plain LoRA alone",
                fix: $"remove {(UseDora ? "use_dora" : "lora_bias")}, or set init_lora_weights: true");
        if (!UsePeft && AdapterNameOrPath is not null)
            report.Error("adapter_name_or_path", "names an adapter to go on with, but use_peft is false",
                why: "without adapters all weights are trained, and the adapter would be left aside",
                fix: "set use_peft: true; to train all weights from where the adapter ended, merge it first with `handbook merge`");
        if (UsePeft && movesReference)
            report.Error("sync_ref_model", "is true together with use_peft",
                why: "with adapters the reference is the same weights without the adapter: it has none of its own that could follow",
                fix: "remove sync_ref_model, or train all weights with use_peft: false");
    }

    /// <summary>The adapter that these keys describe.</summary>
    internal AdapterConfig Config(bool scores) => new()
    {
        Rank = LoraR,
        Alpha = LoraAlpha,
        Dropout = LoraDropout,
        // A list of one word is that word: TRL hands it on as a regular expression.
        Targets = LoraTargetModules is null ? null : LoraTargetModules is [var word] && !IsName(word) ? ModuleNames.Of(word)
            : ModuleNames.Of(LoraTargetModules),
        TargetParameters = [.. LoraTargetParameters ?? []],
        Excluded = ExcludeModules is null ? null : ModuleNames.Of(ExcludeModules),
        Layers = [.. (LayersToTransform ?? []).Select(layer => (int)layer)],
        LayersPattern = [.. LayersPattern ?? []],
        RankPattern = RankPattern ?? new Dictionary<string, double>(),
        AlphaPattern = AlphaPattern ?? new Dictionary<string, double>(),
        ModulesToSave = [.. scores ? (LoraModulesToSave ?? []).Union(["classifier", "score"]) : LoraModulesToSave ?? []],
        TrainedTokens = TrainableTokenIndices is null ? new Dictionary<string, ValueList<int>>()
            : new Dictionary<string, ValueList<int>> { ["embed_tokens"] = [.. TrainableTokenIndices.Select(id => (int)id)] },
        Bias = Bias switch
        {
            TrainedBias.All => AdapterBias.All,
            TrainedBias.LoraOnly => AdapterBias.LoraOnly,
            _ => AdapterBias.None,
        },
        UseRslora = UseRslora,
        UseDora = UseDora,
        LoraBias = LoraBias,
        TieWeights = EnsureWeightTying,
        TaskType = scores ? "SEQ_CLS" : LoraTaskType,
        Init = InitLoraWeights switch
        {
            AdapterStart.Gaussian => AdapterInit.Gaussian,
            AdapterStart.Pissa => AdapterInit.Pissa,
            AdapterStart.Olora => AdapterInit.Olora,
            AdapterStart.Random => AdapterInit.Random,
            _ => AdapterInit.Default,
        },
    };

    /// <summary>Whether a word is the end of a module's name: no character of it means something in a regular expression.</summary>
    private static bool IsName(string word) => word != ModuleNames.AllLinearWord
        && word.All(letter => char.IsAsciiLetterOrDigit(letter) || letter is '_' or '.') && !word.Contains(".*", StringComparison.Ordinal);
}

/// <summary>Biases that are trained beside an adapter; PEFT's <c>bias</c>.</summary>
public enum TrainedBias
{
    /// <summary>None.</summary>
    [Spelled("none")] None,
    /// <summary>Every bias of the model.</summary>
    [Spelled("all")] All,
    /// <summary>Those of the layers that have an adapter.</summary>
    [Spelled("lora_only")] LoraOnly,
}

/// <summary>Type in which an adapter is kept while it is trained.</summary>
public enum AdapterType
{
    /// <summary>As the reference trainer does.</summary>
    [Spelled("auto")] Auto,
    /// <summary>Four bytes a number.</summary>
    [Spelled("float32", "fp32", "torch.float32")] Float32,
    /// <summary>Two bytes a number; gradients and optimiser states are rounded to it as well.</summary>
    [Spelled("bfloat16", "bf16", "torch.bfloat16")] BFloat16,
}

/// <summary>How a new adapter begins; PEFT's <c>init_lora_weights</c>.</summary>
public enum AdapterStart
{
    /// <summary>A uniform, B zero: the model begins as it is.</summary>
    [Spelled("true", "True")] Default,
    /// <summary>A normal with deviation 1/r, B zero.</summary>
    [Spelled("gaussian")] Gaussian,
    /// <summary>Principal singular vectors of the weight. Meng et al. 2024, arXiv:2404.02948.</summary>
    [Spelled("pissa")] Pissa,
    /// <summary>A QR decomposition of the weight. Büyükakyüz 2024, arXiv:2406.01775.</summary>
    [Spelled("olora")] Olora,
    /// <summary>Both matrices random.</summary>
    [Spelled("false", "False")] Random,
}
