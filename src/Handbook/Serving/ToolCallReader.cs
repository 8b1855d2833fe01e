namespace Handbook.Serving;

/// <summary>Tells calls of tools from text while an answer grows. What begins like a call is held back until it is one, or is not; what
/// turns out to be none is text.</summary>
/// <param name="several">Whether more than one call is taken.</param>
internal sealed class ToolCallReader(ToolForm form, bool several)
{
    private string _held = "";
    private bool _isInside, _hasSaid;

    /// <summary>Calls so far.</summary>
    public int Count { get; private set; }

    /// <summary>Whether nothing more is wanted.</summary>
    public bool HasEnough => !several && Count > 0;

    /// <summary>Adds text.</summary>
    /// <returns>Text that is certainly none of a call, and calls that are whole.</returns>
    public (string Text, IReadOnlyList<ToolCall> Calls) Append(string more)
    {
        _held += more;
        var (text, calls) = ("", new List<ToolCall>());
        while (true)
        {
            if (!_isInside)
            {
                var at = form == ToolForm.Llama ? LlamaStart() : _held.IndexOf(form.Begin, StringComparison.Ordinal);
                if (at < 0)
                {
                    var certain = _held.Length - Begun();
                    text += _held[..certain];
                    _held = _held[certain..];
                    break;
                }
                text += _held[..at].TrimEnd();
                _held = _held[at..];
                _isInside = true;
            }
            var end = form.End is null ? -1 : _held.IndexOf(form.End, StringComparison.Ordinal);
            if (end < 0)
                break;
            Take(_held[form.Begin.Length..end], _held[..(end + form.End!.Length)], ref text, calls);
            _held = _held[(end + form.End.Length)..];
            _isInside = false;
        }
        _hasSaid |= text.Length > 0;
        return (text, calls);
    }

    /// <summary>Ends the answer.</summary>
    /// <returns>What is left of it.</returns>
    public (string Text, IReadOnlyList<ToolCall> Calls) Finish(string more)
    {
        var (text, calls) = Append(more);
        var all = new List<ToolCall>(calls);
        if (_isInside)
            Take(form == ToolForm.Llama ? _held : _held[form.Begin.Length..], _held, ref text, all);
        else if (!HasEnough && (Count == 0 || _held.Trim().Length > 0))
            text += _held;              // white space behind a call is nobody's
        _held = "";
        return (text, all);
    }

    private void Take(string inside, string whole, ref string text, List<ToolCall> calls)
    {
        var found = form.Parse(inside);
        if (found.Count == 0)
            text += whole;
        foreach (var call in several ? found : found.Take(Count == 0 ? 1 : 0))
        {
            calls.Add(call);
            Count++;
        }
    }

    /// <summary>Where a call begins in Llama's form, which is the whole answer; -1 for nowhere.</summary>
    private int LlamaStart()
    {
        var start = _held.TrimStart(ToolForm.Space);
        return !_hasSaid && (start.StartsWith('{') || start.StartsWith(ToolForm.PythonTag, StringComparison.Ordinal))
            ? _held.Length - start.Length : -1;
    }

    /// <summary>Letters at the end with which a call may begin, with white space before it.</summary>
    private int Begun()
    {
        if (form == ToolForm.Llama)
            return !_hasSaid && ToolForm.PythonTag.StartsWith(_held.TrimStart(ToolForm.Space), StringComparison.Ordinal) ? _held.Length : 0;
        var mark = 0;
        for (var length = Math.Min(form.Begin.Length - 1, _held.Length); length > 0 && mark == 0; length--)
            if (_held.EndsWith(form.Begin[..length], StringComparison.Ordinal))
                mark = length;
        return _held.Length - _held[..^mark].TrimEnd().Length;
    }
}
