using System.Text;
using Handbook.Models.Generation;
using Handbook.Serving;

namespace Handbook.Server;

/// <summary>A whole answer, for clients that do not want it in parts.</summary>
internal sealed class Collected
{
    private readonly StringBuilder _text = new();

    public string Text => _text.ToString();

    public List<DrawnToken> Tokens { get; } = [];

    public List<ToolCall> Calls { get; } = [];

    public string? Finish { get; private set; }

    /// <summary>All answers of a run.</summary>
    public static async Task<Collected[]> Of(AnswerRun run, int count, RequestClock clock, CancellationToken cancel)
    {
        Collected[] answers = [.. Enumerable.Range(0, count).Select(_ => new Collected())];
        await foreach (var piece in run.Pieces(cancel))
        {
            clock.Heard(piece);
            var answer = answers[piece.Choice];
            answer._text.Append(piece.Text);
            answer.Tokens.AddRange(piece.Tokens);
            answer.Calls.AddRange(piece.Calls);
            answer.Finish ??= piece.Finish;
        }
        return answers;
    }
}
