using Handbook.Data.Cache;
using Handbook.Data.Decontamination;
using Handbook.Data.Mixing;

namespace Handbook.Data.Inspection;

/// <summary>What is to be known of a split of a data set as a whole.</summary>
internal sealed record DataSurvey
{
    /// <summary>The set and its split, in words.</summary>
    public required string Name { get; init; }

    /// <summary>How many files it lies in.</summary>
    public int Files { get; init; }

    /// <summary>Their bytes.</summary>
    public long Bytes { get; init; }

    /// <summary>Rows that could be read.</summary>
    public long Rows { get; init; }

    /// <summary>Rows that could not, by reason.</summary>
    public IReadOnlyList<BadRows> Unreadable { get; init; } = [];

    /// <summary>The layout of the rows; null where their columns tell none.</summary>
    public string? Layout { get; init; }

    /// <summary>Why they tell none; null where they do.</summary>
    public string? LayoutProblem { get; init; }

    /// <summary>Rows whose columns tell a layout, but which do not have it, by reason.</summary>
    public IReadOnlyList<BadRows> Unusable { get; init; } = [];

    /// <summary>The columns, in the order in which they were met.</summary>
    public IReadOnlyList<ColumnTally> Columns { get; init; } = [];

    /// <summary>Columns that are not read.</summary>
    public IReadOnlyList<string> Unread { get; init; } = [];

    /// <summary>Characters of prompts.</summary>
    public Measurements Prompts { get; init; } = new();

    /// <summary>Characters of answers, or of texts.</summary>
    public Measurements Answers { get; init; } = new();

    /// <summary>Rows that are there more than once, character by character.</summary>
    public RepeatCounter SameRows { get; init; } = new();

    /// <summary>The same, but for case, white space and punctuation.</summary>
    public RepeatCounter NearlySameRows { get; init; } = new();

    /// <summary>Prompts that are asked more than once.</summary>
    public RepeatCounter SamePrompts { get; init; } = new();

    /// <summary>Answers that are good or bad.</summary>
    public AnswerTally Judged { get; init; } = new();

    /// <summary>The turns of conversations.</summary>
    public TurnTally Turns { get; init; } = new();

    /// <summary>Rows by the script of most of their letters.</summary>
    public IReadOnlyDictionary<string, long> Scripts { get; init; } = new Dictionary<string, long>();

    /// <summary>What comparing with reference sets came to; null where none was named.</summary>
    public DecontaminationReport? Contamination { get; init; }

    /// <summary>What the rows are as tokens; null where no tokenizer was named.</summary>
    public TokenSurvey? Tokens { get; init; }
}

/// <summary>What rows are as tokens.</summary>
/// <param name="Looked">Rows that were tokenised.</param>
/// <param name="Summary">What became of them.</param>
/// <param name="Tokens">Tokens of all.</param>
/// <param name="LossTokens">Tokens that carry loss.</param>
/// <param name="Lengths">Tokens of a row.</param>
/// <param name="WithoutEnd">Rows whose last learnt token is not one that ends an answer.</param>
/// <param name="MaxLength">Where rows are cut; null where they are not.</param>
/// <param name="Remarks">Whole lines about how rows are read and rendered.</param>
internal sealed record TokenSurvey(long Looked, TokenSummary Summary, long Tokens, long LossTokens, Measurements Lengths, long WithoutEnd,
    int? MaxLength, IReadOnlyList<string> Remarks);

/// <summary>What a survey is made of.</summary>
internal sealed record SurveyRequest
{
    /// <summary>The split.</summary>
    public required MixturePart Part { get; init; }

    /// <summary>How rows are read and tokenised; null reads them as their columns tell, and tokenises none.</summary>
    public TrainingDataOptions? Run { get; init; }

    /// <summary>Reference sets; null compares with none.</summary>
    public ContaminationCheck? Check { get; init; }

    /// <summary>Most rows to tokenise: of more, every second, third, … is.</summary>
    public int Sample { get; init; } = 20_000;

    /// <summary>The folder beside which data sets are looked up.</summary>
    public string? RecipeFolder { get; init; }
}
