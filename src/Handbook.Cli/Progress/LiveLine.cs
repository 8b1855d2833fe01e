namespace Handbook.Cli.Progress;

/// <summary>One line at the bottom of the terminal that is drawn again and again; finished lines go above it. Without a
/// terminal only those.</summary>
internal sealed class LiveLine
{
    private readonly TextWriter _writer;
    private readonly Func<int> _width;
    private readonly Lock _lock = new();
    private string _shown = "";

    /// <param name="writer">Where to write; null for stderr.</param>
    /// <param name="terminal">Whether that is a terminal; null asks.</param>
    /// <param name="width">Columns of the terminal; null asks.</param>
    public LiveLine(TextWriter? writer = null, bool? terminal = null, Func<int>? width = null)
    {
        _writer = writer ?? Console.Error;
        IsTerminal = terminal
            ?? (writer is null && !Console.IsErrorRedirected && Environment.GetEnvironmentVariable("TERM") is not ("dumb" or ""));
        Colors = IsTerminal && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        _width = width ?? TerminalWidth;
    }

    public bool IsTerminal { get; }

    /// <summary>False without a terminal, or where <c>NO_COLOR</c> is set.</summary>
    public bool Colors { get; }

    /// <summary>Columns that a line may fill.</summary>
    public int Width => Math.Max(20, _width() - 1);     // the last column would make some terminals wrap

    /// <summary>Draws the line anew; nothing without a terminal.</summary>
    public void Draw(string text)
    {
        if (!IsTerminal)
            return;
        lock (_lock)
        {
            if (text == _shown)
                return;
            _writer.Write($"\r{text}\e[K");
            _writer.Flush();
            _shown = text;
        }
    }

    /// <summary>Prints a line that stays, above the live one.</summary>
    public void Print(string text)
    {
        lock (_lock)
        {
            if (_shown.Length > 0)
                _writer.Write("\r\e[K");
            _writer.WriteLine(text);
            if (_shown.Length > 0)
                _writer.Write(_shown);
            _writer.Flush();
        }
    }

    /// <summary>Takes the live line away.</summary>
    public void Clear()
    {
        lock (_lock)
        {
            if (_shown.Length == 0)
                return;
            _writer.Write("\r\e[K");
            _writer.Flush();
            _shown = "";
        }
    }

    public string Faint(string text) => Colors ? $"\e[2m{text}\e[22m" : text;

    public string Strong(string text) => Colors ? $"\e[1m{text}\e[22m" : text;

    /// <summary>A bar of the given width, e.g. <c>━━━━━╸────</c>.</summary>
    public string Bar(double share, int width)
    {
        var filled = Math.Clamp(share, 0, 1) * width;
        var whole = (int)filled;
        var half = whole < width && filled - whole >= 0.5;
        var rest = new string('─', width - whole - (half ? 1 : 0));
        var done = new string('━', whole) + (half ? "╸" : "");
        return Colors ? $"\e[36m{done}\e[39m{Faint(rest)}" : done + rest;
    }

    private static int TerminalWidth()
    {
        try
        {
            return Console.WindowWidth is > 0 and var width ? width : 80;
        }
        catch (Exception error) when (error is IOException or PlatformNotSupportedException)
        {
            return 80;
        }
    }
}
