using System.Globalization;
using System.Text;

namespace Handbook.Text.Tokenizers.Decoders;

/// <summary>Joins all tokens.</summary>
internal sealed class FuseDecoder : TokenDecoder
{
    public override List<string> Apply(List<string> tokens) => [string.Concat(tokens)];

    public override DecoderKind Kind => DecoderKind.Fuse;
}

/// <summary>Replaces every match of a pattern in each token.</summary>
internal sealed class ReplaceDecoder(IMatcher pattern, string content) : TokenDecoder
{
    public override List<string> Apply(List<string> tokens) => tokens.ConvertAll(Replace);

    private string Replace(string token)
    {
        var points = CodePoints.Of(token);
        var ranges = new List<(int Start, int End, bool Match)>();
        pattern.FindAll(points, ranges);
        if (!ranges.Exists(range => range.Match))
            return token;
        var text = new StringBuilder();
        foreach (var (start, end, match) in ranges)
            text.Append(match ? content : CodePoints.ToText(points.AsSpan(start, end - start)));
        return text.ToString();
    }
}

/// <summary>Removes a character up to so many times at the ends of each token.</summary>
internal sealed class StripDecoder(int content, int start, int stop) : TokenDecoder
{
    private readonly string _content = new Rune(content).ToString();

    public override List<string> Apply(List<string> tokens) => tokens.ConvertAll(Strip);

    private string Strip(string token)
    {
        var text = token.AsSpan();
        var (front, back) = (0, 0);
        for (; front < start && text.StartsWith(_content, StringComparison.Ordinal); front++)
            text = text[_content.Length..];
        // What the front has taken is not there for the back, but counts as text that the back has walked over.
        for (var rest = token.AsSpan(); back < stop && rest.EndsWith(_content, StringComparison.Ordinal); back++)
            rest = rest[..^_content.Length];
        var kept = token.Length - (front + back) * _content.Length;
        return front + back == 0 ? token : kept <= 0 ? "" : token.Substring(front * _content.Length, kept);
    }
}

/// <summary>Turns runs of byte tokens <c>&lt;0xE2&gt;</c> back into text; a run that is not UTF-8 gives one U+FFFD a byte.</summary>
internal sealed class ByteFallbackDecoder : TokenDecoder
{
    private static readonly UTF8Encoding Strict = new(false, throwOnInvalidBytes: true);

    public override List<string> Apply(List<string> tokens)
    {
        var result = new List<string>(tokens.Count);
        var bytes = new List<byte>();
        foreach (var token in tokens)
        {
            if (ByteOf(token) is { } value)
            {
                bytes.Add(value);
                continue;
            }
            Flush();
            result.Add(token);
        }
        Flush();
        return result;

        void Flush()
        {
            if (bytes.Count == 0)
                return;
            try
            {
                result.Add(Strict.GetString([.. bytes]));
            }
            catch (DecoderFallbackException)
            {
                result.AddRange(Enumerable.Repeat("\uFFFD", bytes.Count));
            }
            bytes.Clear();
        }
    }

    public override DecoderKind Kind => DecoderKind.Fallback;

    /// <summary>The byte that a token stands for; null for none.</summary>
    public static byte? ByteOf(string token) =>
        token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
            && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, null, out var value) ? value : null;
}

/// <summary>▁ back to spaces; the one that was put in front of the text disappears.</summary>
internal sealed class MetaspaceDecoder(int replacement, bool dropsFirst) : TokenDecoder
{
    private readonly string _replacement = new Rune(replacement).ToString();

    public override List<string> Apply(List<string> tokens) =>
        [.. tokens.Select((token, index) => token.Replace(_replacement, index == 0 && dropsFirst ? "" : " ", StringComparison.Ordinal))];
}

/// <summary>An end-of-word suffix becomes a space, and nothing at the very end.</summary>
internal sealed class BpeDecoder(string suffix) : TokenDecoder
{
    public override List<string> Apply(List<string> tokens) =>
        [.. tokens.Select((token, index) => Replaced(token, index == tokens.Count - 1 ? "" : " "))];

    // An empty suffix stands around every character.
    private string Replaced(string token, string space) => suffix.Length > 0 ? token.Replace(suffix, space, StringComparison.Ordinal)
        : string.Concat(token.EnumerateRunes().Select(rune => space + rune)) + space;
}

/// <summary>Joins continuations to their words, and puts spaces between words.</summary>
internal sealed class WordPieceDecoder(string prefix, bool cleanUp) : TokenDecoder
{
    public override List<string> Apply(List<string> tokens) => [.. tokens.Select((token, index) =>
    {
        var text = index == 0 ? token : token.StartsWith(prefix, StringComparison.Ordinal) ? token[prefix.Length..] : " " + token;
        return cleanUp ? CleanUp(text) : text;
    })];

    /// <summary>Takes out the spaces that word pieces leave before punctuation and contractions.</summary>
    public static string CleanUp(string text) =>
        text.Replace(" .", ".", StringComparison.Ordinal).Replace(" ?", "?", StringComparison.Ordinal)
        .Replace(" !", "!", StringComparison.Ordinal).Replace(" ,", ",", StringComparison.Ordinal)
            .Replace(" ' ", "'", StringComparison.Ordinal)
        .Replace(" n't", "n't", StringComparison.Ordinal).Replace(" 'm", "'m", StringComparison.Ordinal)
            .Replace(" do not", " don't", StringComparison.Ordinal)
        .Replace(" 's", "'s", StringComparison.Ordinal).Replace(" 've", "'ve", StringComparison.Ordinal)
            .Replace(" 're", "'re", StringComparison.Ordinal);
}

/// <summary>Output of speech models: repeated tokens count once, padding disappears.</summary>
internal sealed class CtcDecoder(string padToken, string wordDelimiter, bool cleanUp) : TokenDecoder
{
    public override DecoderKind Kind => DecoderKind.Neighbours;

    public override List<string> Apply(List<string> tokens)
    {
        var result = new List<string>(tokens.Count);
        string? previous = null;
        foreach (var token in tokens)
        {
            if (token == previous)
                continue;
            previous = token;
            var text = padToken.Length == 0 ? token : token.Replace(padToken, "", StringComparison.Ordinal);
            if (cleanUp)
            {
                text = WordPieceDecoder.CleanUp(text);
                text = wordDelimiter.Length == 0 ? text : text.Replace(wordDelimiter, " ", StringComparison.Ordinal);
            }
            if (text.Length > 0)
                result.Add(text);
        }
        return result;
    }
}
