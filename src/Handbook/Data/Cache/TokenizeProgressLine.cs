using System.Diagnostics;

namespace Handbook.Data;

/// <summary>Shows how far tokenising is: a bar that is written over on a terminal, otherwise one line when a data set is done.</summary>
/// <param name="output">Usually stderr.</param>
/// <param name="isTerminal">Whether lines can be written over.</param>
public sealed class TokenizeProgressLine(TextWriter output, bool isTerminal) : IProgress<TokenizeProgress>
{
    private const int Width = 24;

    private readonly long _start = Stopwatch.GetTimestamp();
    private long _last;

    /// <summary>On stderr.</summary>
    public static TokenizeProgressLine OnError() => new(Console.Error, !Console.IsErrorRedirected);

    public void Report(TokenizeProgress value)
    {
        if (value.Done)
        {
            output.WriteLine($"{(isTerminal ? "\r\u001b[K" : "")}tokenised {value.Name}: {value.Rows:N0} rows, {value.Tokens:N0} tokens in {Stopwatch.GetElapsedTime(_start).TotalSeconds:N1} s");
            return;
        }
        if (!isTerminal || Stopwatch.GetElapsedTime(_last).TotalMilliseconds < 100)
            return;
        _last = Stopwatch.GetTimestamp();
        var filled = (int)(value.Share * Width);
        output.Write($"\rtokenising {value.Name} {new string('█', filled)}{new string('░', Width - filled)} {value.Share,4:P0} {value.Rows:N0} rows, {value.Tokens:N0} tokens\u001b[K");
    }
}
