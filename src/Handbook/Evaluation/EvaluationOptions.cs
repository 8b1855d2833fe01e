using Handbook.Base;
using Handbook.Base.Progress;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Plans;

namespace Handbook.Evaluation;

/// <summary>What is evaluated, and how.</summary>
internal sealed record EvaluationOptions
{
    public required ModelSource Model { get; init; }

    public required IReadOnlyList<EvaluationTask> Tasks { get; init; }

    /// <summary>The folder that gets <c>results.json</c> and <c>samples/</c>; null keeps nothing.</summary>
    public string? Output { get; init; }

    /// <summary>Use so many rows of each task; null uses all.</summary>
    public int? Limit { get; init; }

    /// <summary>Examples before each question; null as the task says.</summary>
    public int? FewShot { get; init; }

    /// <summary>Answers to each prompt; null as the task says.</summary>
    public int? Repeats { get; init; }

    /// <summary>The temperature of answers; null as the task says.</summary>
    public double? Temperature { get; init; }

    /// <summary>Decides drawn examples, answers and resampled intervals.</summary>
    public long Seed { get; init; } = 1234;

    /// <summary>Answers that are worked on at once.</summary>
    public int BatchSize { get; init; } = 16;

    /// <summary>Most tokens that are scored at once.</summary>
    public int MaxTokens { get; init; } = 4096;

    /// <summary>Most tokens of a context with its answer; null for what the model was made for.</summary>
    public int? MaxLength { get; init; }

    /// <summary>Most tokens that a model reads at once.</summary>
    public int Window(LanguageModel model) => Math.Min(MaxLength ?? int.MaxValue, model.Network.Config.LongestText);

    public DType Compute { get; init; } = DType.Float32;

    /// <summary>Where the model is computed.</summary>
    public DeviceWish Where { get; init; } = new(UseCpu: false, "--use-cpu");

    /// <summary>Whether a question is what a user says, through the chat template.</summary>
    public bool Chat { get; init; }

    /// <summary>Whether answers may be run as programs, in a sandbox.</summary>
    public bool AllowCode { get; init; }

    /// <summary>Brings rows of the hub into the cache.</summary>
    public Func<DatasetSpec, DatasetSpec> Bring { get; init; } = spec => spec;

    /// <summary>What the user typed.</summary>
    public string? CommandLine { get; init; }

    public required IWorkObserver Observer { get; init; }

    /// <summary>Who share the rows out; the first of them writes and speaks.</summary>
    public Workers Workers { get; init; } = Workers.Alone;

    /// <summary>What was asked for and changes nothing of some tasks, a line for each option.</summary>
    public IEnumerable<string> WithoutEffect()
    {
        (string Option, bool IsGiven, Func<EvaluationTask, bool> Counts, string Why)[] options =
        [
            ("--num-fewshot", FewShot > 0, task => task.HasQuestions, "whole texts and pairs have no question before which examples stand"),
            ("--apply-chat-template", Chat, task => task.HasQuestions, "whole texts and pairs are read as they are"),
            ("--num-generations", Repeats is not null, task => task.Kind == TaskKind.GenerateUntil, "no answer is drawn"),
            ("--temperature", Temperature is not null, task => task.Kind == TaskKind.GenerateUntil, "no answer is drawn"),
            ("--allow-code", AllowCode, _ => Tasks.Any(task => task.RunsCode), "no code is run"),
        ];
        foreach (var (option, isGiven, counts, why) in options)
            if (isGiven && Tasks.Where(task => !counts(task)).Select(task => task.Name).ToArray() is { Length: > 0 } left)
                yield return $"{option} has no effect on {string.Join(", ", left)}: {why}";
    }

    /// <exception cref="InputException">A value is out of its range.</exception>
    public void Validate()
    {
        Require(Limit is null or >= 1, "--limit", $"{Limit}", "leave it out to use all rows");
        Require(FewShot is null or >= 0, "--num-fewshot", $"{FewShot}", "use 0 for none");
        Require(Repeats is null or >= 1, "--num-generations", $"{Repeats}", "use 1");
        Require(BatchSize >= 1, "--batch-size", $"{BatchSize}", "use 16");
        Require(MaxTokens >= 1, "--max-tokens", $"{MaxTokens}", "use 4096");
        Require(MaxLength is null or >= 2, "--max-length", $"{MaxLength}", "leave it out for the length that the model was made for");
        Require(Temperature is null || double.IsFinite(Temperature.Value) && Temperature >= 0, "--temperature", $"{Temperature}", "use 0.2");
        foreach (var twice in Tasks.GroupBy(task => task.Name).Where(group => group.Count() > 1))
            throw new InputException($"two tasks are called {twice.Key}", "their results would be mixed up", "name each task once");

        static void Require(bool holds, string option, string value, string fix)
        {
            if (!holds)
                throw new InputException($"{option} is {value}, which it cannot be", fix: fix);
        }
    }
}

/// <summary>What came of a task.</summary>
/// <param name="Task">The task.</param>
/// <param name="Rows">Rows that were evaluated.</param>
/// <param name="FewShot">Examples before each question.</param>
/// <param name="Values">Metrics by <c>metric,filter</c>, in the task's order.</param>
/// <param name="Remarks">What a reader of the numbers should know.</param>
internal sealed record TaskResult(EvaluationTask Task, int Rows, int FewShot, IReadOnlyList<(string Metric, string Filter, MeasuredValue Value)> Values,
    IReadOnlyList<string> Remarks);
