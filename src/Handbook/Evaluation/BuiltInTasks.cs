using System.Text;
using Handbook.Base;

namespace Handbook.Evaluation;

/// <summary>The tasks that need no file of the user's: task files that this program holds.</summary>
internal static class BuiltInTasks
{
    private const string Folder = "Handbook.Evaluation.Tasks.";

    private const string Ending = ".yaml";

    /// <summary>Names in order.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. typeof(BuiltInTasks).Assembly.GetManifestResourceNames()
        .Where(name => name.StartsWith(Folder, StringComparison.Ordinal) && name.EndsWith(Ending, StringComparison.Ordinal))
        .Select(name => name[Folder.Length..^Ending.Length]).Order(StringComparer.Ordinal)];

    /// <summary>The task of a name, or of a file.</summary>
    /// <param name="word">A built-in task's name, or the path of a task file.</param>
    /// <param name="note">Hears of keys that have no effect here.</param>
    /// <exception cref="InputException">There is no such task, or its file is wrong.</exception>
    public static EvaluationTask Find(string word, Action<string> note)
    {
        if (Names.Contains(word))
        {
            var text = Text(word);
            return TaskFile.Read(text, word + Ending, folder: null, note) with { About = text.Split('\n')[0].TrimStart('#', ' ') };
        }
        if (word.EndsWith(Ending, StringComparison.OrdinalIgnoreCase) || word.EndsWith(".yml", StringComparison.OrdinalIgnoreCase)
            || Path.Exists(word))
            return TaskFile.Load(word, note);
        if (word.Split(',', StringSplitOptions.TrimEntries) is { Length: > 1 } several && several.All(Names.Contains))
            throw new InputException($"--task {word} names {several.Length} tasks at once",
                fix: $"name each by itself: {string.Join(' ', several.Select(one => $"--task {one}"))}");
        throw new InputException($"there is no task {word}", fix: (Spelling.Nearest(word, Names) is { } near ? $"did you mean {near}? " : "")
            + "`handbook evaluate --list` shows those that are built in; others are YAML files, e.g. my_task.yaml");
    }

    private static string Text(string name)
    {
        using var stream = typeof(BuiltInTasks).Assembly.GetManifestResourceStream(Folder + name + Ending)!;
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return reader.ReadToEnd();
    }
}
