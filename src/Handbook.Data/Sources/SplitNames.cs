using System.Text.RegularExpressions;

namespace Handbook.Data.Sources;

/// <summary>Which split a file belongs to, by the published conventions for names of files and folders.</summary>
internal static partial class SplitNames
{
    /// <summary>The split that a file's place in its data set tells; null where it tells none.</summary>
    /// <param name="relative">Path below the data set's folder, with <c>/</c>.</param>
    public static string? Of(string relative)
    {
        var parts = relative.Split('/');
        var file = TextFile.WithoutCompression(parts[^1]);
        var stem = file[..^Path.GetExtension(file).Length];
        if (Shard().Match(stem) is { Success: true } shard)
            return shard.Groups[1].Value;
        if (NamedSplit().IsMatch(stem))
            return stem;
        if (Keyword(stem) is { } byFile)
            return byFile;
        for (var i = parts.Length - 2; i >= 0; i--)
            if (NamedSplit().IsMatch(parts[i]))
                return parts[i];
            else if (Keyword(parts[i]) is { } byFolder)
                return byFolder;
        return null;
    }

    /// <summary>The files of the asked split; <c>valid</c>, <c>val</c>, <c>dev</c> and <c>validation</c> are one, as are the names of train and test.</summary>
    public static List<DataFile>? Choose(Dictionary<string, List<DataFile>> splits, string split) =>
        splits.TryGetValue(split, out var files) ? files
        : splits.FirstOrDefault(entry => Plain(entry.Key) is { } name && name == Plain(split)).Value;

    /// <summary>Whether two names mean one split.</summary>
    public static bool AreOne(string one, string other) => one == other || Plain(one) is { } plain && plain == Plain(other);

    /// <summary>The one word for a name that is nothing but a synonym.</summary>
    private static string? Plain(string name) => name switch
    {
        "train" or "training" => "train",
        "test" or "testing" or "eval" or "evaluation" => "test",
        "validation" or "valid" or "val" or "dev" => "validation",
        _ => null,
    };

    private static string? Keyword(string name) =>
        Keywords().Match(name) is { Success: true } match ? Plain(match.Groups[1].Value.ToLowerInvariant()) : null;

    [GeneratedRegex(@"^(.+)-\d{5}-of-\d{5}(-[0-9a-f]+)?$")]
    private static partial Regex Shard();

    // train_sft, test_prefs, …: the splits of the handbook's own sets.
    [GeneratedRegex(@"^(train|test|validation|valid)_[A-Za-z0-9]+$")]
    private static partial Regex NamedSplit();

    [GeneratedRegex(@"(?:^|[-_. ])(train|training|test|testing|eval|evaluation|validation|valid|val|dev)(?:[-_. 0-9]|$)", RegexOptions.IgnoreCase)]
    private static partial Regex Keywords();
}
