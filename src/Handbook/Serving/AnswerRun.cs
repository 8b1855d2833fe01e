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

    /// <summary>What may come; null for anything.</summary>
    public Func<ITokenConstraint>? Constraint { get; init; }

    /// <summary>How calls of tools are read; null reads none.</summary>
    public ToolForm? Tools { get; init; }

    /// <summary>Whether an answer may call several tools.</summary>
    public bool SeveralCalls { get; init; } = true;

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
/// <param name="Calls">Calls of tools that are whole now.</param>
/// <param name="Tokens">The tokens since the last part, where they are told.</param>
/// <param name="Finish">Why the answer ended with this part; null while it goes on.</param>
internal sealed record AnswerPiece(int Choice, string Text, IReadOnlyList<ToolCall> Calls, IReadOnlyList<DrawnToken> Tokens,
    string? Finish);

/// <summary>The answers to one prompt while they are made.</summary>
internal sealed class AnswerRun
{
    private readonly Channel<AnswerPiece> _pieces =
        Channel.CreateUnbounded<AnswerPiece>(new() { SingleReader = true, SingleWriter = true });
    private readonly AnswerSettings _settings;
    private readonly AnswerText[] _texts;
    private readonly ToolCallReader?[] _calls;
    private readonly List<DrawnToken>[] _tokens;
    private int _said;

    private AnswerRun(ServedModel model, int[] prompt, AnswerSettings settings)
    {
        (_settings, PromptTokens) = (settings, prompt.Length);
        _texts = [.. Enumerable.Range(0, settings.Count).Select(_ => new AnswerText(model.Tokenizer, settings.Stops,
            settings.Continues ? prompt : [], showsSpecial: settings.Tools?.HasSpecialMarker == true))];
        _calls = [.. Enumerable.Range(0, settings.Count).Select(_ => settings.Tools is { } form
            ? new ToolCallReader(form, settings.SeveralCalls) : null)];
        _tokens = [.. Enumerable.Range(0, settings.Count).Select(_ => new List<DrawnToken>())];
    }

    public int PromptTokens { get; }

    /// <summary>Tokens of all answers so far, without end tokens.</summary>
    public int AnswerTokens => Volatile.Read(ref _said);

    /// <summary>Asks the engine.</summary>
    /// <param name="cancel">Ends the answers, such as when the client has left.</param>
    /// <inheritdoc cref="AnswerEngine.Submit" path="/exception"/>
    public static AnswerRun Start(AnswerEngine engine, ServedModel model, int[] prompt, AnswerSettings settings,
        CancellationToken cancel)
    {
        var run = new AnswerRun(model, prompt, settings);
        engine.Submit(new()
        {
            Model = model.Network,
            Tokens = prompt,
            Sampling = settings.Sampling,
            Count = settings.Count,
            Constraint = settings.Constraint,
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
        var (text, calls) = (_texts[choice], _calls[choice]);
        var more = text.Append(token.Token);
        var (said, called) = calls?.Append(more) ?? (more, []);
        if (said.Length > 0 || called.Count > 0)
            Tell(choice, said, called, null);
        return !text.Stopped && calls?.HasEnough != true;
    }

    private void Finished(int choice, Answer answer)
    {
        var rest = _texts[choice].Finish();
        var (said, called) = _calls[choice]?.Finish(rest) ?? (rest, []);
        Tell(choice, said, called, _calls[choice]?.Count > 0 ? Finish.ToolCalls
            : answer.Finish == FinishReason.Stop ? Finish.Stop : Finish.Length);
    }

    private void Tell(int choice, string text, IReadOnlyList<ToolCall> calls, string? finish)
    {
        DrawnToken[] tokens = [.. _tokens[choice]];
        _tokens[choice].Clear();
        _pieces.Writer.TryWrite(new(choice, text, calls, tokens, finish));
    }
}
