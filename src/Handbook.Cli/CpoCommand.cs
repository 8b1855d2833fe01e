using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook cpo RECIPE [--key=value]…</c></summary>
internal static class CpoCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Cpo, "cpo", "Align a model with pairs of answers, without a reference model (CPO, SimPO, AlphaPO), or resume from the last checkpoint");
}
