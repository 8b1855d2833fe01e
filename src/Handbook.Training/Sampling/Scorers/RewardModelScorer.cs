using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Rewards;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>The score of a reward model; the prompt is computed once for all of its answers.</summary>
/// <param name="model">The reward model; owned from here on.</param>
internal sealed class RewardModelScorer(RewardModel model) : IAnswerScorer
{
    /// <summary>Answers that are scored together: enough to fill batches, few enough to lose little when stopped.</summary>
    private const int ChunkSize = 256;

    private readonly Lazy<ChatRowEncoder> _chats = new(() => ScoreTokenizer.Chats(model.Tokenizer));

    /// <param name="load">Loads it where it is wanted; null on the CPU.</param>
    /// <inheritdoc cref="RewardModel.Open(ModelSource, DType, Action{string}?, int, Func{ModelWeights, ParameterPlan, Decoder}?, bool)"/>
    public static RewardModelScorer Of(ModelSource source, DType compute, Action<string>? note,
        Func<ModelSource, Func<ModelWeights, ParameterPlan, Decoder>>? load) =>
        new(RewardModel.Open(source, compute, note, RewardModel.DefaultMaxTokens, load?.Invoke(source)));

    public string Name => "reward_model";

    public void Score(IReadOnlyList<SampledAnswer> answers, Action<int, AnswerRating> done, CancellationToken cancel)
    {
        // Row by row: then a score does not depend on which others are computed with it, nor on where a run was stopped.
        using var exact = RowExact.Enabled();
        for (var start = 0; start < answers.Count;)
        {
            var (rows, places) = (new List<TokenRow>(), new List<int>());
            while (start < answers.Count && places.Count < ChunkSize)
            {
                var end = start + 1;
                while (end < answers.Count && SamePrompt(answers[start], answers[end]))
                    end++;
                var prompt = Encode(answers[start] with { Answer = "" });
                var trees = Enumerable.Range(start, end - start).Select(i => (Place: i, Ids: Encode(answers[i])))
                    .GroupBy(answer => Common(prompt, answer.Ids));
                foreach (var tree in trees)
                {
                    rows.Add(Tree(tree.Key, [.. tree.Select(answer => answer.Ids)]));
                    places.AddRange(tree.Select(answer => answer.Place));
                }
                start = end;
            }
            var scores = model.Score(rows, cancel: cancel);
            for (var i = 0; i < scores.Length; i++)
                done(places[i], new(scores[i]));
        }
    }

    private static bool SamePrompt(SampledAnswer a, SampledAnswer b) => a.Place == b.Place && a.Text == b.Text
        && a.Messages?.GetRawText() == b.Messages?.GetRawText() && ReferenceEquals(a.Inputs, b.Inputs);

    /// <summary>Tokens before the answer: what an answer has in common with an empty one, but never all of it.</summary>
    private static int Common(int[] prompt, int[] answer) => Math.Min(prompt.AsSpan().CommonPrefixLength(answer), answer.Length - 1);

    private static TokenRow Tree(int common, int[][] answers)
    {
        if (common == 0)
            return new() { Segments = [.. answers.Select(ids => new TokenSegment(SegmentRole.Sample, -1, ids, new byte[ids.Length]))] };
        return new()
        {
            Segments =
            [
                new(SegmentRole.Prompt, -1, answers[0].AsMemory(0, common), new byte[common]),
                .. answers.Select(ids => new TokenSegment(SegmentRole.Sample, 0, ids.AsMemory(common), new byte[ids.Length - common])),
            ],
        };
    }

    // As `handbook score` reads a row with this conversation, or with this prompt and completion; an empty completion leaves the prompt as
    // a text.
    private int[] Encode(SampledAnswer answer)
    {
        var columns = answer.Messages is { } messages
            ? new JsonObject
            {
                ["messages"] = new JsonArray([.. messages.EnumerateArray().Select(turn => JsonNode.Parse(turn.GetRawText())),
                new JsonObject { ["role"] = "assistant", ["content"] = answer.Answer }])
            }
            : answer.Answer.Length == 0 ? new JsonObject { ["text"] = answer.Text }
                : new JsonObject { ["prompt"] = answer.Text, ["completion"] = answer.Answer };
        answer.Inputs?.AddTo(columns);
        var row = JsonSerializer.SerializeToElement(columns);
        var tokens = new ScoreTokenizer(new OneRow(row), new DatasetSpec { Id = answer.Place }, model.Tokenizer, maxLength: null,
            _chats.Value).Tokenize(row, out var problem);
        return tokens is null
            ? throw new InputException(
                $"{answer.Place}: the reward model cannot read the answer: {problem?.Reason} {problem?.Detail}".TrimEnd(),
                fix: "score it with another scorer, or leave the prompt out")
            : tokens.Segments[0].Ids.ToArray();
    }

    public void Dispose() => model.Dispose();

    private sealed class OneRow(JsonElement row) : IRowSource
    {
        public string Name => "answers";

        public IReadOnlyList<string> Files => [];

        public string Identity => "memory";

        public double Share => 1;

        public IEnumerable<SourceRow> Read() => [new SourceRow { Value = row, File = Name, Row = 1 }];
    }
}
