namespace Handbook.Data.Mixing;

/// <summary>How many answers of a set are good and how many bad, for methods that learn from the contrast of the two.</summary>
/// <param name="Good">Answers labelled true, or chosen.</param>
/// <param name="Bad">Answers labelled false, or rejected.</param>
internal readonly record struct AnswerLabels(int Good, int Bad)
{
    /// <summary>What is wrong with the answers as a whole; null where both kinds are there.</summary>
    public string? OneSided() => (Good, Bad) switch
    {
        (0, > 0) => $"all {Bad:N0} answers are undesirable, and none is desirable: every answer is only made less likely, and the model "
            + "is taught what not to say, but nothing to say instead.\n"
            + "  fix: add answers with label: true; if the labels are the wrong way round, correct the column that column_mapping "
                + "names for label",
        ( > 0, 0) => $"all {Good:N0} answers are desirable, and none is undesirable: without a contrast every answer is only made "
            + "likelier.\n"
            + "  fix: add answers with label: false, or train on these with `handbook sft`",
        _ => null,
    };

    /// <summary>What is unusual about the weights of both kinds together; null where nothing is. KTO, arXiv:2402.01306, §4.2.</summary>
    public string? Unbalanced(double goodWeight, double badWeight)
    {
        var ratio = goodWeight * Good / (badWeight * Bad);
        // A rounded weight, or one row more or less, is no reason to speak.
        return Good == 0 || Bad == 0 || goodWeight == 0 || badWeight == 0 || ratio is > 0.95 and < 1.4 ? null
            : $"{Good:N0} desirable answers with the weight {goodWeight:g} stand against {Bad:N0} undesirable ones "
                + $"with {badWeight:g}, {ratio:0.##} to 1; the paper keeps this between 1 and 1.33: "
                + (ratio > 1 ? $"set undesirable_weight: {goodWeight * Good / (1.15 * Bad):0.##}"
                    : $"set desirable_weight: {1.15 * badWeight * Bad / Good:0.##}");
    }
}
