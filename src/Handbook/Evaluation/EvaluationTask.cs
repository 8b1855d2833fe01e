using System.Text.RegularExpressions;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Text.Templates;

namespace Handbook.Evaluation;

/// <summary>What a model is asked for, by the name that task files give it in <c>output_type</c>.</summary>
internal enum TaskKind
{
    /// <summary>An answer in its own words.</summary>
    GenerateUntil,

    /// <summary>Which of some answers it finds likeliest.</summary>
    MultipleChoice,

    /// <summary>How likely it finds one answer.</summary>
    Loglikelihood,

    /// <summary>How well it predicts whole texts.</summary>
    LoglikelihoodRolling,

    /// <summary>A reward model's choice between two answers.</summary>
    RewardAccuracy,
}

/// <summary>One evaluation: rows, what is asked of each, and what is measured.</summary>
internal sealed record EvaluationTask
{
    public required string Name { get; init; }

    public required TaskKind Kind { get; init; }

    /// <summary>The rows; null where the user has to name them.</summary>
    public DatasetSpec? Data { get; init; }

    /// <summary>The rows that examples are taken from; null for those that are evaluated, each row's own left out.</summary>
    public DatasetSpec? FewShotData { get; init; }

    /// <summary>Examples that stand in the task file itself; null for rows of <see cref="FewShotData"/>.</summary>
    public IReadOnlyList<SourceRow>? Samples { get; init; }

    /// <summary>Stands before everything, a template over the row.</summary>
    public TaskField? Description { get; init; }

    public TaskField? Text { get; init; }

    public TaskField? Target { get; init; }

    public TaskField? Choices { get; init; }

    /// <summary>The text whose words and bytes a perplexity is divided by; null for the one that is scored.</summary>
    public TaskField? Counted { get; init; }

    /// <summary>Examples with their answers before the question.</summary>
    public int FewShot { get; init; }

    /// <summary>Whether the examples are the first of their split; otherwise they are drawn for each row.</summary>
    public bool FirstExamples { get; init; }

    /// <summary>Between a question and its answer.</summary>
    public string TargetDelimiter { get; init; } = " ";

    /// <summary>Between examples.</summary>
    public string FewShotDelimiter { get; init; } = "\n\n";

    public GenerationSettings Generation { get; init; } = new();

    /// <summary>Answers to each prompt.</summary>
    public int Repeats { get; init; } = 1;

    /// <summary>At least one; the first stands for the task in a short table.</summary>
    public IReadOnlyList<FilterPipeline> Filters { get; init; } = [FilterPipeline.TakeFirst];

    public required IReadOnlyList<TaskMetric> Metrics { get; init; }

    /// <summary>The file beside which data files are looked for; null for a built-in task.</summary>
    public string? Folder { get; init; }

    /// <summary>All that was read to make it: results are only continued under the same text.</summary>
    public required string Definition { get; init; }

    /// <summary>Whether a row asks something, before which a description and examples can stand.</summary>
    public bool HasQuestions => Kind is not (TaskKind.LoglikelihoodRolling or TaskKind.RewardAccuracy);

    /// <summary>Whether answers are run as programs.</summary>
    public bool RunsCode => Metrics.Any(metric => metric.Name == TaskMetrics.Pass);

    /// <summary>Whether a larger value of a metric is a better one; a metric has several names where it measures several things.</summary>
    public bool HigherIsBetter(string metric) => Metrics.FirstOrDefault(known => known.Name == metric
        || known.Name == TaskMetrics.Pass && metric.StartsWith("pass@", StringComparison.Ordinal)
        || known.Name == TaskMetrics.Instructions)?.HigherIsBetter ?? true;

    /// <summary>What it is, for the list.</summary>
    public string About { get; init; } = "";
}

/// <summary>How an answer is drawn.</summary>
internal sealed record GenerationSettings
{
    /// <summary>Texts that end an answer; null for what stands between examples.</summary>
    public IReadOnlyList<string>? Until { get; init; }

    public int MaxTokens { get; init; } = 256;

    /// <summary>0 takes the likeliest token.</summary>
    public double Temperature { get; init; }

    public double TopP { get; init; } = 1;

    public int TopK { get; init; }
}

/// <summary>What a row says to one key: a column, a template, or a value that all rows share.</summary>
/// <param name="Key">The key of the task file.</param>
/// <param name="Source">The column's name or the template.</param>
/// <param name="Template">The parsed template; it also reads the source where no column has its name.</param>
/// <param name="Items">Where the key holds a list: one field for each of its entries; null otherwise.</param>
internal sealed record TaskField(string Key, string Source, ChatTemplate Template, IReadOnlyList<TaskField>? Items = null);

/// <summary>One way to make answers comparable, a name and its steps.</summary>
internal sealed record FilterPipeline(string Name, IReadOnlyList<AnswerFilter> Steps)
{
    /// <summary>The first answer as it is.</summary>
    public static FilterPipeline TakeFirst { get; } = new("none", [new(FilterKind.TakeFirst)]);
}

/// <summary>The steps of a filter.</summary>
internal enum FilterKind
{
    Regex,
    TakeFirst,
    TakeFirstK,
    MajorityVote,
    RemoveWhitespace,
    Lowercase,
    Uppercase,
    Map,
}

/// <summary>One step.</summary>
internal sealed record AnswerFilter(FilterKind Kind)
{
    /// <summary>What is looked for.</summary>
    public Regex? Pattern { get; init; }

    /// <summary>Which match counts; −1 is the last.</summary>
    public int Select { get; init; }

    /// <summary>What stands for an answer in which nothing was found.</summary>
    public string Fallback { get; init; } = "[invalid]";

    /// <summary>How many answers are kept.</summary>
    public int Count { get; init; } = 1;

    /// <summary>Answers and what stands for them.</summary>
    public IReadOnlyDictionary<string, string> Map { get; init; } = new Dictionary<string, string>();
}

/// <summary>A metric, and what it was told.</summary>
internal sealed record TaskMetric(string Name)
{
    public bool IgnoreCase { get; init; }

    public bool IgnorePunctuation { get; init; }

    public bool IgnoreNumbers { get; init; }

    /// <summary>Taken out of answer and target before they are compared.</summary>
    public IReadOnlyList<Regex> Ignored { get; init; } = [];

    /// <summary>Of <c>pass@k</c>: the k.</summary>
    public IReadOnlyList<int> K { get; init; } = [1];

    /// <summary>Whether a larger value is a better one.</summary>
    public bool HigherIsBetter { get; init; } = true;
}
