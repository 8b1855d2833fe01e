namespace Handbook.Data.Inspection;

/// <summary>A part of a survey as it is shown, on the terminal and as a page alike.</summary>
/// <param name="Title">What it is about.</param>
/// <param name="Lines">Sentences, each with its weight by its first word: <c>warning: …</c>, <c>note: …</c>, or none.</param>
internal sealed record SurveySection(string Title, IReadOnlyList<string> Lines)
{
    /// <summary>Rows of cells, the first of which are the heads; none for no table.</summary>
    public IReadOnlyList<string[]> Table { get; init; } = [];

    /// <summary>Counts as bars, each with its label; none for no chart.</summary>
    public IReadOnlyList<(string Label, long Count)> Bars { get; init; } = [];

    /// <summary>What the bars count.</summary>
    public string BarsTitle { get; init; } = "";
}
