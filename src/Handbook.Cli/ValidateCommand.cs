using System.CommandLine;
using Handbook.Base;
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
        var keysOnly = new Option<bool>("--keys-only")
        {
            Description = "look at the keys alone, not at model, tokenizer, data and output "
            + "folder"
        };
        var command = new Command("validate",
            "Check a recipe, and everything that it names, without starting anything") { RecipeWords.Argument, method, keysOnly };
        command.TreatUnmatchedTokensAsErrors = false;
        command.SetAction(args => Run(RecipeWords.Of(args, method.Name, keysOnly.Name), MethodOption.Read(args, method),
            args.GetValue(keysOnly)));
        return command;
    }

    private static int Run((FileInfo File, IReadOnlyList<string> Overrides) words, TrainingMethod? named, bool keysOnly)
    {
        var result = Recipe.Load(words.File, words.Overrides, named ?? Recipe.GuessMethod(words.File, words.Overrides));
        var report = result.Diagnostics;
        if (!keysOnly && result.Draft is { } draft)
            Look(draft, report);
        Console.Error.Write(report.Messages());
        if (report.HasErrors)
        {
            if (named is null && result.Draft is { } read)
                Console.Error.WriteLine($"note: the recipe was read for `handbook {read.MethodName}`, as its path and keys tell; "
                    + $"--method names another, e.g. --method {(read.MethodName == "dpo" ? "sft" : "dpo")}");
            Console.Error.Write(Diagnostics.Summary(report.Errors.Count));
            return ExitCode.UserCanFix;
        }
        var recipe = result.Draft!;
        Console.WriteLine($"{recipe.Path}: a good recipe for `handbook {recipe.MethodName}`. It would train "
            + $"{recipe.Model.ModelNameOrPath} " +
            $"on {string.Join(", ", recipe.Mixture.Datasets.Select(set => set.Id).Distinct())} into {recipe.Training.OutputDir}.");
        Console.WriteLine(recipe.GlobalBatch());
        return ExitCode.Ok;
    }

    /// <summary>Looks at what a recipe names, also where some of its keys are wrong: one attempt shows everything.</summary>
    private static void Look(Recipe recipe, Diagnostics report)
    {
        var probe = RecipeProbe.Of(recipe, report);
        foreach (var note in probe.Notes)
            Console.Error.WriteLine($"note: {note}");
        foreach (var remark in probe.Remarks)
            Console.Error.WriteLine(remark);
        foreach (var warning in probe.Warnings)
            Console.Error.WriteLine($"warning: {warning}");
        probe.Report(report);
    }
}
