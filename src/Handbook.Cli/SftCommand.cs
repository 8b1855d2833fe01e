using System.CommandLine;
using Handbook.Recipes;

namespace Handbook.Cli;

/// <summary><c>handbook sft RECIPE [--key=value]…</c></summary>
internal static class SftCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Sft, "sft", "Fine-tune a model on conversations or prompts with answers, or resume from the last checkpoint", Train);

    private static int Train(Recipe recipe, CancellationToken cancel) =>
        throw new InputException("this version checks recipes, but cannot train yet");
}
