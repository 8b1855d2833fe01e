using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook orpo RECIPE [--key=value]…</c></summary>
internal static class OrpoCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Orpo, "orpo", "Fine-tune and align in one stage, without a reference model (ORPO), or resume from the last checkpoint");
}
