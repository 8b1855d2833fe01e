using System.CommandLine;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook reward RECIPE [--key=value]…</c></summary>
internal static class RewardCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.Reward, "reward", "Train a reward model on pairs of answers, or resume from the last checkpoint");
}
