using System.CommandLine;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Torch;

namespace Handbook.Cli;

/// <summary>The command line: one file per command, and one place for exit codes.</summary>
internal static partial class Program
{
    /// <summary>What the user typed after the command's name, without secrets: files keep it.</summary>
    public static string CommandLine => Secrets.Hide(string.Join(' ', Words));

    /// <summary>What the user typed behind the program's name, word for word.</summary>
    public static IReadOnlyList<string> Words { get; private set; } = [];

    private static async Task<int> Main(string[] args)
    {
        try
        {
            Processor.Apply();
        }
        catch (Exception exception)
        {
            return ExitCode.Of(exception);
        }
        return await Run(args);
    }

    /// <summary>Runs a command in this process.</summary>
    /// <param name="args">What stands behind the program's name.</param>
    /// <returns>The exit code.</returns>
    internal static async Task<int> Run(string[] args)
    {
        Words = args;
        // an argument may begin with @
        var result = Commands.Root().Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
        if (result.Errors.Count > 0)
        {
            if (OldWords.Explain(args) is { } old)
                return ExitCode.BadInput(old);
            if (args.Length > 0 && Commands.Unknown(args[0]) is { } unknown)
                return ExitCode.BadInput(unknown);
        }
        if (StrayOptions.Find(result, args) is { } stray)
            return ExitCode.BadInput(stray);
        if (OutputFile.Folder(result) is { } folder)
            return ExitCode.BadInput(folder);
        if (result.Errors.Count > 0)
        {
            foreach (var error in result.Errors)
                Console.Error.WriteLine($"error: {Plain(error.Message)}");
            Console.Error.WriteLine($"  fix: `{Commands.Path(result)} --help` shows what it takes");
            return ExitCode.UserCanFix;
        }
        try
        {
            return await result.InvokeAsync(new InvocationConfiguration
            {
                EnableDefaultExceptionHandler = false,
                // a checkpoint of a large model takes its time; 2 s would cut it short
                ProcessTerminationTimeout = TimeSpan.FromMinutes(30),
            });
        }
        catch (Exception exception)     // the border of the process: everything becomes a message and a code
        {
            return ExitCode.Of(exception);
        }
    }

    /// <summary>The parser's message of a value that is no number, without names of types.</summary>
    private static string Plain(string message) => NoNumber().Match(message) is { Success: true } match
        ? $"{match.Groups["option"].Value} is {match.Groups["value"].Value}, but must be a "
            + (match.Groups["type"].Value == "Double" ? "number" : "whole number")
        : message;

    [GeneratedRegex(@"\ACannot parse argument '(?<value>.*)' for option '(?<option>[^']+)' as expected type "
        + @"'[^']*System\.(?<type>Double|Int32|Int64)\]?'\.\z")]
    private static partial Regex NoNumber();
}
