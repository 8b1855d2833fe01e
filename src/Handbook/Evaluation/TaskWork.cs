using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Evaluation.Instructions;
using Handbook.Models.Generation;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Evaluation;

/// <summary>Asks the model, and measures what it says.</summary>
internal abstract class TaskWork : IDisposable
{
    /// <summary>Hears what a row gave: the question, what its line of the samples holds, and the measures.</summary>
    public delegate void Done(TaskQuestion question, JsonObject line, IReadOnlyList<RowMeasure> measures);

    /// <summary>Rows that are asked together, and kept together.</summary>
    public abstract int ChunkSize { get; }

    public abstract void Run(IReadOnlyList<TaskQuestion> questions, Done done, CancellationToken cancel);

    public static TaskWork Of(EvaluationOptions options, EvaluationTask task, LanguageModel model) =>
        task.Kind == TaskKind.GenerateUntil ? new GenerationWork(options, task, model) : new LikelihoodWork(options, task, model);

    public abstract void Dispose();
}

/// <summary>Tasks that are measured by log-probabilities.</summary>
internal sealed class LikelihoodWork(EvaluationOptions options, EvaluationTask task, LanguageModel model) : TaskWork
{
    private readonly LikelihoodScorer _scorer = new(model, options.MaxTokens, options.Window(model));

    public override int ChunkSize => 64;

    public override void Run(IReadOnlyList<TaskQuestion> questions, Done done, CancellationToken cancel)
    {
        if (task.Kind == TaskKind.LoglikelihoodRolling)
        {
            var texts = questions.Select(question => question.Targets[0]).ToArray();
            var sums = _scorer.Rolling(texts, cancel);
            for (var i = 0; i < texts.Length; i++)
                done(questions[i], new() { ["log_prob"] = sums[i] }, [.. RowMeasures.Rolling(task.Metrics, questions[i].Counted ?? texts[i], sums[i])]);
            return;
        }
        // A chat template sets its own seam between question and answer.
        var delimiter = options.Chat ? "" : task.TargetDelimiter;
        var choosing = task.Kind == TaskKind.MultipleChoice;
        var scores = _scorer.Score([.. questions.Select(question => (question.Context,
            (IReadOnlyList<string>)[.. (choosing ? question.Choices : question.Targets.Take(1)).Select(answer => delimiter + answer)]))],
            options.Chat, cancel);
        for (var i = 0; i < scores.Length; i++)
        {
            var line = new JsonObject
            {
                ["prompt"] = questions[i].Context,
                ["answers"] = Texts(choosing ? questions[i].Choices : questions[i].Targets),
                ["log_probs"] = new JsonArray([.. scores[i].Select(score => (JsonNode)score.LogProb)]),
            };
            if (scores[i].Count(score => score.IsCut) is > 0 and var cut)
                line["cut"] = cut;
            if (choosing)
                line["right"] = new JsonArray([.. questions[i].Right.Select(right => (JsonNode)right)]);
            done(questions[i], line, [.. choosing ? RowMeasures.Choice(task.Metrics, questions[i], scores[i])
                : RowMeasures.Likelihood(task.Metrics, scores[i][0])]);
        }
    }

    internal static JsonArray Texts(IEnumerable<string> texts) => new([.. texts.Select(text => (JsonNode)text)]);

    public override void Dispose()
    {
    }
}

/// <summary>Tasks that are measured by answers.</summary>
internal sealed class GenerationWork : TaskWork
{
    private readonly EvaluationOptions _options;
    private readonly ModelAnswers _answers;
    private readonly AnswerMeasures _measures;
    private readonly int _repeats;

    public GenerationWork(EvaluationOptions options, EvaluationTask task, LanguageModel model)
    {
        (_options, _repeats) = (options, options.Repeats ?? task.Repeats);
        var sampling = new SamplingOptions
        {
            MaxNewTokens = task.Generation.MaxTokens,
            Temperature = options.Temperature ?? task.Generation.Temperature,
            TopP = task.Generation.TopP,
            TopK = task.Generation.TopK,
            Seed = options.Seed,
            BatchSize = options.BatchSize,
        };
        sampling.Validate();
        _measures = new(task);
        _answers = new(ModelWithoutOwner(model), sampling, task.Generation.Until ?? [task.FewShotDelimiter], textsAreTurns: options.Chat,
            LongestPrompt(options.Window(model), task.Generation.MaxTokens), cutsPrompts: true);
    }

    // Room for the longest answer; where the model reads no more than that at all, for one token.
    private static int LongestPrompt(int window, int answer) => window > answer ? window - answer : window - 1;

    /// <summary>Looks at what a task asks for before anything is asked.</summary>
    /// <exception cref="InputException">It cannot be answered or measured so.</exception>
    public static void Require(EvaluationOptions options, EvaluationTask task)
    {
        var repeats = options.Repeats ?? task.Repeats;
        if (repeats > 1 && (options.Temperature ?? task.Generation.Temperature) == 0)
            throw new InputException($"{task.Name}: {repeats} answers to a prompt are asked for, which at temperature 0 are all the same",
                fix: "add --temperature 0.8, or ask for one");
        if (options.MaxLength <= task.Generation.MaxTokens)
            throw new InputException($"--max-length is {options.MaxLength}, but an answer of {task.Name} may have "
                + $"{task.Generation.MaxTokens} tokens by itself", fix: $"leave it out, or use more, e.g. {2 * task.Generation.MaxTokens}");
        if (task.Metrics.FirstOrDefault(metric => metric.Name == TaskMetrics.Pass) is not { } pass)
            return;
        if (pass.K.FirstOrDefault(k => k > repeats) is > 0 and var most)
            throw new InputException($"{task.Name}: pass@{most} needs {most} answers to each prompt, but {repeats} are asked for",
                fix: $"add --num-generations {most} --temperature 0.8");
        if (!options.AllowCode)
            throw new InputException($"{task.Name} runs code that the model writes, in a sandbox, and that is not allowed",
                fix: "add --allow-code");
    }

    // The run owns the model; several tasks use it.
    private static LanguageModel ModelWithoutOwner(LanguageModel model) => LanguageModel.Around(model.Network, model.Tokenizer, model.Folder);

    public override int ChunkSize => Math.Max(1, 4 * _options.BatchSize / _repeats);

    public override void Run(IReadOnlyList<TaskQuestion> questions, Done done, CancellationToken cancel)
    {
        var said = questions.Select(_ => new GivenAnswer?[_repeats]).ToArray();
        var refused = new string?[questions.Count];
        var (asked, which) = (new List<AnswerRequest>(), new List<int>());
        for (var q = 0; q < questions.Count; q++)
        {
            var prompt = new Prompt { Text = questions[q].Context, Place = questions[q].Place };
            if (_answers.Refuses(prompt) is { } reason)
            {
                refused[q] = reason;
                continue;
            }
            asked.Add(new(prompt, [.. Enumerable.Range(0, _repeats).Select(k => questions[q].Number * 65536L + k)]));
            which.Add(q);
        }
        _answers.Answer(asked, (request, place, answer) => said[which[request]][place] = answer, cancel);
        var texts = said.Select(answers => (IReadOnlyList<string>)[.. answers.Select(answer => answer?.Text ?? "")]).ToArray();
        var measured = _measures.Of(questions, texts, cancel);
        for (var q = 0; q < questions.Count; q++)
        {
            var line = new JsonObject
            {
                ["prompt"] = questions[q].Context,
                ["target"] = LikelihoodWork.Texts(questions[q].Targets),
                ["answers"] = LikelihoodWork.Texts(texts[q]),
                ["finished"] = new JsonArray([.. said[q].Select(answer => (JsonNode)(answer?.Finished ?? false))]),
            };
            if (refused[q] is { } why)
                line["refused"] = why;
            if (Array.Exists(said[q], answer => answer?.IsCut == true))
                line["cut"] = 1;
            if (questions[q].Row.TryGetProperty("key", out var key))
                line["key"] = JsonNode.Parse(key.GetRawText());
            done(questions[q], line, measured[q]);
        }
    }

    public override void Dispose()
    {
        _measures.Dispose();
        _answers.Dispose();
    }
}

/// <summary>Measures of answers.</summary>
internal sealed class AnswerMeasures : IDisposable
{
    private readonly EvaluationTask _task;
    private readonly UnitTestScorer? _tests;

    public AnswerMeasures(EvaluationTask task)
    {
        _task = task;
        if (task.RunsCode)
            _tests = new(new() { Command = "python3 solution.py", Template = "{answer}\n\n{reference}\n", Allowed = true });
    }

    /// <param name="answers">Of each question, all answers.</param>
    public IReadOnlyList<RowMeasure>[] Of(IReadOnlyList<TaskQuestion> questions, IReadOnlyList<string>[] answers, CancellationToken cancel)
    {
        var passed = _tests is null ? [] : Passed(questions, answers, cancel);
        return [.. questions.Select((question, q) => (IReadOnlyList<RowMeasure>)[.. _task.Filters.SelectMany(filter =>
            _task.Metrics.SelectMany(metric => Of(metric, filter, question, answers[q], _tests is null ? 0 : passed[q])))])];
    }

    private static IEnumerable<RowMeasure> Of(TaskMetric metric, FilterPipeline filter, TaskQuestion question, IReadOnlyList<string> answers, int passed)
    {
        if (metric.Name == TaskMetrics.Pass)
            return metric.K.Select(k => new RowMeasure($"pass@{k}", filter.Name, [RowMeasures.PassAt(k, answers.Count, passed)]));
        var compared = filter.Apply(answers);
        if (metric.Name == TaskMetrics.Instructions)
            return InstructionMeasures.Of(question, compared[0], filter.Name);
        return [new(metric.Name, filter.Name, [compared.Average(answer => question.Targets.Any(target => metric.Name == "number_match"
            ? Numbers(answer, target, question.Place) : RowMeasures.Equal(metric, answer, target)) ? 1.0 : 0)])];
    }

    private static bool Numbers(string answer, string target, string place) =>
        s_number.Score(new SampledAnswer { Answer = answer, Reference = target, Place = place }).Value == 1;

    private static readonly NumberMatchScorer s_number = new(new ResultPattern(null));

    public void Dispose() => _tests?.Dispose();

    private int[] Passed(IReadOnlyList<TaskQuestion> questions, IReadOnlyList<string>[] answers, CancellationToken cancel)
    {
        var all = questions.SelectMany((question, q) => answers[q].Select(answer => (Question: q, Answer: new SampledAnswer
        {
            Answer = Program(question, answer),
            Reference = question.Targets[0],
            Place = question.Place,
        }))).ToArray();
        var scores = _tests!.Score([.. all.Select(one => one.Answer)], cancel);
        var passed = new int[questions.Count];
        for (var i = 0; i < all.Length; i++)
            passed[all[i].Question] += scores[i].Value == 1 ? 1 : 0;
        return passed;
    }

    /// <summary>The program: a fenced block that defines the function again is one by itself, anything else goes on from the prompt's
    /// code.</summary>
    internal static string Program(TaskQuestion question, string answer)
    {
        var code = UnitTestScorer.CodeOf(answer);
        if (code.Length < answer.Length && question.Row.TryGetProperty("entry_point", out var name)
            && name.ValueKind == JsonValueKind.String && code.Contains($"def {name.GetString()}", StringComparison.Ordinal))
            return code;
        var before = question.Row.TryGetProperty("prompt", out var prompt) && prompt.ValueKind == JsonValueKind.String
            ? prompt.GetString()! : question.Context;
        return before + code;
    }
}
