using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook sft RECIPE [--key=value]…</c></summary>
internal static class SftCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Sft, "sft", "Fine-tune a model on conversations or prompts with answers, or resume from the last checkpoint");
}
