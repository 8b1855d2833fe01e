using System.CommandLine;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Cli;

/// <summary>Words that look like options of a command and are none. The parser would take them for files and names, or for further values
/// of the option before them.</summary>
internal static partial class StrayOptions
{
    private const string Short = "--out";
    private const string Long = "--output";

    /// <summary>The first of them; null where there is none, or where the command reads keys of recipes among its words.</summary>
    /// <param name="result">What the parser made of the words.</param>
    /// <param name="words">What stands behind the program's name.</param>
    public static InputException? Find(ParseResult result, IReadOnlyList<string> words)
    {
        var command = result.CommandResult.Command;
        if (!command.TreatUnmatchedTokensAsErrors
            || command.Arguments.Any(argument => argument.Name is RecipeWords.Name or ExplainCommand.Keys))
            return null;
        string[] known = [.. Names(result)];
        var stray = words.TakeWhile(word => word != "--").Where(word => Looks().IsMatch(word)).Select(word => word.Split('=')[0])
            .FirstOrDefault(word => !known.Contains(word));
        if (stray is null)
            return null;
        var path = Commands.Path(result);
        var near = Spelling.Nearest(stray, known.Where(name => name.StartsWith("--", StringComparison.Ordinal)));
        return new($"{stray} is no option of `{path}`",
            fix: $"{(near is null ? "" : $"did you mean {near}? ")}`{path} --help` lists them; a value that begins with -- is written "
                + "behind its option and =, or behind a lone --");
    }

    /// <summary>Lets every command below one take <c>--out</c> and <c>--output</c> for the same.</summary>
    public static void Pair(Command command)
    {
        foreach (var option in command.Options)
            if (Spellings(option).Contains(Short) != Spellings(option).Contains(Long))
                option.Aliases.Add(Spellings(option).Contains(Short) ? Long : Short);
        foreach (var inner in command.Subcommands)
            Pair(inner);
    }

    private static IEnumerable<string> Names(ParseResult result)
    {
        for (System.CommandLine.Parsing.SymbolResult? at = result.CommandResult; at is System.CommandLine.Parsing.CommandResult command;
            at = at.Parent)
            foreach (var name in command.Command.Options.Where(option => option.Recursive || command == result.CommandResult)
                .SelectMany(Spellings))
                yield return name;
    }

    private static IEnumerable<string> Spellings(Option option) => option.Aliases.Prepend(option.Name);

    [GeneratedRegex(@"\A--[A-Za-z][\w-]*(?:=.*)?\z", RegexOptions.Singleline)]
    private static partial Regex Looks();
}
