using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>DPO of a real model on 2,000 real pairs: its own reward tells answers apart that it has not seen.</summary>
[Trait("needs", "shared"), Trait("speed", "slow")]
public sealed class RealPreferenceTests
{
    [Fact]
    public void Held_out_reward_accuracy_is_above_chance_by_three_standard_errors()
    {
        const string Columns = "column_mapping: {prompt: question, chosen: answer_matching_behavior, rejected: "
            + "answer_not_matching_behavior}";
        var model = SharedFiles.Need("models", "tinystories-656k");
        var data = SharedFiles.Need("data", "persona-statements");
        using var handbook = new HandbookProcess();
        handbook.Write("dpo.yaml", $"""
            model_name_or_path: {model}
            dataset_mixture:
              datasets:
              - id: {data}/interest-in-math.jsonl
                {Columns}
              - id: {data}/interest-in-science.jsonl
                {Columns}
              - id: {data}/agreeableness.jsonl
                {Columns}
              test_split_size: 1000
              seed: 1
            max_length: 384
            beta: 0.1
            learning_rate: 5.0e-4
            lr_scheduler_type: cosine
            warmup_ratio: 0.1
            num_train_epochs: 1
            per_device_train_batch_size: 16
            per_device_eval_batch_size: 64
            logging_steps: 10
            eval_strategy: epoch
            save_strategy: "no"
            seed: 17
            output_dir: dpo
            """);

        SmallModel.Succeed(handbook.Run(["dpo", "dpo.yaml"], TimeSpan.FromMinutes(20)));

        var results = JsonNode.Parse(File.ReadAllText(Path.Combine(handbook.Folder, "dpo", "eval_results.json")))!;
        var (accuracy, samples) = ((double)results["eval_rewards/accuracies"]!, (double)results["eval_samples"]!);
        Assert.Equal(1000, samples);
        Assert.True(accuracy > 0.5 + 3 * Math.Sqrt(0.25 / samples), $"accuracy {accuracy:f4} on {samples} pairs");
    }
}
