using System.Text;

namespace Handbook.Base;

/// <summary>How bad a message is; only errors stop the run.</summary>
public enum Severity
{
    /// <summary>Worth knowing; needs no action.</summary>
    Note,
    /// <summary>Probably a mistake.</summary>
    Warning,
    /// <summary>The run cannot start.</summary>
    Error,
}

/// <summary>One message about a recipe: what is wrong and where, why it matters, what to do next.</summary>
/// <param name="At">The place; null when nothing in the recipe caused it, e.g. a missing key.</param>
public sealed record Diagnostic(Severity Severity, SourceSpan? At, string What, string? Why, string? Fix)
{
    internal void Write(StringBuilder text, string file)
    {
        var severity = Severity.ToString().ToLowerInvariant();
        text.Append(At switch
        {
            null => file,
            { Source: null } => "command line",
            { } at => $"{at.Source}:{at.Line}:{at.Column}",
        }).Append($": {severity}: {What}").Append('\n');
        if (At is { } span && Severity != Severity.Note)
            WriteSource(text, span);
        if (Why is not null)
            text.Append($"  why: {Why}\n");
        if (Fix is not null)
            text.Append($"  fix: {Fix}\n");
    }

    private static void WriteSource(StringBuilder text, SourceSpan span)
    {
        var number = span.Source is null ? "" : span.Line.ToString();
        var line = Secrets.Hide(span.Text.Replace('\t', ' '));
        var caret = Math.Clamp(span.Length, 1, Math.Max(1, line.Length - span.Column + 1));
        text.Append($"{number,5} | {line}\n");
        text.Append($"{"",5} | {new string(' ', span.Column - 1)}{new string('^', caret)}\n");
    }
}

/// <summary>Collects every problem of a recipe, so that one attempt shows them all.</summary>
public sealed class Diagnostics
{
    private readonly List<Diagnostic> _all = [];
    private readonly HashSet<string> _answered = [];
    private readonly HashSet<string> _outOfRange = [];
    private readonly Func<string, (string Name, SourceSpan? At)> _locate;

    /// <param name="file">The recipe's path as the user wrote it.</param>
    /// <param name="locate">Finds a key (dotted below maps) in what the user wrote: the spelling there, and the place of its value.</param>
    internal Diagnostics(string file, Func<string, (string Name, SourceSpan? At)>? locate = null)
    {
        File = file;
        _locate = locate ?? (key => (key, null));
    }

    /// <summary>The recipe's path as the user wrote it.</summary>
    public string File { get; }

    /// <summary>Every message: notes, warnings, errors, each kind in the order of the file, those without a place last.</summary>
    public IReadOnlyList<Diagnostic> All =>
        [.. _all.OrderBy(d => d.Severity).ThenBy(d => d.At is null).ThenBy(d => d.At?.Source is null).ThenBy(d => d.At?.Line)
        .ThenBy(d => d.At?.Source is null ? 0 : d.At?.Column)];

    /// <summary>The messages that stop the run, in the order of the file.</summary>
    public IReadOnlyList<Diagnostic> Errors => [.. All.Where(d => d.Severity == Severity.Error)];

    /// <summary>Whether anything stops the run.</summary>
    public bool HasErrors => _all.Exists(d => d.Severity == Severity.Error);

    /// <summary>A problem of a key's value; the sentence begins with the key.</summary>
    public void Error(string key, string what, string? why = null, string? fix = null)
    {
        if (_answered.Contains(key) || _answered.Contains(key.Split('.')[0]))
            return;
        var (name, at) = _locate(key);
        Add(Severity.Error, at, $"{name} {what}", why, fix);
    }

    /// <summary>A key's value lies outside its bounds.</summary>
    /// <param name="key">The key, dotted below maps.</param>
    /// <param name="value">Its value.</param>
    /// <param name="bounds">What it must be; the words after <c>but</c>.</param>
    internal void OutOfRange(string key, object? value, string bounds, string? why = null, string? fix = null)
    {
        _outOfRange.Add(key);
        Error(key, $"is {value}, but {bounds}", why, fix);
    }

    /// <summary>Whether the key's value lies outside its bounds.</summary>
    internal bool IsOutOfRange(string key) => _outOfRange.Contains(key);

    /// <summary>A problem of what a key names, such as a file: shown where the key stands, in words of its own.</summary>
    internal void Found(string key, string what, string? why = null, string? fix = null) => Add(Severity.Error, _locate(key).At, what, why, fix);

    /// <summary>The key has its error; what would follow from it is not told.</summary>
    internal void Answered(string key) => _answered.Add(key);

    /// <summary>Whether the key has its error already.</summary>
    internal bool IsAnswered(string key) => _answered.Contains(key);

    /// <summary>Something that is probably a mistake, but does not stop the run.</summary>
    public void Warning(string key, string what, string? why = null, string? fix = null)
    {
        var (name, at) = _locate(key);
        Add(Severity.Warning, at, $"{name} {what}", why, fix);
    }

    internal void Note(SourceSpan? at, string what) => Add(Severity.Note, at, what, null, null);

    internal void ErrorAt(SourceSpan? at, string what, string? why = null, string? fix = null) => Add(Severity.Error, at, what, why, fix);

    private void Add(Severity severity, SourceSpan? at, string what, string? why, string? fix)
    {
        var diagnostic = new Diagnostic(severity, at, what, why, fix);
        if (!_all.Contains(diagnostic))
            _all.Add(diagnostic);
    }

    /// <summary>Every message, errors last.</summary>
    public string Messages() => Written(All);

    /// <summary>What stops the run and how many problems that is, without notes and warnings: these have been shown.</summary>
    internal string Problems() => Written(Errors) + Summary(Errors.Count);

    private string Written(IEnumerable<Diagnostic> messages)
    {
        var text = new StringBuilder();
        foreach (var diagnostic in messages)
            diagnostic.Write(text, File);
        return text.ToString();
    }

    /// <summary>The line at the end; empty where there is no problem.</summary>
    public static string Summary(int problems) => problems switch
    {
        0 => "",
        1 => "1 problem found; nothing was started.\n",
        _ => $"{problems} problems found; nothing was started.\n",
    };

    /// <summary>Every message and the count of problems: what the terminal shows.</summary>
    public override string ToString() => Messages() + Summary(Errors.Count);
}
