using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Recipes;

namespace Handbook.Evaluation;

/// <summary>Reads a task file: the YAML form of the Python evaluation harness.</summary>
internal static class TaskFile
{
    private const int MostIncludes = 8;

    private const string Fix = "name a task of `handbook evaluate --list`, or a YAML file with task, dataset_path, doc_to_text and doc_to_target";

    /// <param name="path">The file.</param>
    /// <param name="note">Hears of keys that have no effect here.</param>
    /// <exception cref="InputException">The file is missing or wrong; every problem is told, with its line and key.</exception>
    public static EvaluationTask Load(string path, Action<string> note)
    {
        var file = UserFolder.Expand(path);
        if (!File.Exists(file))
            throw new InputException(Directory.Exists(file) ? $"{path} is a folder, not a task file" : $"there is no task {path}", fix: Fix);
        return Read(File.ReadAllText(file, new UTF8Encoding(false, throwOnInvalidBytes: false)).TrimStart('\uFEFF'), path,
            Path.GetDirectoryName(Path.GetFullPath(file))!, note);
    }

    /// <param name="text">The YAML.</param>
    /// <param name="name">What it is called in messages.</param>
    /// <param name="folder">Where files that it names are looked for; null for a built-in task.</param>
    /// <inheritdoc cref="Load"/>
    public static EvaluationTask Read(string text, string name, string? folder, Action<string> note)
    {
        var report = new Diagnostics(name);
        var definition = new StringBuilder();
        var map = Entries(text, name, folder, report, definition, 0);
        var task = map is null || report.HasErrors ? null : new TaskKeys(map, name, folder, report, definition.ToString(), note).Read();
        return !report.HasErrors && task is not null ? task : throw new InputException(report.ToString().TrimEnd());
    }

    /// <summary>The entries of a file, behind them those of the file that it includes.</summary>
    private static MapNode? Entries(string text, string name, string? folder, Diagnostics report, StringBuilder definition, int depth)
    {
        definition.Append(text).Append('\n');
        var root = YamlReader.Read(text, name, report);
        if (root is not MapNode map)
        {
            if (!report.HasErrors)
                report.ErrorAt(root?.Span, "a task file is a map of keys", fix: "begin with `task: my_task`");
            return null;
        }
        if (map["include"] is not { } include)
            return map;
        if (include is not ScalarNode { IsNull: false } other || folder is null)
        {
            report.ErrorAt(include.Span, "include names one file", fix: "write include: other.yaml");
            return map;
        }
        if (depth >= MostIncludes)
        {
            report.ErrorAt(other.Span, $"more than {MostIncludes} files include each other", fix: "end the circle");
            return map;
        }
        var path = Path.Combine(folder, other.Text);
        if (!File.Exists(path))
        {
            report.ErrorAt(other.Span, $"include names {other.Text}, which is not there", fix: "the path is relative to the task file");
            return map;
        }
        var shown = Path.Combine(Path.GetDirectoryName(name) ?? "", other.Text);
        var below = Entries(File.ReadAllText(path).TrimStart('\uFEFF'), shown, Path.GetDirectoryName(Path.GetFullPath(path)), report,
            definition, depth + 1);
        return map with
        {
            Entries = [.. map.Entries.Where(entry => entry.Key.Text != "include"),
                .. below?.Entries.Where(entry => map[entry.Key.Text] is null) ?? []],
        };
    }
}
