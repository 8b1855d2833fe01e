using System.Reflection;
using System.Text;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers.Models;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Plans;
using Handbook.Training.Sampling;

namespace Handbook.Recipes;

/// <summary>Reads a recipe in five steps: file, merge, bind each key, defaults of its dialect, checks among keys.</summary>
internal sealed class RecipeLoader(string file, TrainingMethod method)
{
    private const int MaxBytes = 4 << 20;

    private readonly Dictionary<string, KeySource> _sources = [];
    private readonly List<(RecipeKey Key, object? Value)> _withoutEffect = [];
    private RecipeEntries _entries = new();

    public RecipeResult Load(IReadOnlyList<string> words)
    {
        var report = new Diagnostics(file, key => _entries.Locate(key));
        var root = ReadFile(report);
        var overrides = Override.Parse(words, report);
        if (root is null)
            return new(null, report);
        _entries = RecipeEntries.Merge(root, overrides, method, report);
        var expected = DeepSpeedKey.Expand(_entries, file, report);
        var recipe = Bind(report);
        DeepSpeedKey.Compare(expected, recipe, report);
        Validate(recipe, report);
        return new(recipe, report);
    }

    private MapNode? ReadFile(Diagnostics report)
    {
        string text;
        try
        {
            if (Directory.Exists(file))
                return Refuse("is a folder, not a recipe", Candidates(file));
            if (!File.Exists(file))
                return Refuse("does not exist", Path.GetDirectoryName(file) is { } folder
                    && Directory.Exists(folder.Length == 0 ? "." : folder) ? Candidates(folder.Length == 0 ? "." : folder) : null);
            if (new FileInfo(file).Length > MaxBytes)
                return Refuse($"has {new FileInfo(file).Length} bytes, more than any recipe", null);
            text = new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(File.ReadAllBytes(file)).TrimStart('\uFEFF');
        }
        catch (DecoderFallbackException)
        {
            return Refuse("is not UTF-8 text", null);
        }
        catch (UnauthorizedAccessException)
        {
            return Refuse("cannot be read: permission denied", null);
        }
        catch (IOException problem)
        {
            return Refuse($"cannot be read: {problem.Message}", null);
        }
        var node = YamlReader.Read(text, file, report);
        if (node is MapNode map)
            return map["compute_environment"] is null && map["distributed_type"] is null ? map
                : Refuse("is a configuration of the launcher accelerate", null, LauncherOptions.Why,
                    $"handbook launch --config_file {file} sft RECIPE");
        if (!report.HasErrors)
            report.ErrorAt(node?.Span, node is null ? "the recipe is empty" : "a recipe is a list of lines `key: value`",
                fix: "begin with `model_name_or_path: path/to/model`");
        return null;

        MapNode? Refuse(string what, string? candidate, string? why = null, string? fix = null)
        {
            report.ErrorAt(null, $"the recipe {what}", why, fix: fix ?? (candidate is null ? "name a YAML file, such as recipes/tiny/sft.yaml"
                : $"did you mean {candidate}?"));
            return null;
        }

        string? Candidates(string folder)
        {
            string[] recipes = [.. Directory.EnumerateFiles(folder, "*.y*ml", SearchOption.TopDirectoryOnly)
                .Concat(Directory.EnumerateDirectories(folder).SelectMany(inner => Directory.EnumerateFiles(inner, "*.y*ml")))
                    .Select(path => path.StartsWith("./", StringComparison.Ordinal) ? path[2..] : path).Order(StringComparer.Ordinal)];
            return Spelling.Nearest(file, recipes) ?? recipes.FirstOrDefault();
        }
    }

    private Recipe Bind(Diagnostics report)
    {
        var binder = new RecipeBinder(report);
        var dialect = _entries["dataset_mixer"] is null ? RecipeDialect.Mixture : RecipeDialect.Mixer;
        var records = OptionRecords.New();
        foreach (var entry in _entries.All)
        {
            var key = entry.Key;
            if (!binder.TryBind(entry.Value, key.Type, entry.Spelled, out var value))
            {
                report.Answered(key.Name);
                if (key.Name is "dataset_mixer" or "dataset_mixture" or "dataset_name")
                    report.Answered("dataset_name");
                continue;
            }
            if (value == RecipeBinder.Unset || value is null && key.NeedsValue)
                continue;       // `output_dir: null` means: as usual
            if (Judge(entry, value, report))
            {
                Set(key, value);
                _sources[key.Name] = entry.FromFile ? KeySource.File : KeySource.CommandLine;
            }
        }
        var written = records.OfType<PreferenceOptions>().Single();
        foreach (var (name, value, source) in MethodDefinition.Of(method).Defaults(dialect, written).ToArray())
            if (_sources.TryAdd(name, source))
                Set(RecipeKeys.Find(name)!, value);
        var recipe = OptionRecords.With(new Recipe
        {
            Method = method,
            Path = file,
            Dialect = dialect,
            Sources = _sources,
            WithoutEffect = _withoutEffect
        }, records);
        return recipe with
        {
            Model = recipe.Model.AtRevision(),
            Training = recipe.Training with { OutputDir = UserFolder.Expand(recipe.Training.OutputDir) },
        };

        void Set(RecipeKey key, object? value) => key.Property!.SetValue(OptionRecords.Holding(records, key), value);
    }

    /// <summary>Whether the key's value goes into its record; the answer for every other key is given here.</summary>
    private bool Judge(RecipeEntry entry, object? value, Diagnostics report)
    {
        var key = entry.Key;
        var isDefault = Equals(value, key.Default) || value is null && key.Default is "";
        if (!key.Serves(method) && key.Elsewhere is { } reason)
        {
            if (!isDefault)
                report.Note(entry.KeySpan, $"{entry.Spelled} has no effect on {RecipeNames.Of(method)}: {reason}");
            _withoutEffect.Add((key, value));
            return false;
        }
        if (!key.Serves(method))
        {
            if (key.Property is null || !isDefault)
                report.ErrorAt(entry.KeySpan, $"{entry.Spelled} belongs to {Listed(key.Methods)} recipes, not to {RecipeNames.Of(method)}",
                    fix: $"remove the line, or run `handbook {RecipeNames.Of(key.Methods[0])}`");
            return false;
        }
        switch (key.Disposition)
        {
            case Disposition.Works:
                return true;
            case Disposition.Rejected:
                if (value is not null and not false && !isDefault)
                    report.ErrorAt(entry.KeySpan, $"{entry.Spelled} is not accepted", fix: key.Reason);
                return false;
            case Disposition.NotBuilt:
                if (!isDefault)
                    report.ErrorAt(entry.Value.Span, $"{entry.Spelled} is {YamlWriter.Flow(value)}, which is not built yet", key.Reason,
                        $"remove the line, or set it to {YamlWriter.Flow(key.Default)}");
                return key.Property is not null && isDefault;
            default:
                if (!isDefault)
                    report.Note(entry.KeySpan, $"{entry.Spelled} has no effect here: {key.Reason}");
                if (!key.Name.EndsWith("_token", StringComparison.Ordinal))        // secrets stay where they are
                    _withoutEffect.Add((key, value));
                return false;
        }
    }

    private static string Listed(IReadOnlyList<TrainingMethod> methods)
    {
        string[] names = [.. methods.Select(method => RecipeNames.Of(method))];
        return names.Length == 1 ? names[0] : $"{string.Join(", ", names[..^1])} and {names[^1]}";
    }

    private void Validate(Recipe recipe, Diagnostics report)
    {
        recipe.Validate(report);
        KeyEffects.Report(recipe, _entries, report);
        RecipeNotes.Explain(recipe, _entries, report);
    }
}
