using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Models.Generation;

namespace Handbook.Training.Sampling;

/// <summary>One sampled answer with all that is known of it.</summary>
/// <param name="Prompt">Number of its prompt.</param>
/// <param name="Sample">Which of the prompt's answers it is.</param>
internal sealed record RoundSample(int Prompt, int Sample, GivenAnswer Given)
{
    /// <summary>Scores by scorer.</summary>
    public SortedDictionary<string, AnswerRating> Scores { get; } = new(StringComparer.Ordinal);

    /// <summary>Σ weight · score; NaN where a scorer could not tell.</summary>
    public double Total { get; set; } = double.NaN;

    /// <summary><c>trained</c>, <c>chosen</c> or <c>rejected</c>; null where it is not used.</summary>
    public string? Use { get; set; }

    /// <summary>Why it is not used; null where it is.</summary>
    public string? Dropped { get; set; }

    /// <summary>What is kept of it in <c>samples.jsonl</c>.</summary>
    public JsonObject ToJson(int round, Prompt prompt, string source, long stream)
    {
        var line = new JsonObject
        {
            ["round"] = round,
            ["prompt_index"] = Prompt,
            ["sample"] = Sample,
            ["prompt"] = prompt.Messages is { } messages ? JsonNode.Parse(messages.GetRawText()) : prompt.Text,
            ["answer"] = Given.Text,
            ["finish_reason"] = Given.Finished ? "stop" : "length",
            ["score"] = Number(Total),
            ["scores"] = new JsonObject(Scores.Select(score => KeyValuePair.Create(score.Key, Number(score.Value.Value)))),
            ["use"] = Use,
            ["dropped"] = Dropped,
            ["source"] = source,
            ["stream"] = stream,
            ["place"] = prompt.Place,
        };
        prompt.Inputs?.AddTo(line);
        if (prompt.Expected is not null)
            line["reference"] = prompt.Expected;
        if (Given.Tokens is { } tokens)
            line["tokens"] = tokens;
        if (Given.LogProb is { } logProb)
            line["log_prob"] = logProb;
        if (Scores.Any(score => score.Value.Detail is not null))
            line["details"] = new JsonObject(Scores.Where(score => score.Value.Detail is not null)
                .Select(score => KeyValuePair.Create(score.Key, (JsonNode?)score.Value.Detail)));
        return line;
    }

    internal static JsonNode? Number(double value) => double.IsNaN(value) ? null : value;
}
