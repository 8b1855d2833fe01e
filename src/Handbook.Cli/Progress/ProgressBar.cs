using System.Globalization;
using Handbook.Base;
using Handbook.Base.Progress;

namespace Handbook.Cli.Progress;

/// <summary>Progress of anything that is counted: tokenising, loading, evaluating. Any thread may advance it.</summary>
/// <remarks>On a terminal one line that is redrawn, elsewhere a line every few seconds; what takes less than a second
/// leaves no line behind.</remarks>
internal sealed class ProgressBar : IWorkCount
{
    private static readonly TimeSpan Redraw = TimeSpan.FromMilliseconds(120);
    private static readonly TimeSpan PlainInterval = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan WorthALine = TimeSpan.FromSeconds(1);

    private readonly LiveLine _line;
    private readonly TimeProvider _clock;
    private readonly string _what;
    private readonly string _unit;
    private readonly long? _total;
    private readonly long _started;
    private long _done;
    private long _nextDraw;
    private bool _disposed;

    /// <param name="what">What happens, e.g. <c>tokenising</c>.</param>
    /// <param name="total">How many there are; null where it is not known.</param>
    /// <param name="unit">What is counted, e.g. <c>rows</c>.</param>
    /// <param name="line">The line to draw on; null for a new one on stderr.</param>
    /// <param name="clock">The time; null for the system's.</param>
    public ProgressBar(string what, long? total, string unit, LiveLine? line = null, TimeProvider? clock = null)
    {
        (_what, _total, _unit) = (what, total, unit);
        _line = line ?? new LiveLine();
        _clock = clock ?? TimeProvider.System;
        _started = _clock.GetTimestamp();
        _nextDraw = After(_line.IsTerminal ? TimeSpan.Zero : PlainInterval);
    }

    public long Done => Interlocked.Read(ref _done);

    public void Advance(long count = 1)
    {
        Interlocked.Add(ref _done, count);
        Pulse.Beat();
        Show();
    }

    /// <summary>Sets how many are done.</summary>
    public void Report(long done)
    {
        Interlocked.Exchange(ref _done, done);
        Pulse.Beat();
        Show();
    }

    /// <summary>Takes the line away, and leaves a summary of what took longer than a second.</summary>
    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _line.Clear();
        var elapsed = _clock.GetElapsedTime(_started);
        if (elapsed >= WorthALine)
            _line.Print($"{_what}: {Done:N0} {_unit} in {Size.Of(elapsed)}{Rate(elapsed)}");
    }

    private void Show()
    {
        // One thread draws; the others go on with their work.
        var due = Interlocked.Read(ref _nextDraw);
        if (_clock.GetTimestamp() < due
            || Interlocked.CompareExchange(ref _nextDraw, After(_line.IsTerminal ? Redraw : PlainInterval), due) != due)
            return;
        var elapsed = _clock.GetElapsedTime(_started);
        var count = _total is { } total ? $"{Done:N0}/{total:N0} {_unit}" : $"{Done:N0} {_unit}";
        var left = Left(elapsed);
        if (_line.IsTerminal)
            _line.Draw(Terminal(count, elapsed, left));
        else
            _line.Print($"{_what}: {count}{Rate(elapsed)}{left}");
    }

    private string Terminal(string count, TimeSpan elapsed, string left)
    {
        var text = $"{_what}  {count}{Rate(elapsed)}{left}";
        if (_total is not > 0)
            return text.Length <= _line.Width ? text : text[.._line.Width];
        var share = (double)Done / _total.Value;
        var percent = (share * 100).ToString("0", CultureInfo.InvariantCulture).PadLeft(3) + "%";
        var room = Math.Min(30, _line.Width - text.Length - percent.Length - 4);
        return room < 8 ? (text.Length <= _line.Width ? text : text[.._line.Width])
            : $"{_what}  {_line.Bar(share, room)} {percent}  {count}{_line.Faint(Rate(elapsed) + left)}";
    }

    private string Rate(TimeSpan elapsed) => elapsed.TotalSeconds < 0.2 ? "" : $", {Done / elapsed.TotalSeconds:N0} {_unit}/s";

    private string Left(TimeSpan elapsed) =>
        _total is { } total && Done > 0 && elapsed.TotalSeconds > 0.5
            ? $", {Size.Of(elapsed * ((double)Math.Max(0, total - Done) / Done))} left" : "";

    private long After(TimeSpan time) => _clock.GetTimestamp() + (long)(time.TotalSeconds * _clock.TimestampFrequency);
}
