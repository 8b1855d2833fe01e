using System.Globalization;
using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Launch;

/// <summary>A file of settings that launchers and trainers of the Python handbook read: every key is honoured, noted or refused.</summary>
/// <param name="path">As the user named it.</param>
/// <param name="plan">What is known before the file is read.</param>
internal abstract class LauncherFile(string path, LaunchPlan plan)
{
    /// <summary>What is known so far.</summary>
    protected LaunchPlan Plan { get; set; } = plan;

    protected string Path => path;

    /// <summary>The key that is being read; null between keys.</summary>
    protected SourceSpan? Here { get; set; }

    /// <summary>The file, with the line of the key that is being read where it stands in the file.</summary>
    private string Place => Here is { Line: > 0 } key && key.Source == path ? $"{path}:{key.Line}" : path;

    /// <summary>The mapping that a file is; JSON is YAML, too.</summary>
    /// <param name="named">What names the file, for the message.</param>
    /// <param name="fix">What to name instead.</param>
    /// <exception cref="InputException">It is not there, or is broken.</exception>
    protected static MapNode Root(string path, string named, string fix)
    {
        if (!File.Exists(path))
            throw new InputException($"{named}: {path} does not exist", fix: fix);
        var report = new Diagnostics(path);
        return YamlReader.Read(File.ReadAllText(path), path, report) is MapNode root && !report.HasErrors ? root
            : throw new InputException(report.HasErrors ? report.ToString().TrimEnd() : $"{path} is not a mapping of keys", fix: fix);
    }

    protected void OneOf(string key, string value, params ReadOnlySpan<string> known)
    {
        if (!known.Contains(value))
            Refuse($"{key} is {value}, which is not built", $"use {string.Join(", ", known.ToArray().Where(each => each.Length > 0))}");
    }

    /// <summary>Says that a key of the recipe is given here.</summary>
    protected void Key(string spelled, string key, string value)
    {
        if (Plan.Keys.FirstOrDefault(said => said.Key == key) is not { } before)
            Plan = Plan with { Keys = [.. Plan.Keys, new($"{System.IO.Path.GetFileName(path)}: {spelled}", key, value)] };
        else if (before.Value != value)
            Refuse($"{spelled} is {value}, but {before.Where} says {before.Value}", "say it in one of the two");
    }

    /// <summary>DeepSpeed's stage.</summary>
    /// <param name="shown">The key, where its value is refused.</param>
    /// <param name="spelled">The key with its section.</param>
    protected void Stage(string shown, string spelled, string value)
    {
        OneOf(shown, value, "0", "1", "2", "3", "");
        if (value is "1" or "2" or "3")
            Key(spelled, "zero_stage", value);
    }

    /// <summary>Where DeepSpeed keeps states.</summary>
    /// <inheritdoc cref="Stage"/>
    protected void OffloadOptimizer(string shown, string spelled, string value)
    {
        OneOf(shown, value, "none", "cpu", "nvme", "");
        if (value is "cpu" or "nvme")
            Key(spelled, "offload_optimizer", value);
    }

    /// <summary>Where DeepSpeed keeps weights.</summary>
    protected void OffloadWeights(string key, string value)
    {
        if (value is not ("none" or ""))
            Note($"{key} {value} has no effect: weights are in the machine's memory already");
    }

    /// <summary>Says what a key of the recipe has to be.</summary>
    protected void Expect(string spelled, string key, string value)
    {
        if (value is not ("auto" or ""))
            Plan = Plan with { Expected = [.. Plan.Expected, new($"{path}: {spelled}", key, value)] };
    }

    protected void Note(string text) => Plan = Plan with { Notes = [.. Plan.Notes, $"{System.IO.Path.GetFileName(path)}: {text}"] };

    protected void Refuse(string what, string fix) => throw new InputException($"{Place}: {what}", fix: fix);

    protected InputException Unknown(string key, string last, IEnumerable<string> known) => new($"{Place}: unknown key {key}",
        why: Spelling.Nearest(last, known) is { } near ? $"did you mean {near}?" : null, fix: "remove it");

    protected int Number(string key, string value) =>
        int.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
            : throw new InputException($"{Place}: {key} is {value}, but must be a whole number", fix: "write a number such as 8");

    protected static string Text(RecipeNode? node) => node is ScalarNode { IsNull: false } scalar
        ? scalar.Text is "True" or "False" ? scalar.Text.ToLowerInvariant() : scalar.Text : "";
}
