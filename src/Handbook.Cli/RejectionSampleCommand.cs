using System.CommandLine;
using Handbook.Runs;
using Handbook.Training.Methods;

namespace Handbook.Cli;

/// <summary><c>handbook rejection-sample RECIPE [--key=value]…</c></summary>
internal static class RejectionSampleCommand
{
    public static Command Create() => TrainCommand.Create(TrainingMethod.RejectionSample, "rejection-sample", """
        Sample answers, score them, keep the best, and train on these: from prompts to a new model

        Each prompt of the recipe's data gets num_generations answers, from the model itself or from an OpenAI-compatible endpoint (sample_base_url).
        Every answer is scored by reward_funcs: exact_match or number_match with a column of right answers, a regex, a unit_test, a judge on an
        endpoint, a reward_model. select keeps the best_of_n, the top_k, all that reach a threshold, or best_vs_worst as preference pairs; then sft or
        dpo trains on them. rounds: k does it again with the new model. The recipe's training keys are those of `handbook sft` and `handbook dpo`.

        The same command goes on where it was stopped: nothing is sampled or scored twice. output_dir gets the new model, samples.jsonl (every answer
        with its scores, and why it was used or not) and summary.json.

        Examples:
          handbook rejection-sample recipes/tiny/rejection-sample.yaml
          handbook rejection-sample recipes/tiny/rejection-sample.yaml --rounds=2 --num_generations=16
          handbook rejection-sample recipes/tiny/rejection-sample.yaml --select=best_vs_worst       pairs, and dpo on them
          handbook rejection-sample recipes/tiny/rejection-sample.yaml --train_method=none          only the data
          handbook explain reward_funcs select
        """, (recipe, observer, commandLine, cancel) => RejectionRun.Run(recipe, observer, commandLine, cancel).End);
}
