using System.Text.RegularExpressions;

namespace Handbook.Data.Sources;

/// <summary>Which split a file belongs to, by the published conventions for names of files and folders.</summary>
internal static partial class SplitNames
{
    /// <summary>The split that a file's place in its data set tells; null where it tells none.</summary>
    /// <remarks>Its folders come first, the nearest before the others: what lies in <c>train/</c> is for training,
    /// whatever it is called.</remarks>
    /// <param name="relative">Path below the data set's folder, with <c>/</c>.</param>
    /// <param name="depth">How many folders stand above the name that tells it; <c>data/</c> is none. 0 where nothing tells it.</param>
    public static string? Of(string relative, out int depth)
    {
        var parts = relative.Split('/');
        var file = TextFile.WithoutCompression(parts[^1]);
        var stem = file[..^Path.GetExtension(file).Length];
        var shard = Shard().Match(stem);
        // data/NAME-00000-of-00002 is how published sets are stored, and NAME may be any word.
        depth = 0;
        // CONFIG/SPLIT/0000.parquet is how the hub keeps what it has converted, and SPLIT may be any word.
        if (parts.Length > 1 && Converted().IsMatch(parts[^1]))
            return parts[^2];
        if (shard.Success && parts is ["data", _])
            return shard.Groups[1].Value;
        var above = parts[0] == "data" ? 1 : 0;
        for (var i = parts.Length - 2; i >= 0; i--)
            if (OfName(parts[i]) is { } byFolder)
            {
                depth = Math.Max(0, i - above);
                return byFolder;
            }
        var byFile = OfName(shard.Success ? shard.Groups[1].Value : stem);
        depth = byFile is null ? 0 : parts.Length - 1 - above;
        return byFile;
    }

    /// <summary>The files of the asked split; <c>valid</c>, <c>val</c>, <c>dev</c> and <c>validation</c> are one, as are
    /// the names of train and test.</summary>
    public static List<DataFile>? Choose(Dictionary<string, List<DataFile>> splits, string split) =>
        splits.TryGetValue(split, out var files) ? files
        : splits.FirstOrDefault(entry => AreOne(entry.Key, split)).Value;

    /// <summary>Whether two names mean one split.</summary>
    public static bool AreOne(string one, string other) => one == other || Plain(one) is { } plain && plain == Plain(other);

    /// <summary>Whether a split is called by the name of another and a word, as <c>train_sft</c> is.</summary>
    public static bool IsKindOf(string split, string other) => split != other && Plain(other) is { } plain && Keyword(split) == plain;

    private static string? OfName(string name) => NamedSplit().IsMatch(name) && !Numbered().IsMatch(name) ? name : Keyword(name);

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

    [GeneratedRegex(@"^\d{4}\.parquet$")]
    private static partial Regex Converted();

    // train_sft, test_prefs, …: the splits of the handbook's own sets.
    [GeneratedRegex(@"^(train|test|validation|valid)_[A-Za-z0-9]+$")]
    private static partial Regex NamedSplit();

    // train_1, train_part2: pieces of one split.
    [GeneratedRegex(@"_(?:part|shard|chunk|piece|batch|file|fold|split|n|no|p|s|v)?\d+$", RegexOptions.IgnoreCase)]
    private static partial Regex Numbered();

    [GeneratedRegex(@"(?:^|[-_. 0-9])(train|training|test|testing|eval|evaluation|validation|valid|val|dev)(?:[-_. 0-9]|$)",
        RegexOptions.IgnoreCase)]
    private static partial Regex Keywords();
}
