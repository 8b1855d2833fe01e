using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Recipes;
using Handbook.Training.Methods;

namespace Handbook.Migration;

/// <summary>Reads what other trainers are called with, and makes recipes of it.</summary>
internal static class RecipeMigration
{
    private static readonly string[] s_llamaFactory = ["stage", "finetuning_type", "dataset_dir", "cutoff_len", "template", "lora_rank",
        "pref_loss"];
    private static readonly string[] s_axolotl = ["base_model", "micro_batch_size", "sequence_len", "pretraining_dataset"];

    /// <summary>Makes a recipe of a command line or a configuration of TRL, Axolotl or LLaMA-Factory.</summary>
    /// <param name="file">A shell script, or a YAML file.</param>
    /// <param name="name">What the new recipe is called in the command that runs it.</param>
    /// <param name="command">Which of several trainings in a script, from 1.</param>
    /// <param name="method">What it trains; null where the file tells.</param>
    /// <param name="variables">Values of variables that a script takes from elsewhere.</param>
    /// <exception cref="InputException">Nothing in it trains, or what it trains has no counterpart.</exception>
    public static MigratedRecipe Of(string file, string name, int command = 1, TrainingMethod? method = null,
        IReadOnlyDictionary<string, string>? variables = null)
    {
        if (Directory.Exists(file))
            throw new InputException($"{file} is a folder", "one file says how to train",
                "name a shell script in it, or the YAML file of another trainer");
        if (!File.Exists(file))
            throw new InputException($"{file} does not exist", fix: "name a shell script, or the YAML file of another trainer");
        var migrated = Path.GetExtension(file) is ".yaml" or ".yml" ? OfYaml(file, name, method)
            : OfScript(file, name, command, method, variables ?? new Dictionary<string, string>());
        return Checked(migrated, file);
    }

    private static MigratedRecipe OfYaml(string file, string name, TrainingMethod? method)
    {
        var settings = Settings(file);
        var names = settings.Select(setting => setting.Name).ToHashSet();
        var isForeign = s_axolotl.Any(names.Contains) || s_llamaFactory.Any(names.Contains);
        if (names.Contains("dataset_mixer") || names.Contains("dataset_mixture") || !isForeign && IsRecipe(file, method))
            throw new InputException($"{file} is a recipe already", names.Contains("bf16") || names.Contains("fp16") || !names.Contains("dataset_name")
                    ? "recipes of ours and of the Python handbook run as they are"
                    : "every key of it is one of a recipe's, and it runs as it is; TRL alone would compute in bfloat16 where nothing is said, which is bf16: true",
                $"handbook {RecipeName(method ?? Recipe.GuessMethod(new FileInfo(file)))} {file}");
        return s_axolotl.Any(names.Contains) ? Axolotl(file, name, settings)
            : s_llamaFactory.Any(names.Contains) ? LlamaFactory(file, name, settings)
            : Trl(file, name, settings, method ?? Recipe.GuessMethod(new FileInfo(file)));
    }

    /// <summary>Whether a file is a good recipe as it stands.</summary>
    private static bool IsRecipe(string file, TrainingMethod? method) =>
        !Recipe.Load(new FileInfo(file), [], method ?? Recipe.GuessMethod(new FileInfo(file))).Diagnostics.HasErrors;

    private static MigratedRecipe OfScript(string file, string name, int command, TrainingMethod? method,
        IReadOnlyDictionary<string, string> variables)
    {
        TrainingCall[] calls = [.. ShellScript.Commands(File.ReadAllText(file), variables).Select(TrainingCall.Of).OfType<TrainingCall>()];
        if (calls.Length == 0)
            throw new InputException($"{file}: no command in it trains with TRL, Axolotl or LLaMA-Factory",
                "looked for were `trl METHOD`, scripts such as sft.py and run_dpo.py behind any launcher, `axolotl train` and `llamafactory-cli train`",
                "name the script that starts the training, or the trainer's YAML file");
        if (command < 1 || command > calls.Length)
            throw new InputException($"{file} has {calls.Length} training{(calls.Length == 1 ? "" : "s")}, no {command}.",
                fix: $"handbook migrate {file} --command {calls.Length}");
        var call = calls[command - 1];
        var settings = CommandWords.Settings(call.Behind, out var positional);
        if (positional.Concat(call.Behind).FirstOrDefault(word => word.Text.EndsWith(".yaml", StringComparison.Ordinal)
            || word.Text.EndsWith(".yml", StringComparison.Ordinal)) is { Text: not null } config)
            settings = [.. Settings(Beside(file, config)), .. settings.Where(setting => setting.Name != "config")];
        else if (CommandWords.Unknown(call.Behind) is { } unknown)
            throw new InputException($"{file}:{unknown.Line}: {unknown.Text} has {unknown.Unknown}, which the script does not set",
                "a recipe holds values", $"say it with --set {unknown.Unknown!.Trim('$', '{', '}')}=VALUE");
        var migrated = call.Trainer switch
        {
            Trainer.Axolotl => Axolotl(file, name, settings),
            Trainer.LlamaFactory => LlamaFactory(file, name, settings),
            _ => Trl(file, name, settings, method ?? call.Method!.Value, call),
        };
        return migrated with { Others = [.. calls.Where(other => other != call).Select(other => other.Line)] };
    }

    private static MigratedRecipe Trl(string file, string name, IReadOnlyList<ForeignKey> settings, TrainingMethod method,
        TrainingCall? call = null)
    {
        var draft = new MigrationDraft(file, settings) { Method = method };
        TrlRules.Apply(draft, settings);
        foreach (var (line, shown, why) in call?.Launched() ?? [])
            draft.Leave(line, shown, why);
        return Made(draft, "TRL", name);
    }

    private static MigratedRecipe Axolotl(string file, string name, IReadOnlyList<ForeignKey> settings)
    {
        settings = AxolotlRules.WithTrl(settings);
        var draft = new MigrationDraft(file, settings);
        AxolotlRules.Apply(draft, settings);
        return Made(draft, "Axolotl", name);
    }

    private static MigratedRecipe LlamaFactory(string file, string name, IReadOnlyList<ForeignKey> settings)
    {
        var draft = new MigrationDraft(file, settings);
        LlamaFactoryRules.Apply(draft, settings);
        return Made(draft, "LLaMA-Factory", name);
    }

    private static MigratedRecipe Made(MigrationDraft draft, string origin, string name) => new()
    {
        Method = draft.Method,
        Text = draft.Finished().Write(origin, name),
        Keys = draft.Count,
        Left = draft.Left,
        Origin = draft.Origin,
        Problems = draft.Problems,
        Unread = draft.Unread,
        Open = draft.Open,
    };

    private static IReadOnlyList<ForeignKey> Settings(string file)
    {
        var report = new Diagnostics(file);
        if (YamlReader.Read(File.ReadAllText(file), file, report) is not MapNode map || report.HasErrors)
            throw new InputException(report.HasErrors ? report.ToString().TrimEnd() : $"{file} is not a list of lines `key: value`",
                fix: report.HasErrors ? null : "name the YAML file of another trainer");
        return [.. map.Entries.Select(entry => new ForeignKey(entry.Key.Text, entry.Value, entry.Key.Span.Line))];
    }

    private static string Beside(string script, ShellWord config)
    {
        var path = config.Text[(config.Text.IndexOf('=') + 1)..];
        var beside = Path.Combine(Path.GetDirectoryName(script) ?? "", path);
        return File.Exists(path) ? path : File.Exists(beside) ? beside
            : throw new InputException($"{script}:{config.Line}: {path} does not exist", "the settings stand there",
                "start from the folder that the script is started in, or migrate that file itself");
    }

    /// <summary>What comes out must be a good recipe; where it is not, the settings were not good either.</summary>
    private static MigratedRecipe Checked(MigratedRecipe migrated, string file)
    {
        var folder = Directory.CreateTempSubdirectory("handbook-migrate-");
        try
        {
            var written = Path.Combine(folder.FullName, "recipe.yaml");
            WholeFile.WriteText(written, migrated.Text, durable: false);
            var problems = Placed(Recipe.Load(new FileInfo(written), [], migrated.Method).Diagnostics, migrated, file);
            return problems.HasErrors ? throw new InputException(
                $"{file}: what it says is no good recipe\n{problems.ToString().TrimEnd()}",
                fix: "correct it there; nothing was written") : migrated;
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    /// <summary>What is wrong with the settings, and with the recipe that nobody has seen: each where the setting stands.</summary>
    private static Diagnostics Placed(Diagnostics made, MigratedRecipe migrated, string file)
    {
        var placed = new Diagnostics(file);
        foreach (var problem in migrated.Problems.Errors)
            placed.ErrorAt(problem.At, problem.What, problem.Why, problem.Fix);
        foreach (var error in made.Errors)
        {
            var key = error.What.Split(' ', ':', '.')[0];
            if (migrated.Unread.Contains(key) || migrated.Open.Contains(key))
                continue;
            var from = migrated.Origin(key);
            var at = from is null ? null : from.Value.Span is { Source: not null } value ? value
                : ScriptPlace.Of(file, Part(from.Value, error.What).Span, from.Line);
            placed.ErrorAt(at, error.What, error.Why, error.Fix);
        }
        return placed;

        // of several words the one that the error names
        static RecipeNode Part(RecipeNode value, string what) => value is ListNode list && list.Items.OfType<ScalarNode>()
            .FirstOrDefault(item => item.Text.Length > 0 && what.Split(' ', ',', '"').Contains(item.Text)) is { } named ? named : value;
    }

    private static string RecipeName(TrainingMethod method) => MethodDefinition.Of(method).Name;
}
