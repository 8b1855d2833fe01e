using Handbook.Base;

namespace Handbook.Cli;

/// <summary>A file that a command writes.</summary>
internal static class OutputFile
{
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
}
