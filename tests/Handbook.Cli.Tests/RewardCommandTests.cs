using System.Text.Json.Nodes;
using Handbook.Training;

namespace Handbook.Cli.Tests;

/// <summary>From a language model to a reward model and the scores it gives, by the commands that users have.</summary>
public sealed class RewardCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    [Fact]
    [Trait("speed", "slow")]
    public void A_reward_model_learns_from_pairs_and_scores_them_as_its_evaluation_did()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("pairs/train.jsonl", Pairs(0, 96));
        _handbook.Write("pairs/test.jsonl", Pairs(1, 24));
        _handbook.Write("reward.yaml", """
            model_name_or_path: model
            dataset_name: pairs
            center_rewards_coefficient: 0.01
            learning_rate: 3.0e-03
            per_device_train_batch_size: 8
            num_train_epochs: 3
            logging_steps: 6
            eval_strategy: epoch
            seed: 17
            output_dir: rm
            """);

        var trained = SmallModel.Succeed(_handbook.Run("reward", "reward.yaml"));
        var scored = SmallModel.Succeed(_handbook.Run("score", "rm", "pairs", "--split", "test", "-o", "scores.jsonl"));

        Assert.Contains("a new one that scores is drawn", trained.Error);
        var log = File.ReadAllLines(Path.Combine(_handbook.Folder, "rm", "metrics.jsonl")).Select(line => JsonNode.Parse(line)!).ToArray();
        var last = log.Last(entry => entry["eval_accuracy"] is not null);
        Assert.Equal(1, (double)last["eval_accuracy"]!);        // the right answer says "sun", the wrong one "moon"
        var rows = File.ReadAllLines(Path.Combine(_handbook.Folder, "scores.jsonl")).Select(line => JsonNode.Parse(line)!).ToArray();
        Assert.Equal(24, rows.Length);
        Assert.All(rows, row => Assert.True((double)row["score_chosen"]! > (double)row["score_rejected"]!));
        // the evaluation packs rows differently: float32 sums differ in their last bits
        Assert.Equal((double)last["eval_margin"]!, rows.Average(row => (double)row["score_chosen"]! - (double)row["score_rejected"]!),
            1e-4);
        Assert.Contains("accuracy 1.0000 (24 of 24 pairs)", scored.Output);
        Assert.Equal("LlamaForSequenceClassification",
            (string?)JsonNode.Parse(File.ReadAllText(Path.Combine(_handbook.Folder, "rm", "config.json")))!["architectures"]![0]);

        // a reward model goes on being one, and is no language model
        Assert.DoesNotContain("new one",
            SmallModel.Succeed(_handbook.Run("reward", "reward.yaml", "--model_name_or_path=rm", "--output_dir=rm2", "--max_steps=1"))
            .Error);
        Assert.Contains("is a reward model",
            Refused("dpo", "reward.yaml", "--model_name_or_path=rm", "--output_dir=other", "--center_rewards_coefficient=null"));
        // what the run would stop for, validate says before it
        _handbook.Write("prompts/train.jsonl", string.Concat(Enumerable.Range(0, 4).Select(i => $"{{\"prompt\": \"one {i}\"}}\n")));
        _handbook.Write("sample.yaml", "model_name_or_path: model\ndataset_name: prompts\nnum_generations: 2\nmax_completion_length: 4\n"
            + "reward_funcs: length\nmax_steps: 1\noutput_dir: sampled\n");
        Assert.Contains("is a reward model", Refused("validate", "reward.yaml", "--method", "dpo", "--model_name_or_path=rm",
            "--output_dir=other", "--center_rewards_coefficient=null"));
        Assert.Contains("ref_model_name_or_path: ", Refused("validate", "reward.yaml", "--method", "dpo", "--ref_model_name_or_path=rm",
            "--output_dir=other", "--center_rewards_coefficient=null"));
        Assert.Contains("has no head that scores texts", Refused("validate", "sample.yaml", "--method", "rejection-sample",
            "--reward_funcs=reward_model", "--reward_model_name_or_path=model"));
        Assert.Contains("is a reward model", Refused("rejection-sample", "sample.yaml", "--model_name_or_path=rm"));
        Assert.Empty(Directory.Exists(Path.Combine(_handbook.Folder, "sampled"))
            ? Directory.GetFileSystemEntries(Path.Combine(_handbook.Folder, "sampled")) : []);
        var older = _handbook.Write("sampled/samples.jsonl", "{}\n");
        Assert.Contains("is a reward model", Refused("rejection-sample", "sample.yaml", "--model_name_or_path=rm", "--fresh=true"));
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, older)));
        Assert.Contains("cannot predict tokens", Refused("generate", "rm", "hello"));
        Assert.Contains("handbook reward RECIPE --model_name_or_path=model", Refused("score", "model", "pairs"));
        Assert.Contains("--column completion=answer",
            Refused("score", "rm", _handbook.Write("other.jsonl", "{\"question\": \"a\", \"answer\": \"b\"}\n")));
    }

    [Fact] // even before the model is looked for
    public void A_second_run_that_writes_the_same_scores_is_kept_out_at_once()
    {
        var file = Path.Combine(_handbook.Folder, "scores.jsonl");
        using (RunLock.TakeFile(file, "--output"))
            Assert.Contains($"--output {file} is in use by another run", Refused("score", "nowhere", "pairs", "-o", "scores.jsonl"));
        Assert.DoesNotContain("in use", Refused("score", "nowhere", "pairs", "-o", "scores.jsonl"));
        Assert.Empty(Directory.GetFiles(_handbook.Folder, "scores.jsonl*"));
    }

    private string Refused(params string[] words)
    {
        var outcome = _handbook.Run(words);
        Assert.True(outcome.Code == 2, $"exit code {outcome.Code}: {outcome.Error}");
        return outcome.Error;
    }

    private static string Pairs(int seed, int count)
    {
        var random = new Random(seed);
        return string.Concat(Enumerable.Range(0, count).Select(_ =>
        {
            var number = random.Next(50);
            return new JsonObject
            {
                ["prompt"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = $"one two {number}" }),
                ["chosen"] = new JsonArray(new JsonObject { ["role"] = "assistant", ["content"] = $"the sun {number}" }),
                ["rejected"] = new JsonArray(new JsonObject { ["role"] = "assistant", ["content"] = $"the moon {number}" }),
            }.ToJsonString() + "\n";
        }));
    }

    public void Dispose() => _handbook.Dispose();
}
