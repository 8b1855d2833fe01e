using System.Threading.Channels;
using Handbook.Models.Generation;
using Handbook.Models.Serving;

namespace Handbook.Serving;

/// <summary>How the text of an answer is made of its tokens.</summary>
internal sealed record AnswerSettings
{
    /// <summary>How to draw.</summary>
    public required SamplingOptions Sampling { get; init; }

    /// <summary>How many answers.</summary>
    public int Count { get; init; } = 1;

    /// <summary>Texts that end an answer and are not part of it.</summary>
    public IReadOnlyList<string> Stops { get; init; } = [];

    /// <summary>Whether the answer goes on from the prompt's text, so that a space between is kept.</summary>
    public bool Continues { get; init; }

    /// <summary>Whether tokens are told with their log-probabilities.</summary>
    public bool LogProbs { get; init; }
}

/// <summary>Why an answer ended, in the words of the interface.</summary>
internal static class Finish
{
    public const string Stop = "stop", Length = "length", ToolCalls = "tool_calls";
}

/// <summary>A part of an answer.</summary>
/// <param name="Choice">Which of the answers.</param>
/// <param name="Text">Text that is certain; may be empty.</param>
/// <param name="Tokens">The tokens since the last part, where they are told.</param>
/// <param name="Finish">Why the answer ended with this part; null while it goes on.</param>
internal sealed record AnswerPiece(int Choice, string Text, IReadOnlyList<DrawnToken> Tokens, string? Finish);

/// <summary>The answers to one prompt while they are made.</summary>
internal sealed class AnswerRun
{
    private readonly Channel<AnswerPiece> _pieces = Channel.CreateUnbounded<AnswerPiece>(new() { SingleReader = true, SingleWriter = true });
    private readonly AnswerSettings _settings;
    private readonly AnswerText[] _texts;
    private readonly List<DrawnToken>[] _tokens;
    private int _said;

    private AnswerRun(ServedModel model, int[] prompt, AnswerSettings settings)
    {
        (_settings, PromptTokens) = (settings, prompt.Length);
        _texts = [.. Enumerable.Range(0, settings.Count).Select(_ =>
            new AnswerText(model.Tokenizer, settings.Stops, settings.Continues ? prompt : []))];
        _tokens = [.. Enumerable.Range(0, settings.Count).Select(_ => new List<DrawnToken>())];
    }

    public int PromptTokens { get; }

    /// <summary>Tokens of all answers so far, without end tokens.</summary>
    public int AnswerTokens => Volatile.Read(ref _said);

    /// <summary>Asks the engine.</summary>
    /// <param name="cancel">Ends the answers, such as when the client has left.</param>
    /// <inheritdoc cref="AnswerEngine.Submit" path="/exception"/>
    public static AnswerRun Start(AnswerEngine engine, ServedModel model, int[] prompt, AnswerSettings settings, CancellationToken cancel)
    {
        var run = new AnswerRun(model, prompt, settings);
        engine.Submit(new()
        {
            Model = model.Network,
            Tokens = prompt,
            Sampling = settings.Sampling,
            Count = settings.Count,
            OnToken = run.Take,
            OnAnswer = run.Finished,
            OnEnd = failure => run._pieces.Writer.Complete(failure),
            Cancel = cancel,
        });
        return run;
    }

    /// <summary>The parts of all answers as they come; it ends behind the last one, with the exception that ended them.</summary>
    public IAsyncEnumerable<AnswerPiece> Pieces(CancellationToken cancel) => _pieces.Reader.ReadAllAsync(cancel);

    private bool Take(int choice, DrawnToken token)
    {
        Interlocked.Increment(ref _said);
        if (_settings.LogProbs)
            _tokens[choice].Add(token);
        var text = _texts[choice];
        if (text.Append(token.Token) is { Length: > 0 } more)
            Tell(choice, more, null);
        return !text.Stopped;
    }

    private void Finished(int choice, Answer answer) =>
        Tell(choice, _texts[choice].Finish(), answer.Finish == FinishReason.Stop ? Finish.Stop : Finish.Length);

    private void Tell(int choice, string text, string? finish)
    {
        DrawnToken[] tokens = [.. _tokens[choice]];
        _tokens[choice].Clear();
        _pieces.Writer.TryWrite(new(choice, text, tokens, finish));
    }
}
