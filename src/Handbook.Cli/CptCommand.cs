using System.CommandLine;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook cpt RECIPE [--key=value]…</c></summary>
internal static class CptCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Cpt, "cpt", "Continue pretraining a model on plain text, or resume from the last checkpoint", Train);

    private static int Train(Recipe recipe, CancellationToken cancel) =>
        throw new InputException("this version checks recipes, but cannot train yet");
}
