namespace Handbook.Text.Templates;

/// <summary>One run of a template: its output so far, the spans of its generation blocks, and where in the source it is.</summary>
/// <param name="now">What <c>strftime_now</c> calls now.</param>
/// <param name="marksBlocks">Puts <see cref="BlockStart"/> and <see cref="BlockEnd"/> around the text of generation blocks, which shows
/// their places wherever the text goes.</param>
internal sealed class Render(DateTime now, bool marksBlocks = false)
{
    /// <summary>Letters for private use that stand for a generation block's borders.</summary>
    public const char BlockStart = '\uF8FE', BlockEnd = '\uF8FF';

    private readonly List<(int Start, int End)> _spans = [];
    private readonly OutputBuffer _root = new();
    private OutputBuffer? _out;
    private OutputBuffer? _spare;
    private Random? _random;
    private bool _yielded;
    private int _counted;
    private int _codePoints;

    public DateTime Now => now;

    /// <summary>Seeded, so that one conversation renders the same each time.</summary>
    public Random Random => _random ??= new Random(17);

    public bool AutoEscape { get; set; }

    /// <summary>Offset in the template's source of what is being evaluated, for messages.</summary>
    public int At { get; set; }

    public IReadOnlyList<(int Start, int End)> Spans => _spans;

    /// <summary>Whether a generation block stood where the reference's rule misplaces or drops its span.</summary>
    public bool HasMisplacedSpans { get; private set; }

    /// <summary>Writes the text of a generation block and records its span.</summary>
    public void WriteBlock(string text)
    {
        AddSpan(text);
        Write(marksBlocks ? $"{BlockStart}{text}{BlockEnd}" : text);
    }

    public void Write(string text)
    {
        if (_out is null)
            _yielded = true;
        (_out ?? _root).Append(text);
    }

    public void Print(object? value) => Write(AutoEscape ? Markup.EscapeValue(value) : PyRepr.Str(value));

    /// <summary>Redirects output until <see cref="EndBuffer"/>; returns the output to go back to.</summary>
    public OutputBuffer? BeginBuffer()
    {
        var outer = _out;
        _out = _spare ?? new OutputBuffer();
        _spare = null;
        _out.Clear();
        return outer;
    }

    public string EndBuffer(OutputBuffer? outer)
    {
        var inner = _out!;
        _out = outer;
        _spare = inner;
        return inner.ToString();
    }

    /// <summary>Records the span of a generation block whose text is about to be written; in code points.</summary>
    /// <remarks>
    /// The reference takes as start the length of all that the template has given out: text in a macro or set block counts only when that
    /// is finished, and before anything was given out, even an empty text, it records nothing.
    /// </remarks>
    private void AddSpan(string text)
    {
        HasMisplacedSpans |= _out is not null || !_yielded;
        if (!_yielded && _spans.Count == 0)
            return;
        _codePoints += PyText.Length(_root.Text[_counted..]);
        _counted = _root.Text.Length;
        _spans.Add((_codePoints, _codePoints + PyText.Length(text)));
    }

    public string Finish() => _root.ToString();
}

/// <summary>A growing text.</summary>
internal sealed class OutputBuffer
{
    private char[] _letters = new char[256];
    private int _length;

    public ReadOnlySpan<char> Text => _letters.AsSpan(0, _length);

    public void Append(string text)
    {
        if (_length + text.Length > _letters.Length)
        {
            Budget.CheckLength(_length + (long)text.Length);
            Array.Resize(ref _letters, Math.Max(_length + text.Length, _letters.Length * 2));
        }
        text.CopyTo(_letters.AsSpan(_length));
        _length += text.Length;
    }

    public void Clear() => _length = 0;

    public override string ToString() => new(Text);
}
