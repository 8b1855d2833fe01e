using System.CommandLine;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Migration;

namespace Handbook.Cli;

/// <summary><c>handbook migrate SCRIPT_OR_YAML [--out FILE [--force]]</c>: a recipe from what another trainer was called with.</summary>
internal static class MigrateCommand
{
    public static Command Create()
    {
        var file = new Argument<string>("file") { Description = "a shell script that starts a training, or the YAML file of Axolotl, LLaMA-Factory or TRL" };
        var output = new Option<string?>("--out")
        {
            Description = "write the recipe to a file; otherwise it is printed",
            HelpName = "FILE"
        };
        var force = new Option<bool>("--force") { Description = "replace a file that is there" };
        var which = new Option<int>("--command")
        { Description = "which training of a script that starts several", DefaultValueFactory = _ => 1, HelpName = "N" };
        var variables = new Option<string[]>("--set")
        {
            Description = "the value of a variable that the script takes from elsewhere: NAME=value; may be given again",
            HelpName = "NAME=VALUE"
        };
        var method = MethodOption.Create("otherwise the script, the file's path or its keys tell");
        var command = new Command("migrate", "Make a recipe of a command line or a configuration of TRL, Axolotl or LLaMA-Factory\n\n"
            + "What changes its meaning has a comment, and what has no counterpart is told at the recipe's end, by its line.\n\n"
            + "  handbook migrate train.sh --out recipes/mine/sft.yaml\n"
            + "  handbook migrate qlora.yml")
        { file, output, force, which, variables, method };
        command.SetAction(args => Run(args.GetRequiredValue(file), args.GetValue(output), args.GetValue(force), args.GetValue(which),
            args.GetValue(variables) ?? [], MethodOption.Read(args, method)));
        return command;
    }

    private static int Run(string file, string? output, bool force, int command, IReadOnlyList<string> variables,
        Training.Methods.TrainingMethod? method)
    {
        OutputFile.MustNotReplace("--out", output, [file], "that is read");
        OutputFile.MustBeNew("--out", output, force);
        var migrated = RecipeMigration.Of(file, output ?? "RECIPE", command, method, variables.Select(Pair).ToDictionary());
        if (output is null)
            Console.Out.Write(migrated.Text);
        else
            WholeFile.WriteText(output, migrated.Text);
        foreach (var line in migrated.Others)
            Console.Error.WriteLine($"note: {file}:{line} starts another training; --command N makes a recipe of the N-th");
        foreach (var key in migrated.Open)
            Console.Error.WriteLine($"note: {key} is yours to fill in: nothing here is what the settings name");
        Console.Error.WriteLine($"{migrated.Keys} keys of a recipe for handbook {RecipeNames.Of(migrated.Method)}"
            + (migrated.Left == 0 ? "; nothing is left over"
                : $"; {migrated.Left} setting{(migrated.Left == 1 ? " has" : "s have")} no counterpart, "
                + "each told at its end")
            + (output is null ? "" : $". Next: handbook validate {output} --method {RecipeNames.Of(migrated.Method)}"));
        return ExitCode.Ok;
    }

    private static KeyValuePair<string, string> Pair(string text) => text.Split('=', 2) is [{ Length: > 0 } name, var value] ? new(name,
        value)
        : throw new InputException($"--set {text} sets nothing", fix: "write --set NAME=value");
}
