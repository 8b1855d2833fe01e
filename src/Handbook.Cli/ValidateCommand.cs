using System.CommandLine;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook validate RECIPE [--keys-only] [--method sft] [--key=value]…</c>: checks only.</summary>
internal static class ValidateCommand
{
    public static Command Create()
    {
        var method = MethodOption.Create();
        var keysOnly = new Option<bool>("--keys-only") { Description = "look at the keys alone, not at model, tokenizer, data and output folder" };
        var command = new Command("validate", "Check a recipe, and everything that it names, without starting anything") { RecipeWords.Argument, method, keysOnly };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(args => Run(RecipeWords.Of(args, method.Name, keysOnly.Name), MethodOption.Read(args, method), args.GetValue(keysOnly)));
        return command;
    }

    private static int Run((FileInfo File, IReadOnlyList<string> Overrides) words, TrainingMethod? named, bool keysOnly)
    {
        var method = named ?? Recipe.GuessMethod(words.File);
        if (!Recipe.Load(words.File, words.Overrides, method).TryGet(out var recipe, out var diagnostics))
            return ExitCode.BadInput(diagnostics);
        Console.Error.Write(diagnostics.ToString());
        var probe = keysOnly ? null : RecipeProbe.Of(recipe);
        foreach (var note in probe?.Notes ?? [])
            Console.Error.WriteLine($"note: {note}");
        foreach (var remark in probe?.Remarks ?? [])
            Console.Error.WriteLine(remark);
        foreach (var warning in probe?.Warnings ?? [])
            Console.Error.WriteLine($"warning: {warning}");
        if (probe is not null && probe.Problems.Count + probe.Absent.Count is > 0 and var count)
        {
            foreach (var problem in probe.Problems)
                ExitCode.BadInput(problem);
            if (probe.Absent.Count > 0)
                Console.Error.WriteLine($"not on this machine:\n  {string.Join("\n  ", probe.Absent)}\n"
                    + "  fix: correct the paths; or fetch what is missing and set HANDBOOK_MODELS and HANDBOOK_DATA to the folders that hold it; or look at the keys alone with --keys-only");
            Console.Error.WriteLine(count == 1 ? "1 problem found; nothing was started." : $"{count} problems found; nothing was started.");
            return ExitCode.UserCanFix;
        }
        Console.WriteLine($"{recipe.Path}: a good recipe for `handbook {recipe.MethodName}`. It would train {recipe.Model.ModelNameOrPath} " +
            $"on {string.Join(", ", recipe.Mixture.Datasets.Select(set => set.Id).Distinct())} into {recipe.Training.OutputDir}.");
        return ExitCode.Ok;
    }
}
