using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Models.Generation;
using Handbook.Recipes;
using Handbook.Training.Sampling;

namespace Handbook.Runs;

/// <summary>What came of the rounds so far: <c>summary.json</c>, <c>samples.jsonl</c>, and the results of each round.</summary>
/// <param name="recipe">The recipe.</param>
/// <param name="prompts">Prompts that are sampled for.</param>
/// <param name="dropped">Rows and prompts that are not, by reason.</param>
internal sealed class RejectionSummary(Recipe recipe, int prompts, IReadOnlyDictionary<string, int> dropped)
{

    private readonly List<JsonObject> _samples = [];
    private readonly List<JsonObject> _rounds = [];
    private readonly List<RejectionRoundResult> _results = [];

    /// <summary>The rounds so far.</summary>
    public IReadOnlyList<RejectionRoundResult> Rounds => _results;

    /// <summary>Rows and prompts that are not sampled for, by reason.</summary>
    public IReadOnlyDictionary<string, int> PromptsLeftOut => dropped;

    /// <param name="model">The folder of the round's model; null where none is trained.</param>
    public void Add(int number, RejectionRound round, IReadOnlyList<Prompt> asked, string? model)
    {
        foreach (var group in round.Samples)
            foreach (var sample in group)
                _samples.Add(sample.ToJson(number, asked[sample.Prompt], round.Source, round.Stream(sample.Prompt, sample.Sample)));
        var scored = round.Samples.SelectMany(group => group).Where(sample => !double.IsNaN(sample.Total)).ToArray();
        var best = round.Samples.Select(group => group.Where(sample => !double.IsNaN(sample.Total)).Select(sample => sample.Total)
            .DefaultIfEmpty(double.NaN).Max()).Where(score => !double.IsNaN(score)).ToArray();
        var (mean, meanBest) = (scored.Length > 0 ? scored.Average(sample => sample.Total) : double.NaN,
            best.Length > 0 ? best.Average() : double.NaN);
        var samples = round.Samples.Sum(group => group.Count);
        _rounds.Add(new JsonObject
        {
            ["round"] = number,
            ["source"] = round.Source,
            ["prompts"] = prompts,
            ["samples"] = samples,
            ["mean_score"] = RoundSample.Number(mean),
            ["mean_best_score"] = RoundSample.Number(meanBest),
            ["mean_scores"] = new JsonObject(scored.SelectMany(sample => sample.Scores).GroupBy(score => score.Key,
                score => score.Value.Value).Order(Comparer<IGrouping<string, double>>.Create((a, b) => string.CompareOrdinal(a.Key, b.Key)))
                .Select(group => KeyValuePair.Create(group.Key, RoundSample.Number(group.Average())))),
            ["mean_length"] = MeanLength(round.Samples.SelectMany(group => group)),
            ["mean_length_selected"] = MeanLength(round.Samples.SelectMany(group => group)
                .Where(sample => sample.Use is "trained" or "chosen")),
            ["selected"] = round.DatasetRows,
            ["answers_not_used"] = Counts(round.SamplesDropped),
            ["prompts_not_used"] = Counts(round.PromptsDropped),
            ["dataset"] = round.Dataset,
            ["model"] = model,
        });
        _results.Add(new(number, prompts, samples, mean, meanBest, round.DatasetRows, round.SamplesDropped));
    }

    /// <summary>Writes both files whole; nothing in them depends on when or how often the run was stopped.</summary>
    public void Write(string folder)
    {
        JsonLines.Write(Path.Combine(folder, "samples.jsonl"), _samples);
        WholeFile.WriteText(Path.Combine(folder, "summary.json"), new JsonObject
        {
            ["recipe"] = recipe.Path,
            ["model"] = recipe.Model.ModelNameOrPath,
            ["seed"] = recipe.Training.Seed,
            ["num_generations"] = recipe.Sampling.NumGenerations,
            ["reward_funcs"] = new JsonArray([.. recipe.Scoring.RewardFuncs!.Select(name => (JsonNode?)name)]),
            ["select"] = RecipeNames.Of(recipe.Rejection.Select),
            ["train_method"] = recipe.Rejection.Trains() is { } method ? RecipeNames.Of(method) : "none",
            ["prompts"] = prompts,
            ["prompts_left_out"] = Counts(dropped),
            ["rounds"] = new JsonArray([.. _rounds.Select(round => round.DeepClone())]),
        }.ToJsonString(JsonLines.Indented) + "\n");
    }

    private static JsonObject Counts(IReadOnlyDictionary<string, int> counts) =>
        new(counts.OrderBy(entry => entry.Key, StringComparer.Ordinal)
            .Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)entry.Value)));

    /// <summary>Characters of an answer, on average; null without answers.</summary>
    private static JsonNode? MeanLength(IEnumerable<RoundSample> samples) =>
        RoundSample.Number(samples.Select(sample => (double)sample.Given.Text.Length).DefaultIfEmpty(double.NaN).Average());
}
