using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook bco RECIPE [--key=value]…</c></summary>
internal static class BcoCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Bco, "bco", "Align a model with answers that are good or bad by themselves (BCO), or resume from the last checkpoint");
}
