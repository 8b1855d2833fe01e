using Handbook.Base.Keys;
using Handbook.Data.Mixing;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;
using Handbook.Training.Reports;
using Handbook.Training.Sampling;

namespace Handbook.Training.Methods;

/// <summary>The method of a run with the options of everything that it steers; a recipe is these, read from a file.</summary>
/// <remarks>Each record holds keys of a recipe, one a property. A method that needs keys of its own adds its record here, and nothing
/// else.</remarks>
public record MethodOptions
{
    /// <summary>The method that is run.</summary>
    public required TrainingMethod Method { get; init; }

    /// <summary>The method as its command is called.</summary>
    public string MethodName => Definition.Name;

    /// <summary>Which of the two ways to write recipes is followed; some defaults depend on it.</summary>
    public RecipeDialect Dialect { get; init; }

    /// <summary>The model and the tokenizer to start from.</summary>
    [KeyGroup("Model and tokenizer")]
    public ModelOptions Model { get; init; } = new();

    /// <summary>Adapters.</summary>
    [KeyGroup("Adapters")]
    public AdapterOptions Adapter { get; init; } = new();

    /// <summary>A base in few bits.</summary>
    [KeyGroup("Quantised weights")]
    public QuantisationOptions Quantisation { get; init; } = new();

    /// <summary>Which rows are read and how they become tokens.</summary>
    [KeyGroup("Data")]
    public DataOptions Data { get; init; } = new();

    /// <summary>Supervised fine-tuning.</summary>
    [KeyGroup("Supervised fine-tuning")]
    public SftOptions Sft { get; init; } = new();

    /// <summary>The methods that compare or judge answers.</summary>
    [KeyGroup("Preference methods")]
    public PreferenceOptions Preference { get; init; } = new();

    /// <summary>Reward modelling.</summary>
    [KeyGroup("Reward modelling")]
    public RewardOptions Reward { get; init; } = new();

    /// <summary>How answers are sampled.</summary>
    [KeyGroup("Sampling")]
    public GenerationOptions Sampling { get; init; } = new();

    /// <summary>How answers are scored.</summary>
    [KeyGroup("Scoring answers")]
    public ScorerOptions Scoring { get; init; } = new();

    /// <summary>Rejection sampling.</summary>
    [KeyGroup("Rejection sampling")]
    public RejectionOptions Rejection { get; init; } = new();

    /// <summary>Group-relative policy optimisation.</summary>
    [KeyGroup("Group-relative policy optimisation")]
    public GrpoOptions Grpo { get; init; } = new();

    /// <summary>Steps, optimiser, schedule, evaluation, checkpoints.</summary>
    [KeyGroup("Training")]
    public TrainingOptions Training { get; init; } = new();

    /// <summary>Where what is logged is filed.</summary>
    [KeyGroup("Tracking")]
    public ReportOptions Reports { get; init; } = new();

    /// <summary>Publishing the model.</summary>
    [KeyGroup("Publishing")]
    public HubOptions Hub { get; init; } = new();

    /// <summary>The data sets, however they are named.</summary>
    /// <exception cref="InvalidOperationException">None is named.</exception>
    public MixtureSpec Mixture => Data.Mixture() ?? throw new InvalidOperationException("checked options name their data");

    /// <summary>The folder beside whose files relative names are looked for, such as that of a recipe; null for the current one
    /// alone.</summary>
    public virtual string? Folder => null;

    /// <summary>Where each value comes from that is not its default.</summary>
    internal IReadOnlyDictionary<string, KeySource> Sources { get; init; } = new Dictionary<string, KeySource>();

    /// <summary>Processes that the batch of a step counts: those of this run, or of the one that it goes on from.</summary>
    internal int BatchProcesses { get; init; } = 1;

    /// <summary>What the adapter that is trained is called, with the bits of the weights below where these are codes, otherwise 0; null
    /// where all weights are trained.</summary>
    internal (string Name, int Bits)? AdapterKind() => !Adapter.UsePeft ? null : Quantisation.LoadIn4Bit ? ("QLoRA", 4)
        : Quantisation.LoadIn8Bit ? ("QLoRA", 8) : ("LoRA", 0);

    /// <summary>Columns that were put into the rows for people to read: no note need say that training has no use for them.</summary>
    internal IReadOnlyList<string> Annotations { get; init; } = [];

    /// <summary>What belongs to the method.</summary>
    internal MethodDefinition Definition => MethodDefinition.Of(Method);

    /// <summary>Whether the user wrote a key.</summary>
    internal bool IsWritten(string key) => Sources.GetValueOrDefault(key) is KeySource.File or KeySource.CommandLine;
}
