using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Plans;
using Handbook.Training.Rewards;

namespace Handbook.Evaluation;

/// <summary>Rows with two answers, as a reward model reads them.</summary>
internal sealed class RewardPairs
{
    private readonly ScoreTokenizer _tokenizer;

    private RewardPairs(ScoreTokenizer tokenizer) => _tokenizer = tokenizer;

    /// <param name="questions">The rows that are evaluated.</param>
    /// <exception cref="InputException">None of them is a pair that can be scored.</exception>
    public static RewardPairs Of(EvaluationOptions options, EvaluationTask task, IRowSource source, DatasetSpec data,
        IReadOnlyList<TaskQuestion> questions)
    {
        var config = options.Model.Config().Decoder;
        var longest = config.Positions == PositionKind.Learned ? Math.Min(options.MaxLength ?? int.MaxValue, config.MaxPositions)
            : options.MaxLength;
        var pairs = new RewardPairs(Tokenizer());
        if (questions.Any(question => pairs.Read(question).Row is not null))
            return pairs;
        throw new InputException($"{task.Name}: {data.Id} holds no pair that can be scored"
            + string.Concat(Told(questions.Select(question => pairs.Read(question).Left!)).Select(left => $"\n    {left}")),
            fix: "name rows with chosen and rejected answers");

        ScoreTokenizer Tokenizer()
        {
            try
            {
                return new(source, data, Text.Tokenizers.Tokenizer.Load(options.Model.HavingTokenizer), longest);
            }
            catch (InputException unknown) when (unknown.Fix?.Contains("--column", StringComparison.Ordinal) == true)
            {
                // The fix of another command: here are no columns to name.
                throw new InputException(unknown.What, unknown.Why, "name rows with the columns chosen and rejected, and prompt if need be", unknown);
            }
        }
    }

    /// <summary>The tokens of a pair, or why there are none.</summary>
    public (TokenRow? Row, LeftOut? Left) Read(TaskQuestion question)
    {
        var problem = question.Problem;
        if (problem is null && !_tokenizer.IsPair(question.Row))
            problem = new("one answer, no pair", "", "");
        if (problem is null && _tokenizer.Tokenize(question.Row, out problem) is { } row)
            return (row, null);
        return (null, new(problem?.Reason ?? "no text", question.Place + (problem is { Detail.Length: > 0 } ? $": {problem.Detail}" : "")));
    }

    /// <summary>What a reader of the numbers should know of rows that are left out.</summary>
    public static IEnumerable<string> Remarks(IEnumerable<LeftOut> left) => Told(left).Select(one => $"without a score: {one}");

    private static IEnumerable<string> Told(IEnumerable<LeftOut> left) => left.GroupBy(one => one.Reason)
        .OrderBy(kind => kind.Key, StringComparer.Ordinal).Select(kind => $"{kind.Count():N0} × {kind.Key}, e.g. {kind.First().Place}");
}

/// <summary>How often a reward model scores the better answer of a pair higher.</summary>
internal sealed class RewardWork : TaskWork
{
    private readonly RewardPairs _pairs;
    private readonly RewardModel _model;

    /// <param name="pairs">How rows are read.</param>
    public RewardWork(EvaluationOptions options, RewardPairs pairs)
    {
        _pairs = pairs;
        _model = options.Workers.FirstOnHost(() =>
            RewardModel.Open(options.Model, options.Compute, options.Observer.Said, options.MaxTokens,
                DevicePlan.Loader(options.Model, options.Observer, options.Where)));
    }

    public override int ChunkSize => 512;

    public override void Run(IReadOnlyList<TaskQuestion> questions, Done done, CancellationToken cancel)
    {
        var read = new (TokenRow? Row, LeftOut? Left)[questions.Count];
        Parallel.For(0, questions.Count, i => read[i] = _pairs.Read(questions[i]));
        // Bit by bit, as likelihoods are: a score does not depend on what is computed beside it.
        using var exact = RowExact.Enabled();
        var scores = _model.Score([.. read.Select(one => one.Row).OfType<TokenRow>()], cancel: cancel);
        for (int i = 0, next = 0; i < questions.Count; i++)
        {
            var line = new JsonObject();
            if (questions[i].Row.ValueKind == JsonValueKind.Object)
                line["row"] = JsonNode.Parse(questions[i].Row.GetRawText());
            if (read[i].Row is not { } row)
            {
                line["left"] = new JsonObject { ["reason"] = read[i].Left!.Reason, ["place"] = read[i].Left!.Place };
                done(questions[i], line, []);
                continue;
            }
            double[] own = new double[2];
            foreach (var role in ScorePlace.Roles(row))
                own[role == SegmentRole.Rejected ? 1 : 0] = scores[next++];
            (line["score_chosen"], line["score_rejected"]) = ((float)own[0], (float)own[1]);        // the head's own precision
            done(questions[i], line, [new("acc", RowMeasures.Unfiltered, [own[0] > own[1] ? 1 : 0])]);
        }
    }

    public override void Dispose() => _model.Dispose();
}
