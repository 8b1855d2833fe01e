using System.Reflection;
using Xunit.Runner.InProc.SystemConsole;

namespace Handbook.Testing;

/// <summary>The test program, which is also each rank of the jobs that its tests start.</summary>
internal static class RankProgram
{
    /// <summary>Names the method that a rank runs: <c>Namespace.Class.Method</c>.</summary>
    public const string Variable = "HANDBOOK_TEST_RANK_RUNS";

    public static int Main(string[] args)
    {
        if (Environment.GetEnvironmentVariable(Variable) is not { Length: > 0 } name)
            return ConsoleRunner.Run(args).GetAwaiter().GetResult();
        var dot = name.LastIndexOf('.');
        var method = Assembly.GetExecutingAssembly().GetType(name[..dot])!.GetMethod(name[(dot + 1)..],
            BindingFlags.Static | BindingFlags.NonPublic | BindingFlags.Public)!;
        try
        {
            method.Invoke(null, []);
            return 0;
        }
        catch (TargetInvocationException failure)
        {
            Console.Error.WriteLine(failure.InnerException);
            return 3;
        }
    }
}
