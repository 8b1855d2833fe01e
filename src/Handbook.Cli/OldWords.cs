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
        if (!isLaunched && Script(first) is null)
            return IsRecipe(first)
                ? new($"{first} is a recipe, but no command stands before it",
                    fix: $"handbook {Method(first)} {string.Join(' ', words.Skip(start))}") : null;
        var at = start;
        while (at < words.Count && (Script(words[at]) ?? (isLaunched ? Recipe.MethodNamed(words[at]) : null)) is null)
            at++;
        if (at == words.Count)
            return new($"{string.Join(' ', words.Skip(start).Take(2))} starts nothing here", LauncherOptions.Why,
                "handbook sft RECIPE, or another of `handbook --help`");
        var method = (Script(words[at]) ?? Recipe.MethodNamed(words[at]))!.Value;
        var (recipe, overrides) = RecipeArguments.Split([.. words.Skip(at + 1)]);
        var kept = Without(overrides);
        return new($"{(isLaunched ? $"{first}{(first == "accelerate" ? " launch" : "")}" : words[at])} is how the Python handbook was "
            + "started",
            isLaunched ? "here one process trains on the whole machine, without a launcher" : "here every method is a command",
            $"handbook {Name(method)} {recipe ?? "RECIPE"}{string.Concat(kept.Select(word => " " + Quoted(word)))}");
    }

    /// <summary>The method of a script such as <c>scripts/run_sft.py</c> or <c>run_sft</c>; null for another word.</summary>
    private static TrainingMethod? Script(string word)
    {
        var name = Path.GetFileName(word);
        var isFile = name.EndsWith(".py", StringComparison.Ordinal);
        name = isFile ? name[..^3] : name;
        return name.StartsWith("run_", StringComparison.Ordinal) ? Recipe.MethodNamed(name["run_".Length..])
            : name.StartsWith("run-", StringComparison.Ordinal) ? Recipe.MethodNamed(name["run-".Length..])
            : isFile ? Recipe.MethodNamed(name) : null;
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
