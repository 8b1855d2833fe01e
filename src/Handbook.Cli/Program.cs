using System.CommandLine;

namespace Handbook.Cli;

internal static class Program
{
    private static int Main(string[] args) => new RootCommand("The Alignment Handbook for .NET").Parse(args).Invoke();
}
