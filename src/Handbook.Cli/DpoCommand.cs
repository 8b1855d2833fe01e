using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook dpo RECIPE [--key=value]…</c></summary>
internal static class DpoCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Dpo, "dpo", "Align a model with pairs of answers (DPO and its family), or resume from the last checkpoint");
}
