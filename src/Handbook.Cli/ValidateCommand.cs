using System.CommandLine;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook validate RECIPE [--method sft] [--key=value]…</c>: checks only.</summary>
internal static class ValidateCommand
{
    public static Command Create()
    {
        var method = MethodOption.Create();
        var command = new Command("validate", "Check a recipe without starting anything") { RecipeWords.Argument, method };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(args => Run(RecipeWords.Of(args, method.Name), MethodOption.Read(args, method)));
        return command;
    }

    private static int Run((FileInfo File, IReadOnlyList<string> Overrides) words, TrainingMethod? named)
    {
        var method = named ?? Recipe.GuessMethod(words.File);
        if (!Recipe.Load(words.File, words.Overrides, method).TryGet(out var recipe, out var diagnostics))
            return ExitCode.BadInput(diagnostics);
        Console.Error.Write(diagnostics.ToString());
        Console.WriteLine($"{recipe.Path}: a good recipe for `handbook {recipe.MethodName}`. It would train {recipe.Model.ModelNameOrPath} " +
            $"on {string.Join(", ", recipe.Mixture.Datasets.Select(set => set.Id).Distinct())} into {recipe.Training.OutputDir}.");
        return ExitCode.Ok;
    }
}
