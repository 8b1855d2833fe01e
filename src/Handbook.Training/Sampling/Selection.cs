using System.Text.Json.Nodes;
using Handbook.Models.Generation;

namespace Handbook.Training.Sampling;

/// <summary>Chooses which sampled answers are trained on, says of each why or why not, and makes the rows.</summary>
internal static class Selection
{
    /// <summary>Why an answer whose score does not reach <c>select_threshold</c> is not used.</summary>
    public const string BelowThreshold = "below select_threshold";

    /// <summary>Marks the answers of one prompt.</summary>
    /// <param name="samples">Its answers, in their order.</param>
    /// <returns>Why nothing of this prompt is used; null where something is.</returns>
    public static string? Mark(IReadOnlyList<RoundSample> samples, RejectionOptions options)
    {
        var usable = new List<RoundSample>();
        var said = new HashSet<string>(StringComparer.Ordinal);
        foreach (var sample in samples)
        {
            sample.Dropped = double.IsNaN(sample.Total) ? "not scored"
                : string.IsNullOrWhiteSpace(sample.Given.Text) ? "empty"
                : !said.Add(sample.Given.Text) ? "said before" : null;
            if (sample.Dropped is null)
                usable.Add(sample);
        }
        if (usable.Count == 0)
            return "no answer can be used";
        // Of equal scores the first: OrderBy is stable.
        var ranked = usable.OrderByDescending(sample => sample.Total).ToList();
        var good = new List<RoundSample>();
        foreach (var sample in ranked)
            if (sample.Total < options.SelectThreshold)
                sample.Dropped = BelowThreshold;
            else if (!sample.Given.Finished)
                sample.Dropped = "cut at its greatest length";       // it would teach to end in the middle
            else
                good.Add(sample);
        return options.Select == SelectionRule.BestVsWorst ? MarkPair(ranked, good, options) : MarkBest(good, options);
    }

    private static string? MarkBest(List<RoundSample> good, RejectionOptions options)
    {
        var wanted = options.Select switch { SelectionRule.BestOfN => 1, SelectionRule.TopK => options.SelectK, _ => int.MaxValue };
        for (var i = 0; i < good.Count; i++)
            if (i < wanted)
                good[i].Use = "trained";
            else
                good[i].Dropped = "not among the best";
        return good.Count > 0 ? null : NoneGood(options);
    }

    private static string? MarkPair(List<RoundSample> ranked, List<RoundSample> good, RejectionOptions options)
    {
        var worst = ranked[^1];
        foreach (var sample in ranked)
            sample.Dropped ??= "neither best nor worst";
        if (good.Count == 0)
            return NoneGood(options);
        if (!(good[0].Total - worst.Total > options.SelectMargin))
            return "no pair: the scores are too close";
        (good[0].Use, good[0].Dropped, worst.Use, worst.Dropped) = ("chosen", null, "rejected", null);
        return null;
    }

    private static string NoneGood(RejectionOptions options) =>
        options.SelectThreshold is null ? "no answer ends by itself" : "no answer reaches select_threshold and ends by itself";

    /// <summary>The columns that rows have for those who read them, and that training has no use for.</summary>
    public static IReadOnlyList<string> Annotations { get; } = ["score", "sample", "score_chosen", "score_rejected", "margin"];

    /// <summary>The rows to train on, of one prompt whose answers are marked.</summary>
    /// <param name="textsAreTurns">Whether a prompt that is a text is what a user says.</param>
    public static IEnumerable<JsonObject> Rows(Prompt prompt, IReadOnlyList<RoundSample> samples, bool textsAreTurns)
    {
        foreach (var row in Answered(prompt, samples, textsAreTurns))
        {
            prompt.Inputs?.AddTo(row);
            yield return row;
        }
    }

    private static IEnumerable<JsonObject> Answered(Prompt prompt, IReadOnlyList<RoundSample> samples, bool textsAreTurns)
    {
        foreach (var sample in samples.Where(sample => sample.Use == "trained").OrderByDescending(sample => sample.Total))
            yield return Turns(prompt, textsAreTurns) is { } turns
                ? new JsonObject { ["messages"] = With(turns, sample), ["score"] = sample.Total, ["sample"] = sample.Sample }
                : new JsonObject
                {
                    ["prompt"] = prompt.Text,
                    ["completion"] = sample.Given.Text,
                    ["score"] = sample.Total,
                    ["sample"] = sample.Sample
                };
        if (samples.FirstOrDefault(sample => sample.Use == "chosen") is not { } chosen
            || samples.FirstOrDefault(sample => sample.Use == "rejected") is not { } rejected)
            yield break;
        var isChat = Turns(prompt, textsAreTurns);
        yield return new JsonObject
        {
            ["prompt"] = isChat is null ? prompt.Text : isChat,
            ["chosen"] = isChat is null ? chosen.Given.Text : With([], chosen),
            ["rejected"] = isChat is null ? rejected.Given.Text : With([], rejected),
            ["score_chosen"] = chosen.Total,
            ["score_rejected"] = rejected.Total,
            ["margin"] = chosen.Total - rejected.Total,
        };
    }

    private static JsonArray? Turns(Prompt prompt, bool textsAreTurns) =>
        prompt.Messages is { } messages ? JsonNode.Parse(messages.GetRawText())!.AsArray()
        : textsAreTurns ? [new JsonObject { ["role"] = "user", ["content"] = prompt.Text }]
        : null;

    private static JsonArray With(JsonArray turns, RoundSample sample)
    {
        turns.Add(new JsonObject { ["role"] = "assistant", ["content"] = sample.Given.Text });
        return turns;
    }
}
