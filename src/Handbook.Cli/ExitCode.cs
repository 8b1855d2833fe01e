using Handbook.Base;
using Handbook.Torch;
using Handbook.Training.Distributed;

namespace Handbook.Cli;

/// <summary>What the command line returns, and how it says why.</summary>
internal static class ExitCode
{
    /// <summary>Done.</summary>
    public const int Ok = 0;

    /// <summary>Ours to fix: message and stack trace.</summary>
    public const int Failure = 1;

    /// <summary>The user can fix it: message only.</summary>
    public const int UserCanFix = 2;

    /// <summary>What was planned needs more memory than there is.</summary>
    public const int DoesNotFit = 3;

    /// <summary>What was compared is not the same.</summary>
    public const int Differs = 4;

    /// <summary>Stopped by a signal, after saving.</summary>
    public const int Interrupted = 130;

    /// <summary>Prints every problem of a recipe; nothing was started.</summary>
    public static int BadInput(Diagnostics diagnostics)
    {
        Console.Error.Write(diagnostics.ToString());
        return UserCanFix;
    }

    /// <summary>Prints what is wrong, why, and what to type next.</summary>
    public static int BadInput(InputException problem)
    {
        Console.Error.WriteLine($"error: {problem.Message}");
        return UserCanFix;
    }

    /// <summary>Turns whatever a command threw into a message and an exit code.</summary>
    public static int Of(Exception exception)
    {
        switch (exception)
        {
            case InputException problem:
                return BadInput(problem);
            case RankFailedException other:
                Console.Error.WriteLine($"error: {other.Message}");
                return other.CanFix ? UserCanFix : Failure;
            case OperationCanceledException:
                return Interrupted;
            case TypeInitializationException or AggregateException or System.Reflection.TargetInvocationException when exception.InnerException is { } inner:
                return Of(inner);
            case not null when OutOfMemory.In(exception) is { } full:
                Console.Error.WriteLine($"error: {full.Message}");
                if (full.Advice.Length > 0)         // which is in words of recipes
                    Console.Error.WriteLine("  fix: --dtype bfloat16 needs less, and --use-cpu computes on the CPU; nvidia-smi shows who else uses "
                        + "the card");
                return DoesNotFit;
            case not null when FileProblem.Explain(exception) is { } explained:
                return BadInput(explained);
            default:
                Console.Error.WriteLine($"internal error: {exception}");
                Console.Error.WriteLine("This is a bug in the handbook. Please report it with the lines above, the command, and the "
                    + "recipe (`recipe.yaml` in the run folder).");
                return Failure;
        }
    }
}
