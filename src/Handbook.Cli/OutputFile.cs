using System.CommandLine;
using System.CommandLine.Parsing;
using Handbook.Base;

namespace Handbook.Cli;

/// <summary>A file that a command reads or writes.</summary>
internal static class OutputFile
{
    /// <summary>The first option that takes a file, by its help, and names a folder; null where there is none. It is told before anything
    /// is done, for every command alike.</summary>
    public static InputException? Folder(ParseResult result) => result.CommandResult.Children.OfType<OptionResult>()
        .Where(given => given.Option.HelpName is { } help && help.Split('.')[0] == "FILE")
        .SelectMany(given => given.Tokens, (given, token) => (Name: given.IdentifierToken?.Value ?? given.Option.Name, token.Value))
        .FirstOrDefault(given => Directory.Exists(given.Value)) is { Name: not null } found
        ? new($"{found.Name} {found.Value} is a folder, and a file is wanted", fix: $"name a file, e.g. {found.Name} "
            + Path.Combine(found.Value, $"{found.Name.TrimStart('-')}.{Ending(result, found.Name)}")) : null;

    private static string Ending(ParseResult result, string name) => result.CommandResult.Command.Options
        .FirstOrDefault(option => option.Name == name || option.Aliases.Contains(name))?.HelpName?.Split('.') is [_, var ending] ? ending : "txt";

    /// <summary>Makes sure that writing replaces nothing that is read.</summary>
    /// <param name="option">The option that names it, for the message.</param>
    /// <param name="output">The file; null writes none.</param>
    /// <param name="inputs">The files that the command reads.</param>
    /// <param name="what">What they hold, for the message.</param>
    public static void MustNotReplace(string option, string? output, IEnumerable<string> inputs, string what)
    {
        if (output is not null && inputs.Any(input => RealPath.Of(input) == RealPath.Of(output)))
            throw new InputException($"{option} names {output}, the file {what}",
                why: "it would be replaced, and what is not written again would be lost", fix: "name another file");
    }

    /// <summary>Makes sure that a file which people go on writing in is not lost.</summary>
    /// <param name="option">The option that names it, for the message.</param>
    /// <param name="output">The file; null writes none.</param>
    /// <param name="force">Whether it may be replaced.</param>
    public static void MustBeNew(string option, string? output, bool force)
    {
        if (output is not null && !force && File.Exists(output))
            throw new InputException($"{option} {output} is there already", fix: "choose another name, or add --force to replace it");
    }

    /// <summary>Makes sure that what a command makes again from the same words replaces what an earlier one wrote, and nothing
    /// else.</summary>
    /// <param name="option">The option that names it, for the message.</param>
    /// <param name="output">The file; null writes none.</param>
    /// <param name="kind">What it is, for the message.</param>
    /// <param name="opening">How files of this kind begin.</param>
    public static void MustBeOfKind(string option, string? output, string kind, string opening)
    {
        if (output is null || !File.Exists(output))
            return;
        using var reader = new StreamReader(output);
        var old = new char[opening.Length];
        var read = reader.ReadBlock(old);
        // an empty file holds nothing that could be lost
        if (read > 0 && !opening.AsSpan().SequenceEqual(old.AsSpan(0, read)))
            throw new InputException($"{option} {output} is there already, and it is no {kind} of an earlier command",
                why: "it would be lost", fix: "name another file, or remove that one");
    }
}
