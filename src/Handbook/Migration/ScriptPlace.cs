using Handbook.Base;

namespace Handbook.Migration;

/// <summary>Where a word of a script stands.</summary>
internal static class ScriptPlace
{
    /// <summary>A place in a file; null where the file has no such line.</summary>
    /// <param name="span">The word, as <see cref="CommandWords"/> gives it; without a column the whole line is meant.</param>
    /// <param name="otherwise">The line that is meant where the word names none.</param>
    public static SourceSpan? Of(string file, SourceSpan span, int otherwise)
    {
        var (number, hasColumn) = span.Line > 0 ? (span.Line, span.Length > 0) : (otherwise, false);
        if (!File.Exists(file) || File.ReadLines(file).Skip(number - 1).FirstOrDefault() is not { } text || number < 1)
            return null;
        return hasColumn && span.Column <= text.Length
            ? new(file, number, span.Column, Math.Min(span.Length, text.Length - span.Column + 1), text)
            : new(file, number, text.Length - text.TrimStart().Length + 1, text.Trim().Length, text);
    }
}
