using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook --help</c>: what it is for and what to type first; the usual help for each command.</summary>
internal sealed class TeachingHelp(HelpAction usual) : SynchronousCommandLineAction
{
    /// <summary>Whoever asks for help need not have given the arguments yet.</summary>
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parseResult)
    {
        if (parseResult.CommandResult.Command is not RootCommand root)
            return WriteUsual(parseResult);
        WriteRoot(root, parseResult.InvocationConfiguration.Output);
        return ExitCode.Ok;
    }

    private int WriteUsual(ParseResult parseResult)
    {
        var output = parseResult.InvocationConfiguration.Output;
        using var text = new StringWriter();
        parseResult.InvocationConfiguration.Output = text;
        var code = usual.Invoke(parseResult);
        parseResult.InvocationConfiguration.Output = output;
        // the launcher's name, not the assembly's; and nothing about words after `--`, which have no meaning here
        output.Write(text.ToString().Replace(RootCommand.ExecutableName, "handbook")
            .Replace(" [[--] <additional arguments>...]]", "").Split("Additional Arguments:")[0].TrimEnd() + "\n");
        if (TrainCommand.MethodOf(parseResult.CommandResult.Command.Name) is { } method)
            output.Write("\n" + KeyReference.Usual(method));
        return code;
    }

    public static void WriteRoot(RootCommand root, TextWriter output)
    {
        output.WriteLine($"""
            {root.Description}

            A recipe is a YAML file that says which model, which data and how to train. The pipeline:

              pretraining (cpt)  →  fine-tuning on conversations (sft)  →  learning from preferences  →  generate and chat with the result

            Preferences: dpo and cpo from pairs of answers, kto and bco from answers judged one by one; orpo from pairs in place of sft.

            Usage:
              handbook COMMAND [arguments]

            Commands:
            """);
        var width = root.Subcommands.Max(command => command.Name.Length);
        foreach (var command in root.Subcommands.Where(command => !command.Hidden))
            output.WriteLine($"  {command.Name.PadRight(width)}  {command.Description?.Split('\n')[0]}");
        output.WriteLine("""

            Examples:
              handbook sft recipes/tiny/sft.yaml                           train; the same command again goes on from the last checkpoint
              handbook sft recipes/tiny/sft.yaml --learning_rate=1e-3      with one key changed
              handbook dpo recipes/tiny/dpo.yaml                           align the result with pairs of answers
              handbook validate recipes/zephyr-7b-beta/sft/config_full.yaml
              handbook explain learning_rate                               what a key means

            `handbook COMMAND --help` tells more about each; `handbook --version` prints the version.
            Exit codes: 0 done, 2 something you can fix, 3 a plan that does not fit, 4 a run that is not what it was, 1 a bug of ours, 130 interrupted after saving.
            """);
    }
}
