namespace Handbook.Cli.Tests.Mistakes;

/// <summary>A command, run in this process in another working folder: hundreds of them take the time of few that are started.</summary>
/// <remarks>Folder, streams and environment belong to the process: callers are in the collection of those that run alone.</remarks>
internal static class InProcess
{
    /// <summary>Runs a command to its end.</summary>
    /// <param name="folder">The working folder.</param>
    /// <param name="environment">Variables that hold meanwhile; null removes one.</param>
    /// <param name="words">What stands behind <c>handbook</c>.</param>
    public static Outcome Run(string folder, IReadOnlyDictionary<string, string?> environment, params string[] words)
    {
        using var output = new StringWriter { NewLine = "\n" };
        using var error = new StringWriter { NewLine = "\n" };
        var (here, outBefore, errorBefore) = (Environment.CurrentDirectory, Console.Out, Console.Error);
        var before = environment.Keys.ToDictionary(name => name, Environment.GetEnvironmentVariable);
        try
        {
            Environment.CurrentDirectory = folder;
            Console.SetOut(output);
            Console.SetError(error);
            foreach (var (name, value) in environment)
                Environment.SetEnvironmentVariable(name, value);
            var code = Program.Run(words).GetAwaiter().GetResult();
            return new(code, output.ToString(), error.ToString());
        }
        finally
        {
            foreach (var (name, value) in before)
                Environment.SetEnvironmentVariable(name, value);
            Console.SetOut(outBefore);
            Console.SetError(errorBefore);
            Environment.CurrentDirectory = here;
        }
    }
}
