using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Training;
using Handbook.Training.Sampling;

namespace Handbook.Evaluation.Judging;

/// <summary>What is answered and judged.</summary>
internal sealed record BenchOptions
{
    /// <summary>The questions.</summary>
    public required IReadOnlyList<BenchQuestion> Questions { get; init; }

    /// <summary>The folder, as FastChat's <c>data/mt_bench</c>: <c>model_answer</c>, <c>model_judgment</c>; and <c>results.json</c>.</summary>
    public required string Output { get; init; }

    /// <summary>The model that answers first; null for none.</summary>
    public Answerer? Model { get; init; }

    /// <summary>Files of answers.</summary>
    public IReadOnlyList<string> Answers { get; init; } = [];

    /// <summary>null only answers.</summary>
    public Judge? Judge { get; init; }

    public JudgePrompts Prompts { get; init; } = JudgePrompts.Own();

    /// <summary>A file of answers that judges see; null for none.</summary>
    public string? References { get; init; }

    public JudgeMode Mode { get; init; }

    /// <summary>The model that others are compared with.</summary>
    public string? Baseline { get; init; }

    public long Seed { get; init; } = 1234;

    /// <summary>What the user typed.</summary>
    public string? CommandLine { get; init; }

    public required IWorkObserver Observer { get; init; }
}

/// <summary>Answers questions and has the answers judged: MT-Bench, or questions of the same form. arXiv:2306.05685.</summary>
internal static class BenchRun
{
    /// <returns>Best first; empty where nothing is judged.</returns>
    /// <exception cref="InputException">Something the user can fix; what was done is kept.</exception>
    public static IReadOnlyList<BenchReport.Standing> Run(BenchOptions options, CancellationToken cancel = default)
    {
        // Everything that can be wrong is looked at before anything is asked.
        var models = options.Answers.Select(path => BenchAnswers.Read(path, options.Questions, "the file of answers")).ToList();
        IEnumerable<string> names = options.Model is null ? models.Select(model => model.Name)
            : models.Select(model => model.Name).Append(options.Model.Name);
        foreach (var twice in names.GroupBy(name => name).Where(group => group.Count() > 1))
            throw new InputException($"two models are called {twice.Key}", "their marks would be mixed up",
                "rename one of the files, or use --model-id");
        if (options.Judge is not null)
            Require(options, [.. names]);
        var references = options.Judge is null || !options.Questions.Any(question => question.NeedsReference) ? null
            : BenchAnswers.Read(options.References ?? throw new InputException("--references is missing",
                "questions of the categories math, reasoning and coding are judged beside a reference answer",
                "name the file, e.g. reference_answer/gpt-4.jsonl of MT-Bench, or leave those questions out"), options.Questions, "--references",
                question => question.NeedsReference).Turns;
        using var taken = RunLock.Take(options.Output, options.CommandLine, "--output");
        options.Judge?.Open();
        taken.Hold();
        if (options.Model is { } model)
        {
            var path = BenchAnswering.Run(model, options.Questions, options.Output, options.Observer, cancel);
            models.Add(BenchAnswers.Read(path, options.Questions, "the file of answers"));
            options.Observer.Said($"answers: {path}");
        }
        if (options.Judge is not { } judge)
            return [];
        var isPair = options.Mode != JudgeMode.Single;
        var file = Path.Combine(options.Output, "model_judgment", $"{EvaluationRun.FileName(judge.Name)}_{(isPair ? "pair" : "single")}.jsonl");
        var judgements = new BenchJudging(judge, options.Prompts, references, options.Observer)
            .Run(BenchJudging.Matches(options.Questions, models, options.Mode, options.Baseline), file, cancel);
        options.Observer.Said($"judgements: {file}");
        if (options.Prompts.AreOwn)
            options.Observer.Noted("the judge was told our own words: name the published ones with --judge-prompts where marks are to "
                + "compare with published marks");
        var standings = isPair ? BenchReport.Wins(judgements, options.Mode == JudgeMode.PairwiseBaseline ? options.Baseline : null, options.Seed)
            : BenchReport.Marks(judgements, options.Seed);
        JsonLines.WriteIndented(Path.Combine(options.Output, "results.json"), new JsonObject
        {
            ["results"] = BenchReport.Json(standings),
            ["config"] = new JsonObject
            {
                ["mode"] = options.Mode switch
                {
                    JudgeMode.Single => "single",
                    JudgeMode.PairwiseAll => "pairwise-all",
                    _ => "pairwise-baseline",
                },
                ["judge"] = judge.Name,
                ["judge_prompts"] = options.Prompts.AreOwn ? "own" : "of a file",
                ["baseline"] = options.Baseline,
                ["questions"] = options.Questions.Count,
                ["command"] = options.CommandLine,
            },
        });
        return standings;
    }

    private static void Require(BenchOptions options, IReadOnlyList<string> names)
    {
        if (options.Mode == JudgeMode.Single)
            return;
        if (names.Count < 2)
            throw new InputException($"{names.Count} model is named, and two are compared", fix: "name a file of answers of another model");
        if (options.Mode == JudgeMode.PairwiseBaseline && (options.Baseline is null || !names.Contains(options.Baseline)))
            throw new InputException(options.Baseline is null ? "--baseline is missing" : $"--baseline {options.Baseline} is none of the models",
                "each other model is compared with it", $"name one of {string.Join(", ", names)}");
    }
}
