using Handbook.Text.Tokenizers;

namespace Handbook.Models.Generation;

/// <summary>The text of an answer while it grows: whole characters only, and nothing of a stop text.</summary>
internal sealed class AnswerText
{
    /// <summary>Enough tokens of a prompt for a decoder to know what stands before the answer.</summary>
    private const int Context = 16;

    private readonly StreamDecoder _decoder;
    private readonly IReadOnlyList<string> _stops;
    private readonly System.Text.StringBuilder _text = new();
    private string _held = "";

    /// <param name="tokenizer">The model's.</param>
    /// <param name="stops">Texts that end an answer and are not part of it.</param>
    /// <param name="continues">The tokens that the answer continues, so that a space between is kept; empty where
    /// it is a turn of its own.</param>
    /// <param name="showsSpecial">Whether special tokens are part of the text.</param>
    public AnswerText(Tokenizer tokenizer, IReadOnlyList<string> stops, ReadOnlySpan<int> continues = default, bool showsSpecial = false)
    {
        (_decoder, _stops) = (tokenizer.CreateStreamDecoder(skipSpecialTokens: !showsSpecial), stops);
        foreach (var id in continues.Length > Context ? continues[^Context..] : continues)
            _decoder.Append(id);
        if (continues.Length > 0)
            _decoder.Flush();
    }

    /// <summary>Whether a stop text came.</summary>
    public bool Stopped { get; private set; }

    /// <summary>Everything that was handed out.</summary>
    public string Text => _text.ToString();

    /// <summary>Adds a token.</summary>
    /// <returns>The text that is now certain.</returns>
    public string Append(int id) => Add(_decoder.Append(id), last: false);

    /// <summary>Ends the answer.</summary>
    /// <returns>The rest of its text.</returns>
    public string Finish() => Add(_decoder.Flush(), last: true);

    private string Add(string more, bool last)
    {
        if (Stopped)
            return "";
        var text = _held + more;
        var end = text.Length;
        foreach (var stop in _stops)
            if (text.IndexOf(stop, StringComparison.Ordinal) is >= 0 and var at && at < end)
                (end, Stopped) = (at, true);
        if (!Stopped && !last)
            end -= Begun(text);
        _held = text[end..];
        _text.Append(text, 0, end);
        return text[..end];
    }

    /// <summary>Length of the longest end of a text with which a stop text begins.</summary>
    private int Begun(string text)
    {
        var longest = 0;
        foreach (var stop in _stops)
            for (var length = Math.Min(stop.Length - 1, text.Length); length > longest; length--)
                if (text.EndsWith(stop[..length], StringComparison.Ordinal))
                    longest = length;
        return longest;
    }
}
