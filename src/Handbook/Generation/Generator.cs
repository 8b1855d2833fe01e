using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Generation;

/// <summary>Why an answer ended.</summary>
public enum FinishReason
{
    /// <summary>The model said its end token, or the listener had heard enough.</summary>
    Stop,
    /// <summary>The answer reached its greatest length.</summary>
    Length,
}

/// <summary>One answer.</summary>
/// <param name="Tokens">Without the end token.</param>
/// <param name="LogProbs">log p of each token under the model; as long as <paramref name="Tokens"/>.</param>
public sealed record Answer(int[] Tokens, double[] LogProbs, FinishReason Finish);

/// <summary>Answers prompts with a key-value cache, many rows at once; a row that ends makes room for the next.</summary>
public sealed class Generator(Decoder model)
{
    /// <summary>New tokens that go through the network together: long prompts are read in parts, so that memory does not grow with them.</summary>
    internal int TokensAtOnce { get; init; } = 2048;

    private readonly IncrementalForward _forward = new(model);

    /// <param name="prompts">Token ids, at least one each.</param>
    /// <param name="options">How to draw, and when to stop.</param>
    /// <param name="onToken">Hears every token of every row as it is drawn: (row, token). Says whether the answer goes on.</param>
    /// <param name="onDone">Hears every answer when it is done: (row, answer).</param>
    /// <param name="cancel">Stops between tokens with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>One answer per prompt, in order.</returns>
    public Answer[] Generate(IReadOnlyList<int[]> prompts, SamplingOptions options, Func<int, int, bool>? onToken = null, Action<int, Answer>? onDone = null, CancellationToken cancel = default)
    {
        options.Validate();
        var answers = new Answer[prompts.Count];
        var active = new List<Row>();
        var next = 0;
        try
        {
            while (next < prompts.Count || active.Count > 0)
            {
                cancel.ThrowIfCancellationRequested();
                for (; active.Count < options.BatchSize && next < prompts.Count; next++)
                    active.Add(Begin(next, prompts[next], options));
                var (rows, parts) = NextTokens(active);
                using var scope = TensorScope.Enter();
                var logits = _forward.Logits([.. rows.Select(r => r.Cache)], parts).To(DType.Float32);
                var vocabulary = (int)logits.Size(1);
                for (var i = 0; i < rows.Count; i++)
                {
                    rows[i].Pending = rows[i].Pending[parts[i].Length..];
                    if (rows[i].Pending.Length == 0)
                        rows[i].Take(logits.AsSpan<float>().Slice(i * vocabulary, vocabulary), options, onToken);
                }
                foreach (var row in active.Where(r => r.Answer is not null))
                {
                    answers[row.Index] = row.Answer!;
                    onDone?.Invoke(row.Index, row.Answer!);
                    row.Cache.Dispose();
                }
                active.RemoveAll(r => r.Answer is not null);
            }
        }
        finally
        {
            foreach (var row in active)
                row.Cache.Dispose();
        }
        return answers;
    }

    private (List<Row> Rows, List<int[]> Parts) NextTokens(List<Row> active)
    {
        var (rows, parts, room) = (new List<Row>(), new List<int[]>(), TokensAtOnce);
        foreach (var row in active)
        {
            if (room == 0)
                break;
            var part = row.Pending.Length <= room ? row.Pending : row.Pending[..room];
            rows.Add(row);
            parts.Add(part);
            room -= part.Length;
        }
        return (rows, parts);
    }

    private Row Begin(int index, int[] prompt, SamplingOptions options)
    {
        if (prompt.Length == 0)
            throw new InputException($"prompt {index + 1} has no token", fix: "write a prompt, or use a tokenizer with a begin token");
        var limit = model.Config.Positions == PositionKind.Learned ? model.Config.MaxPositions : int.MaxValue;
        if (prompt.Length > limit)
            throw new InputException($"prompt {index + 1} has {prompt.Length} tokens, but the model has {limit} learned positions", fix: "shorten the prompt");
        foreach (var token in prompt)
            if ((uint)token >= (uint)model.Config.VocabularySize)
                throw new InputException($"prompt {index + 1} has the token id {token}, but the model's vocabulary has {model.Config.VocabularySize} entries", fix: "use the model's own tokenizer");
        return new Row
        {
            Index = index,
            Cache = new KeyValueCache(model.Config, model.Compute, prompt.Length + Math.Min(options.MaxNewTokens, 256)),
            Pending = prompt,
            Sampler = new Sampler(options, index, prompt),
            Room = (int)Math.Min(options.MaxNewTokens, (long)limit - prompt.Length + 1),      // the last token is drawn, but never read
        };
    }

    private sealed class Row
    {
        private readonly List<int> _tokens = [];
        private readonly List<double> _logProbs = [];

        public required int Index { get; init; }

        public required KeyValueCache Cache { get; init; }

        /// <summary>Tokens that the network has not seen yet.</summary>
        public required int[] Pending { get; set; }

        public required Sampler Sampler { get; init; }

        /// <summary>Most tokens of the answer.</summary>
        public required int Room { get; init; }

        public Answer? Answer { get; private set; }

        public void Take(Span<float> logits, SamplingOptions options, Func<int, int, bool>? onToken)
        {
            var (token, logProb) = Sampler.Next(logits);
            if (options.StopIds.Contains(token))
            {
                Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Stop);
                return;
            }
            _tokens.Add(token);
            _logProbs.Add(logProb);
            Pending = [token];
            if (onToken is not null && !onToken(Index, token))
                Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Stop);
            else if (_tokens.Count >= Room)
                Answer = new Answer([.. _tokens], [.. _logProbs], FinishReason.Length);
        }
    }
}
