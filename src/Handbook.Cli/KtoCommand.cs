using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook kto RECIPE [--key=value]…</c></summary>
internal static class KtoCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Kto, "kto", "Align a model with answers that are good or bad by themselves (KTO), or resume from the last checkpoint");
}
