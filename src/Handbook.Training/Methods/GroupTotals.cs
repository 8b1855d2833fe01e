using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Methods;

/// <summary>Counts over a whole group of rows, known before any of them is computed: what the sums of a loss are divided by.</summary>
internal sealed record GroupTotals
{
    public int Rows { get; init; }

    /// <summary>M of the supervised loss: tokens that carry loss, counted as <see cref="SupervisedMethod"/> says.</summary>
    public double Targets { get; init; }

    /// <summary>Rows with a chosen (desirable) answer.</summary>
    public int ChosenRows { get; init; }

    /// <summary>Rows with a rejected (undesirable) answer.</summary>
    public int RejectedRows { get; init; }

    /// <summary>Tokens of all chosen answers.</summary>
    public long ChosenTokens { get; init; }

    /// <summary>Sampled answers.</summary>
    public int Samples { get; init; }

    /// <summary>Tokens of all sampled answers.</summary>
    public long SampleTokens { get; init; }

    /// <summary>Tokens of the sampled answers that are learnt from.</summary>
    public long CountedTokens { get; init; }

    /// <summary>Prompt tokens that carry loss and are predicted, over rows with a chosen answer.</summary>
    public long PromptTokens { get; init; }

    /// <summary>All of them, in one order.</summary>
    internal double[] Numbers =>
        [Rows, Targets, ChosenRows, RejectedRows, ChosenTokens, Samples, SampleTokens, CountedTokens, PromptTokens];

    /// <summary>Those of several groups.</summary>
    internal static double[] NumbersOf(IEnumerable<GroupTotals> groups) => [.. groups.SelectMany(group => group.Numbers)];

    internal static IReadOnlyList<GroupTotals> ListOf(double[] numbers) => [.. numbers.Chunk(new GroupTotals().Numbers.Length).Select(Of)];

    private static GroupTotals Of(double[] numbers) => new()
    {
        Rows = (int)numbers[0],
        Targets = numbers[1],
        ChosenRows = (int)numbers[2],
        RejectedRows = (int)numbers[3],
        ChosenTokens = (long)numbers[4],
        Samples = (int)numbers[5],
        SampleTokens = (long)numbers[6],
        CountedTokens = (long)numbers[7],
        PromptTokens = (long)numbers[8],
    };
}
