using System.Text.RegularExpressions;
using Handbook.Base;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Handbook.Data.Sources;

/// <summary>One config that the front matter of a data set's README.md describes.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="IsDefault">Whether it is meant where none is named.</param>
/// <param name="Folder">Its <c>data_dir</c> below the data set; empty for the data set's own folder.</param>
/// <param name="Files">For each split the patterns of its files, in their order; null where the files' names tell the splits.</param>
/// <param name="Separator">What separates the columns of its CSV files; null where that is as usual.</param>
/// <param name="Unread">Keys that have no effect here.</param>
internal sealed record ReadmeConfig(string Name, bool IsDefault, string Folder, IReadOnlyList<(string Split, string[] Patterns)>? Files,
    char? Separator, IReadOnlyList<string> Unread)
{
    private static readonly HashSet<string> s_known = ["config_name", "data_files", "data_dir", "default", "sep", "delimiter"];

    /// <summary>Keys that describe, and decide nothing about rows.</summary>
    private static readonly HashSet<string> s_describing = ["description", "version", "features", "dataset_info", "license"];

    /// <summary>The configs that a README names; empty where there is none, or it names none.</summary>
    /// <exception cref="InputException">It cannot be read as YAML, or a config is not what the published conventions have.</exception>
    public static IReadOnlyList<ReadmeConfig> Of(string folder, string name)
    {
        var path = Path.Combine(folder, "README.md");
        if (!File.Exists(path) || FrontMatter(path) is not { } text)
            return [];
        try
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            if (stream.Documents is not [{ RootNode: YamlMappingNode root }, ..] || !root.Children.TryGetValue("configs", out var configs))
                return [];
            if (configs is not YamlSequenceNode list)
                throw Wrong("configs is not a list");
            return [.. list.Select(entry => entry is YamlMappingNode map ? Read(map) : throw Wrong("an entry of configs is not a map"))];
        }
        catch (YamlException failure)
        {
            throw new InputException($"{name}/README.md:{failure.Start.Line + 1}: its front matter is not YAML ({failure.Message})",
                "it says which files are the data set's splits", "correct the part between the lines ---, or remove it", failure);
        }

        InputException Wrong(string what) => new($"{name}/README.md: {what}", "the front matter says which files are the data set's splits",
            "write configs: [{config_name: default, data_files: [{split: train, path: train.jsonl}]}]");

        ReadmeConfig Read(YamlMappingNode map)
        {
            var called = Text(map, "config_name") ?? "default";
            var separator = Text(map, "sep") ?? Text(map, "delimiter");
            return new(called, Text(map, "default") is "true" or "True" or "yes", Text(map, "data_dir") ?? "",
                map.Children.TryGetValue("data_files", out var files) ? Patterns(files, called) : null,
                separator is null ? null : separator is "\\t" ? '\t' : separator is [var one] && char.IsAscii(one) ? one
                    : throw Wrong($"the config {called} has the separator \"{separator}\", but one character separates columns"),
                [.. map.Children.Keys.OfType<YamlScalarNode>().Select(key => key.Value!)
                    .Where(key => !s_known.Contains(key) && !s_describing.Contains(key))]);
        }

        List<(string, string[])> Patterns(YamlNode files, string called) => files switch
        {
            YamlScalarNode => [("train", Paths(files, called))],
            YamlMappingNode splits =>
                [.. splits.Children.Select(split => (((YamlScalarNode)split.Key).Value!, Paths(split.Value, called)))],
            YamlSequenceNode list when list.All(entry => entry is YamlScalarNode) => [("train", Paths(list, called))],
            YamlSequenceNode list =>
                [.. list.Select(entry => entry is YamlMappingNode split && split.Children.TryGetValue("path", out var paths)
                ? (Text(split, "split") ?? "train", Paths(paths, called))
                    : throw Wrong($"the config {called} has an entry of data_files without path"))],
            _ => throw Wrong($"the config {called} has data_files that name no file"),
        };

        string[] Paths(YamlNode node, string called) => node switch
        {
            YamlScalarNode { Value: { Length: > 0 } one } => [one],
            YamlSequenceNode list when list.All(entry => entry is YamlScalarNode { Value.Length: > 0 }) =>
                [.. list.Select(entry => ((YamlScalarNode)entry).Value!)],
            _ => throw Wrong($"the config {called} has data_files that name no file"),
        };
    }

    /// <summary>The config that is meant.</summary>
    /// <param name="asked">Its name; null for the default one.</param>
    /// <returns>Null where the README has no such config, and a folder may be meant.</returns>
    /// <exception cref="InputException">None is asked for, and there are several without a default.</exception>
    public static ReadmeConfig? Choose(IReadOnlyList<ReadmeConfig> configs, string? asked, string name)
    {
        if (configs.Count == 0)
            return null;
        if (asked is not null && configs.FirstOrDefault(config => config.Name == asked) is { } named)
            return named;
        if (asked is not null and not "default")
            return null;
        var standing = configs.Where(config => config.IsDefault || config.Name == "default" || configs.Count == 1).ToArray();
        return standing.Length == 1 ? standing[0]
            : throw new InputException($"{name}: has {(standing.Length == 0 ? "no default config" : "several default configs")}; its "
                + $"README.md names {string.Join(", ", configs.Select(config => config.Name))}",
                "their rows are different data sets and are not mixed",
                    $"name one with dataset_config (config in a dataset_mixture), e.g. {configs[0].Name}")
            { Key = "config" };
    }

    /// <summary>The files of each split; of one whose files are not all there, what to say to whoever asks for it.</summary>
    /// <param name="files">All data files below the folder, as paths relative to it.</param>
    public IEnumerable<(string Split, string[] Files, InputException? Problem)> Match(IReadOnlyCollection<string> files, string name)
    {
        foreach (var split in Files!.GroupBy(entry => entry.Split))
        {
            var found = new List<string>();
            InputException? problem = null;
            foreach (var pattern in split.SelectMany(entry => entry.Patterns))
            {
                if (pattern.Contains("://", StringComparison.Ordinal))
                {
                    problem ??= new InputException($"{name}/README.md: the config {Name} names {pattern}, which is elsewhere",
                        "only files of the data set itself are fetched",
                            "download the file, and name its path below the data set's folder");
                    continue;
                }
                var regex = Pattern(Path.Combine(Folder, pattern));
                var matches = files.Where(file => regex.IsMatch(file)).Except(found).Order(StringComparer.Ordinal).ToArray();
                if (matches.Length == 0)
                    problem ??= new InputException($"{name}/README.md: the config {Name} names {pattern} for its split {split.Key}, and no data "
                        + "file is called so", fix: "copy the missing files, or correct the front matter of README.md");
                found.AddRange(matches);
            }
            yield return (split.Key, [.. found], problem);
        }
    }

    /// <summary>A pattern as shells have it: <c>*</c> inside a name, <c>**</c> over folders; a folder stands for
    /// all files below it.</summary>
    private static Regex Pattern(string pattern)
    {
        pattern = pattern.Replace('\\', '/');
        while (pattern.StartsWith("./", StringComparison.Ordinal))
            pattern = pattern[2..];
        var regex = Regex.Escape(pattern.TrimEnd('/')).Replace(@"\*\*/", "(?:.*/)?", StringComparison.Ordinal)
            .Replace(@"\*\*", ".*", StringComparison.Ordinal)
            .Replace(@"\*", "[^/]*", StringComparison.Ordinal).Replace(@"\?", "[^/]", StringComparison.Ordinal)
                .Replace(@"\[", "[", StringComparison.Ordinal).Replace("[!", "[^", StringComparison.Ordinal);
        return new Regex($"^(?:{regex})(?:/.*)?$", RegexOptions.CultureInvariant);
    }

    private static string? Text(YamlMappingNode map, string key) => map.Children.TryGetValue(key, out var value)
        && value is YamlScalarNode { Value: { Length: > 0 } text } ? text : null;

    private static string? FrontMatter(string path)
    {
        using var lines = new StreamReader(path);
        if (lines.ReadLine()?.TrimEnd() != "---")
            return null;
        var text = new System.Text.StringBuilder();
        while (lines.ReadLine() is { } line)
        {
            if (line.TrimEnd() == "---")
                return text.ToString();
            text.Append(line).Append('\n');
        }
        return null;
    }
}
