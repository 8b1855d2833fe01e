using System.Runtime.ExceptionServices;
using Handbook.Base;

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
        using var batch = new RunningBatch(model, _forward, TokensAtOnce);
        var waiting = new Queue<(int Prompt, int Sample)>(requests.SelectMany((request, r) =>
            Enumerable.Range(0, request.Streams.Count).Select(s => (r, s))));
        while (waiting.Count > 0 || batch.Count > 0)
        {
            cancel.ThrowIfCancellationRequested();
            while (batch.Count < options.BatchSize && waiting.TryDequeue(out var next))
                batch.Add(new SampleRow(prompts.Begin(next.Prompt), next.Sample, options,
                    model.Config.AnswerRoom(requests[next.Prompt].Tokens.Length, options.MaxNewTokens),
                    onToken is null ? null : drawn => onToken(next.Prompt, next.Sample, drawn.Token)));
            batch.Step();
            batch.Leave(row =>
            {
                if (row.Failure is { } failure)
                    ExceptionDispatchInfo.Throw(failure);
                answers[row.Prompt.Index][row.Sample] = row.Answer!;
                onDone?.Invoke(row.Prompt.Index, row.Sample, row.Answer!);
            });
        }
        return answers;
    }

    private void Check(int index, int[] prompt)
    {
        if (prompt.Length == 0)
            throw new InputException($"prompt {index + 1} has no token", fix: "write a prompt, or use a tokenizer with a begin token");
        if (prompt.Length > model.Config.GreatestLength)
            throw new InputException($"prompt {index + 1} has {prompt.Length} tokens, but the model has {model.Config.GreatestLength} "
                + "learned positions", fix: "shorten the prompt");
        foreach (var token in prompt)
            if ((uint)token >= (uint)model.Config.VocabularySize)
                throw new InputException($"prompt {index + 1} has the token id {token}, but the model's vocabulary "
                    + $"has {model.Config.VocabularySize} entries", fix: "use the model's own tokenizer");
    }
}
