using System.Runtime.ExceptionServices;
using Handbook.Base;
using Handbook.Torch;
using Handbook.Torch.Kernels;

namespace Handbook.Models.Generation;

/// <summary>Answers prompts with a key-value cache, many rows at once; a row that ends makes room for the next.</summary>
/// <remarks>
/// A prompt is computed once for all its answers, and what many prompts begin with is computed once for all of
/// them. The weights are those of the
/// <see cref="Decoder"/> as they are at the call. The tokens of an answer depend on weights, prompt, options and its stream alone.
/// </remarks>
public sealed class Generator(Decoder model)
{
    /// <summary>New tokens that go through the network together: long prompts are read in parts, so that memory
    /// does not grow with them.</summary>
    internal int TokensAtOnce { get; init; } = 2048;

    private readonly IncrementalForward _forward = new(model);

    /// <summary>One answer per prompt; the prompt's place in the list is the number of its random stream.</summary>
    /// <param name="prompts">Token ids, at least one each.</param>
    /// <param name="options">How to draw, and when to stop.</param>
    /// <param name="onToken">Hears every token of every row as it is drawn: (row, token). Says whether the answer goes on.</param>
    /// <param name="onDone">Hears every answer when it is done: (row, answer).</param>
    /// <param name="cancel">Stops between tokens with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>One answer per prompt, in order.</returns>
    public Answer[] Generate(IReadOnlyList<int[]> prompts, SamplingOptions options, Func<int, int, bool>? onToken = null,
        Action<int, Answer>? onDone = null, CancellationToken cancel = default)
    {
        var requests = prompts.Select((prompt, i) => new SampleRequest(prompt, [i])).ToArray();
        var answers = Sample(requests, options, onToken is null ? null : (row, _, token) => onToken(row, token),
            onDone is null ? null : (row, _, answer) => onDone(row, answer), cancel);
        return [.. answers.Select(group => group[0])];
    }

    /// <summary>Several answers per prompt.</summary>
    /// <param name="requests">Prompts with the random streams of their answers.</param>
    /// <param name="options">How to draw, and when to stop.</param>
    /// <param name="onToken">Hears every token as it is drawn: (prompt, answer, token). Says whether the answer goes on.</param>
    /// <param name="onDone">Hears every answer when it is done: (prompt, answer's place, answer).</param>
    /// <param name="cancel">Stops between tokens with an <see cref="OperationCanceledException"/>.</param>
    /// <returns>Per prompt one answer for each of its streams, in their order.</returns>
    internal Answer[][] Sample(IReadOnlyList<SampleRequest> requests, SamplingOptions options, Func<int, int, int, bool>? onToken = null,
        Action<int, int, Answer>? onDone = null, CancellationToken cancel = default)
    {
        options.Validate();
        var answers = requests.Select(request => new Answer[request.Streams.Count]).ToArray();
        for (var r = 0; r < requests.Count; r++)
            Check(r, requests[r].Tokens);
        using var prompts = new PromptCaches(model, _forward, requests, TokensAtOnce);
        var rows = new List<SampleRow>();
        var waiting = new Queue<(int Prompt, int Sample)>(requests.SelectMany((request, r) =>
            Enumerable.Range(0, request.Streams.Count).Select(s => (r, s))));
        try
        {
            while (waiting.Count > 0 || rows.Count > 0)
            {
                cancel.ThrowIfCancellationRequested();
                while (rows.Count < options.BatchSize && waiting.TryDequeue(out var next))
                    rows.Add(new SampleRow(prompts.Begin(next.Prompt), next.Sample, options,
                        Room(requests[next.Prompt].Tokens.Length, options)));
                Advance(rows, options, onToken);
                for (var i = 0; i < rows.Count; i++)
                    if (rows[i] is { Answer: { } answer } done)
                    {
                        answers[done.Prompt.Index][done.Sample] = answer;
                        onDone?.Invoke(done.Prompt.Index, done.Sample, answer);
                        done.Dispose();
                    }
                rows.RemoveAll(row => row.Answer is not null);
            }
        }
        finally
        {
            foreach (var row in rows)
                row.Dispose();
        }
        return answers;
    }

    /// <summary>Gives every row its next token, or reads more of the prompts that rows wait for.</summary>
    private void Advance(List<SampleRow> rows, SamplingOptions options, Func<int, int, int, bool>? onToken)
    {
        using var scope = TensorScope.Enter();
        var (caches, parts, heard) = (new List<KeyValueCache>(), new List<ReadOnlyMemory<int>>(), new List<SampleRow>());
        var room = TokensAtOnce;
        foreach (var row in rows)
            if (row.Cache is not null && room > 0)
            {
                caches.Add(row.Cache);
                parts.Add(row.Next);
                heard.Add(row);
                room--;
            }
        var prompts = new List<PromptCache>();
        foreach (var row in rows)
            if (row.Cache is null && !row.Prompt.IsRead && room > 0 && !prompts.Contains(row.Prompt))
            {
                prompts.Add(row.Prompt);
                caches.Add(row.Prompt.Cache);
                parts.Add(row.Prompt.NextPart(room));
                room -= parts[^1].Length;
            }
        Tensor? logits = null;
        if (caches.Count > 0)
        {
            logits = _forward.Logits(caches, parts).To(DType.Float32);
            for (var p = 0; p < prompts.Count; p++)
                prompts[p].Read(Row(logits, heard.Count + p));
        }
        var drawing = heard.Count;
        foreach (var row in rows)
            if (row.Cache is null && row.Prompt.IsRead)
            {
                row.Start(model);
                heard.Add(row);
            }
        Draw(heard, drawing, logits);
        foreach (var row in heard)
            row.Take(options, onToken);
    }

    private static ReadOnlySpan<float> Row(Tensor logits, int row)
    {
        var vocabulary = (int)logits.Size(1);
        return logits.AsSpan<float>().Slice(row * vocabulary, vocabulary);
    }

    private static unsafe void Draw(List<SampleRow> rows, int fromLogits, Tensor? logits)
    {
        try
        {
            ThreadTeam.Run(rows.Count, new DrawBody
            {
                Rows = rows,
                FromLogits = fromLogits,
                Logits = logits is null ? null : logits.Pointer<float>(),
                Vocabulary = logits is null ? 0 : (int)logits.Size(1),
            });
        }
        catch (AggregateException failure) when (failure.InnerException is InputException problem)
        {
            ExceptionDispatchInfo.Throw(problem);
        }
    }

    private unsafe struct DrawBody : IParallelBody
    {
        public List<SampleRow> Rows;
        public int FromLogits;
        public float* Logits;
        public int Vocabulary;

        public readonly void Invoke(int index) =>
            Rows[index].Draw(index < FromLogits ? new ReadOnlySpan<float>(Logits + (long)index * Vocabulary, Vocabulary)
                : Rows[index].Prompt.Logits);
    }

    /// <summary>Most tokens of an answer.</summary>
    // the last token is drawn, but never read
    private int Room(int prompt, SamplingOptions options) => (int)Math.Min(options.MaxNewTokens, (long)Limit - prompt + 1);

    private int Limit => model.Config.Positions == PositionKind.Learned ? model.Config.MaxPositions : int.MaxValue;

    private void Check(int index, int[] prompt)
    {
        if (prompt.Length == 0)
            throw new InputException($"prompt {index + 1} has no token", fix: "write a prompt, or use a tokenizer with a begin token");
        if (prompt.Length > Limit)
            throw new InputException($"prompt {index + 1} has {prompt.Length} tokens, but the model has {Limit} learned positions",
                fix: "shorten the prompt");
        foreach (var token in prompt)
            if ((uint)token >= (uint)model.Config.VocabularySize)
                throw new InputException($"prompt {index + 1} has the token id {token}, but the model's vocabulary "
                    + $"has {model.Config.VocabularySize} entries", fix: "use the model's own tokenizer");
    }
}
