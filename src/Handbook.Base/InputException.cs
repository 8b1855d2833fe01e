namespace Handbook.Base;

/// <summary>Something the user can fix: a wrong file, key, row or value. The command line prints the
/// message alone and exits with 2.</summary>
/// <remarks>
/// A message has three parts: what is wrong and where (file, line, key, tensor or row, with the actual value), why it matters
/// where that is not plain, and what to do next. Anything that is not the user's to fix stays an ordinary
/// exception: exit code 1 with a stack trace.
/// </remarks>
public class InputException : Exception
{
    /// <param name="what">What is wrong and where, e.g. <c>config.json: hidden_size 2048 is not divisible by
    /// num_attention_heads 12</c>.</param>
    /// <param name="why">Why it matters; null where that is plain.</param>
    /// <param name="fix">What to do next, as something that can be typed; null where nothing can be advised.</param>
    public InputException(string what, string? why = null, string? fix = null, Exception? inner = null)
        : base(Compose(what, why, fix), inner)
    {
        What = Brief = what;
        Why = why;
        Fix = fix;
    }

    /// <summary>Something that is named, and lies nowhere on this machine.</summary>
    /// <param name="brief">What is not there, in a sentence.</param>
    /// <param name="places">Where it was looked for, first to last.</param>
    /// <param name="more">What was found out elsewhere, in lines of its own; null for nothing.</param>
    /// <param name="why">Why it matters; null where that is plain.</param>
    /// <param name="fix">What to do next.</param>
    internal static InputException Absent(string brief, IEnumerable<string> places, string? why = null, string? fix = null, string? more = null,
        Exception? inner = null) =>
        new($"{brief}; looked for\n    {string.Join("\n    ", places)}{(more is null ? "" : $"\n{more}")}", why, fix, inner)
        { Brief = brief, IsAbsence = true };

    /// <summary>What is wrong and where, with the actual value.</summary>
    public string What { get; }

    /// <summary>The same without the list of places where something was looked for.</summary>
    public string Brief { get; private init; }

    /// <summary>Whether something that is named lies nowhere on this machine.</summary>
    public bool IsAbsence { get; private init; }

    /// <summary>The key whose value is wrong, by its own name wherever it stands: <c>split</c>, <c>config</c>, <c>reference_column</c>;
    /// null where the message begins with the key, or with what the key names.</summary>
    public string? Key { get; init; }

    /// <summary>Why it matters; null where that is plain.</summary>
    public string? Why { get; }

    /// <summary>What to do next; null where nothing can be advised.</summary>
    public string? Fix { get; }

    private static string Compose(string what, string? why, string? fix) =>
        what + (why is null ? "" : $"\n  why: {why}") + (fix is null ? "" : $"\n  fix: {fix}");
}
