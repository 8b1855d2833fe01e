using Handbook.Base;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary>Command lines of the Python handbook and its launchers, and what they are here.</summary>
internal static class OldWords
{
    private static readonly string[] s_launchers = ["accelerate", "torchrun", "deepspeed", "python", "python3", "trl", "srun", "sbatch"];

    /// <summary>What is wrong with a command line that is called as the Python handbook was, with the one to type; null where it is
    /// not.</summary>
    public static InputException? Explain(IReadOnlyList<string> words)
    {
        // NAME=value in front, such as ACCELERATE_LOG_LEVEL=info, is the shell's
        var start = 0;
        while (start < words.Count && words[start].Contains('=') && char.IsAsciiLetterUpper(words[start][0]))
            start++;
        if (start == words.Count)
            return null;
        var first = words[start];
        var isLaunched = s_launchers.Contains(first);
        if (!isLaunched && ScriptNames.MethodOf(first) is null)
            return IsRecipe(first)
                ? new($"{first} is a recipe, but no command stands before it",
                    fix: $"handbook {Method(first)} {string.Join(' ', words.Skip(start))}") : null;
        if (first == "sbatch")
            return new("sbatch is Slurm's own command, and not one of handbook", "it hands a script to the cluster, and the script calls handbook",
                words.Skip(start).Any(word => Path.GetExtension(word) == ".slurm") ? string.Join(' ', words.Skip(start).Select(Quoted))
                    : "sbatch -N 2 recipes/launch.slurm MODEL TASK CONFIG ACCELERATOR");
        var at = start;
        while (at < words.Count && (ScriptNames.MethodOf(words[at]) ?? (isLaunched ? Recipe.MethodNamed(words[at]) : null)) is null)
            at++;
        if (at == words.Count)
            return new($"{string.Join(' ', words.Skip(start).Take(2))} starts nothing here", LauncherOptions.Why,
                "handbook sft RECIPE, or another of `handbook --help`");
        var method = (ScriptNames.MethodOf(words[at]) ?? Recipe.MethodNamed(words[at]))!.Value;
        var (recipe, overrides) = RecipeArguments.Split([.. words.Skip(at + 1)]);
        var kept = Without(overrides);
        var launched = isLaunched && TrainCommand.Names.Contains(Name(method)) ? Launched([.. words.Take(at).Skip(start + 1)])
            : "";
        return new($"{(isLaunched ? $"{first}{(first == "accelerate" ? " launch" : "")}" : words[at])} is how the Python handbook was "
            + "started",
            launched.Length > 0 ? "here `handbook launch` starts several processes"
                : isLaunched ? "here every method is a command; one process uses all cores of the machine" : "here every method is a command",
            $"handbook {launched}{Name(method)} {recipe ?? "RECIPE"}{string.Concat(kept.Select(word => " " + Quoted(word)))}");
    }

    /// <summary>Whether a word is a script of the Python handbook.</summary>
    public static bool IsScript(string word) => ScriptNames.MethodOf(word) is not null;

    /// <summary>The words of <c>handbook launch</c> that say what stood between a launcher and its script; empty for one process.</summary>
    private static string Launched(string[] words)
    {
        List<string> kept = [];
        var isOne = true;
        for (var i = 0; i < words.Length; i++)
        {
            if (!words[i].StartsWith("--", StringComparison.Ordinal))
                continue;
            var (name, equals) = (words[i].Split('=')[0][2..], words[i].IndexOf('='));
            var value = equals >= 0 ? words[i][(equals + 1)..]
                : (LauncherOptions.TakesValue(name) || IsAccumulation(name)) && i + 1 < words.Length ? words[++i] : "";
            if ((LauncherOptions.Here(name) ?? (IsAccumulation(name) ? "--gradient_accumulation_steps" : null)) is not { } here)
                continue;
            var counts = here is "--num_processes" or "--nproc-per-node" or "--nnodes";
            value = counts && !int.TryParse(value, out _) ? "N" : value;       // such as auto, or a range
            kept.Add($"{here} {Quoted(value)} ");
            isOne &= !counts || value == "1";
        }
        // a file counts processes too, unless a word says that it is one
        return isOne && kept.All(word => !word.StartsWith("--config_file", StringComparison.Ordinal))
            || isOne && kept.Contains("--num_processes 1 ") ? "" : "launch " + string.Concat(kept);

        static bool IsAccumulation(string name) => name.Replace('-', '_') == "gradient_accumulation_steps";
    }

    private static IEnumerable<string> Without(IReadOnlyList<string> overrides)
    {
        for (var i = 0; i < overrides.Count; i++)
            if (overrides[i].StartsWith("--", StringComparison.Ordinal) && LauncherOptions.Contains(overrides[i][2..].Split('=')[0]))
                i += overrides[i].Contains('=') || !LauncherOptions.TakesValue(overrides[i][2..]) ? 0 : 1;
            else
                yield return overrides[i];
    }

    private static bool IsRecipe(string word) => Path.GetExtension(word) is ".yaml" or ".yml";

    private static string Method(string recipe) => Name(Recipe.GuessMethod(new FileInfo(recipe)));

    private static string Name(TrainingMethod method) => Recipe.MethodNames.First(name => Recipe.MethodNamed(name) == method);

    private static string Quoted(string word) => word.Any(c => char.IsWhiteSpace(c) || "{}[]\"$*?<>|&;".Contains(c)) ? $"'{word}'" : word;
}
