using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook grpo RECIPE [--key=value]…</c></summary>
internal static class GrpoCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Grpo, "grpo", "Train a model on its own answers: those that score above their group become likelier");
}
