namespace Handbook.Training.Methods;

/// <summary>Where a method is from, for the card of a model that was trained with it.</summary>
/// <param name="Title">The paper's title.</param>
/// <param name="ArXiv">Its number there.</param>
/// <param name="Key">What citations call it.</param>
/// <param name="Authors">As BibTeX has them.</param>
/// <param name="Year">When it came out.</param>
internal sealed record MethodPaper(string Title, string ArXiv, string Key, string Authors, int Year)
{
    /// <summary>Its page.</summary>
    public string Url => $"https://arxiv.org/abs/{ArXiv}";
}
