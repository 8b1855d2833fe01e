using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Models.Adapters;

/// <summary>Which modules of a published network are meant: by the ends of their paths, by a regular expression over the whole path, or all
/// linear ones. PEFT's <c>target_modules</c>.</summary>
internal sealed record ModuleNames
{
    /// <summary>Every linear layer but the head.</summary>
    public const string AllLinearWord = "all-linear";

    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    /// <summary>Ends of paths, e.g. <c>q_proj</c> or <c>mlp.down_proj</c>; empty where <see cref="Pattern"/> says it.</summary>
    public ValueList<string> Names { get; init; } = [];

    /// <summary>A regular expression that the whole path matches; null where <see cref="Names"/> says it.</summary>
    public string? Pattern { get; init; }

    /// <summary>Whether every linear layer but the head is meant.</summary>
    public bool IsAllLinear { get; private init; }

    /// <summary>One word is a regular expression, or <c>all-linear</c>; several are ends of paths.</summary>
    public static ModuleNames Of(string pattern) => pattern == AllLinearWord ? new() { IsAllLinear = true } : new() { Pattern = pattern };

    /// <inheritdoc cref="Of(string)"/>
    public static ModuleNames Of(IEnumerable<string> names)
    {
        string[] all = [.. names];
        return all is [AllLinearWord] ? Of(AllLinearWord) : new() { Names = [.. all] };
    }

    /// <summary>Whether a module's path is meant; of <see cref="IsAllLinear"/> the caller knows which layers are linear.</summary>
    public bool Match(string module) => Pattern is { } pattern
        ? Whole(pattern, module)
        : Names.Any(name => EndsWith(module, name));

    /// <summary>As it was written.</summary>
    public override string ToString() => IsAllLinear ? AllLinearWord : Pattern ?? string.Join(", ", Names);

    /// <summary>Whether a path is a name or ends in it behind a point.</summary>
    public static bool EndsWith(string module, string name) => module == name || module.EndsWith("." + name, StringComparison.Ordinal);

    /// <summary>The value of the first pattern that a module's path ends in, as PEFT reads <c>rank_pattern</c> and
    /// <c>alpha_pattern</c>.</summary>
    public static double Pick(IReadOnlyDictionary<string, double> patterns, string module, double otherwise)
    {
        foreach (var (pattern, value) in patterns)
            if (Fits(pattern, module))
                return value;
        return otherwise;
    }

    /// <summary>Whether a module's path ends in a pattern.</summary>
    public static bool Fits(string pattern, string module) => Whole($@"(.*\.)?({pattern})", module);

    /// <summary>What is wrong with a regular expression; null where nothing is.</summary>
    public static string? Problem(string pattern) => RegexMistake.Of(PythonPattern.Of(pattern), RegexOptions.CultureInvariant);

    private static bool Whole(string pattern, string text) => Find($@"(?:{pattern})\z", text).Success;

    /// <summary>How a text begins with a regular expression of Python's.</summary>
    /// <exception cref="InputException">It takes too long.</exception>
    public static Match Find(string pattern, string text)
    {
        try
        {
            return Regex.Match(text, $@"\A{PythonPattern.Of(pattern)}", RegexOptions.CultureInvariant, s_patience);
        }
        catch (RegexMatchTimeoutException failure)
        {
            throw new InputException($"the regular expression {pattern} was tried on {text} for {s_patience.TotalSeconds} s, and given up",
                why: "repetitions within repetitions have more ways to match than can be tried",
                fix: "write it without them, or write names of layers as a list", inner: failure);
        }
    }
}
