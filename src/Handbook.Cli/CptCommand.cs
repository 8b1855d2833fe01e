using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook cpt RECIPE [--key=value]…</c></summary>
internal static class CptCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Cpt, "cpt", "Continue pretraining a model on plain text, or resume from the last checkpoint");
}
