using Handbook.Base;

namespace Handbook.Text.Templates;

/// <summary>Who refused: the template's author, the template language, Python's rules, or the caller's options.</summary>
public enum TemplateErrorKind
{
    /// <summary>The template does not parse.</summary>
    Syntax,

    /// <summary>The template called <c>raise_exception</c>; the detail is its text.</summary>
    RaiseException,

    /// <summary>An undefined value was used, or the sandbox refused.</summary>
    Template,

    /// <summary>What would be a Python error in the original: a wrong type, a division by zero, a missing argument.</summary>
    Python,

    /// <summary>The options do not fit the conversation, e.g. a final message to continue that the template does not print.</summary>
    Value,

    /// <summary>The template asked for more work, text or nesting than a chat template can need.</summary>
    Limit,
}

/// <summary>A template that does not parse or cannot render this conversation; says where in the template.</summary>
public sealed class TemplateException : InputException
{
    internal TemplateException(TemplateErrorKind kind, string detail, string template, SourcePosition? position,
        string? fix = null, Exception? inner = null)
        : base(Describe(detail, template, position), Reason(kind), fix ?? Advice(kind), inner)
    {
        Kind = kind;
        Detail = detail;
        Template = template;
        Line = position?.Line ?? 0;
        Column = position?.Column ?? 0;
    }

    /// <summary>What went wrong, for code that treats some kinds of errors otherwise than others.</summary>
    public TemplateErrorKind Kind { get; }

    /// <summary>The problem alone, without the place; for <see cref="TemplateErrorKind.RaiseException"/> the
    /// template's own words.</summary>
    public string Detail { get; }

    /// <summary>The key that the template asked an object for, which does not have it; null where something else is wrong.</summary>
    internal string? MissingKey { get; init; }

    /// <summary>The template's name: a file, or where its text came from.</summary>
    public string Template { get; }

    /// <summary>Line in the template, from 1; 0 where the problem has no place in it.</summary>
    public int Line { get; }

    /// <summary>Column in code points, from 1; 0 where the problem has no place in it.</summary>
    public int Column { get; }

    private static string Describe(string detail, string template, SourcePosition? position)
    {
        if (position is not { } at)
            return $"{template}: {detail}";
        var number = at.Line.ToString();
        return $"{template}:{at.Line}:{at.Column}: {detail}\n  {number} | {at.Excerpt}\n  {new string(' ', number.Length)} "
            + $"| {new string(' ', at.ExcerptColumn)}^";
    }

    private static string? Reason(TemplateErrorKind kind) => kind switch
    {
        TemplateErrorKind.RaiseException => "the template itself refused this conversation with raise_exception",
        TemplateErrorKind.Limit => "templates come with downloaded models, so their work is bounded",
        _ => null,
    };

    private static string? Advice(TemplateErrorKind kind) => kind switch
    {
        TemplateErrorKind.Syntax => "correct the template, then check it with: handbook template check FILE",
        TemplateErrorKind.RaiseException => "change the messages to what the template asks for, or set another chat_template",
        TemplateErrorKind.Limit => "look for a loop that multiplies its own output, or set another chat_template",
        _ => null,
    };
}

/// <summary>A place in a template's source, with the line it stands on.</summary>
internal readonly record struct SourcePosition(int Line, int Column, string Excerpt, int ExcerptColumn)
{
    private const int MaximumExcerpt = 100;

    /// <param name="source">Template source with line feeds only.</param>
    /// <param name="offset">Index of the place in UTF-16 units.</param>
    public static SourcePosition Find(string source, int offset)
    {
        offset = Math.Clamp(offset, 0, source.Length);
        var before = source.AsSpan(0, offset);
        var start = before.LastIndexOf('\n') + 1;
        var line = before.Count('\n') + 1;
        var end = source.IndexOf('\n', offset);
        var text = source[start..(end < 0 ? source.Length : end)];
        var inLine = offset - start;
        // Many published templates are one line of thousands of characters: show the part around the place.
        var from = text.Length <= MaximumExcerpt ? 0 : Math.Clamp(inLine - (MaximumExcerpt / 2), 0, text.Length - MaximumExcerpt);
        var excerpt = text.Substring(from, Math.Min(MaximumExcerpt, text.Length - from)).Replace('\t', ' ');
        return new(line, Templates.PyText.Length(text.AsSpan(0, inLine)) + 1, excerpt, inLine - from);
    }
}

/// <summary>A problem met while a template runs, before its place is known; <see cref="ChatTemplate"/> turns it into a
/// <see cref="TemplateException"/>.</summary>
internal sealed class JinjaException(TemplateErrorKind kind, string message) : Exception(message)
{
    public TemplateErrorKind Kind => kind;

    /// <inheritdoc cref="TemplateException.MissingKey"/>
    public string? MissingKey { get; init; }

    public static JinjaException Type(string message) => new(TemplateErrorKind.Python, message);

    public static JinjaException Value(string message) => new(TemplateErrorKind.Python, message);

    public static JinjaException Undefined(string message) => new(TemplateErrorKind.Template, message);

    public static JinjaException Limit(string message) => new(TemplateErrorKind.Limit, message);
}
