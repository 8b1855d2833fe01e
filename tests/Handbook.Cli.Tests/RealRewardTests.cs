using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>Reward modelling of a real model on 2,000 real pairs: it tells answers apart that it has not seen.</summary>
[Trait("needs", "shared"), Trait("speed", "slow")]
public sealed class RealRewardTests
{
    [Fact]
    public void Held_out_accuracy_is_above_chance_by_three_standard_errors()
    {
        var model = SharedFiles.Need("models", "tinystories-656k");
        var data = SharedFiles.Need("data", "hh-rlhf");
        using var handbook = new HandbookProcess();
        // Pairs about helpfulness, of which those to be scored come from another part of the collection.
        handbook.Write("reward.yaml", $"""
            model_name_or_path: {model}
            dataset_mixture:
              datasets:
              - id: {data}
                split: train[2062:4062]
            max_length: 640
            center_rewards_coefficient: 0.01
            learning_rate: 1.0e-3
            lr_scheduler_type: cosine
            warmup_ratio: 0.1
            num_train_epochs: 1
            per_device_train_batch_size: 32
            logging_steps: 10
            save_strategy: "no"
            seed: 17
            output_dir: rm
            """);

        SmallModel.Succeed(handbook.Run(["reward", "reward.yaml"], TimeSpan.FromMinutes(20)));
        SmallModel.Succeed(handbook.Run(["score", "rm", data, "--split", "train[4166:5915]", "--max-length", "640", "-o", "scores.jsonl"],
            TimeSpan.FromMinutes(10)));

        var pairs = File.ReadLines(Path.Combine(handbook.Folder, "scores.jsonl")).Select(line => JsonNode.Parse(line)!)
            .Where(row => row["score_chosen"] is not null).ToArray();
        var right = pairs.Count(row => (double)row["score_chosen"]! > (double)row["score_rejected"]!);
        Assert.True(pairs.Length > 1000, $"{pairs.Length} pairs");
        var accuracy = (double)right / pairs.Length;
        Assert.True(accuracy > 0.5 + 3 * Math.Sqrt(0.25 / pairs.Length), $"accuracy {accuracy:f4} on {pairs.Length} pairs");
    }
}
