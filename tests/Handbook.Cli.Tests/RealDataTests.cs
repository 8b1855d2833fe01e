using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>Continued pretraining and fine-tuning of a real model on real rows of every format: the held-out loss falls.</summary>
[Trait("needs", "shared")]
public sealed class RealDataTests
{
    public static TheoryData<string, string, string, string> Sources() => new()
    {
        { "cpt", "tinystories/train.txt", "train", "" },
        { "sft", "gsm8k/train.jsonl", "train", "{prompt: question, completion: answer}" },
        { "sft", "format-parquet", "test", "" },
        { "cpt", "format-arrow", "validation", "{text: sentence}" },
        { "cpt", "dutch-text/train.jsonl.gz", "train", "" },
    };

    [Theory, MemberData(nameof(Sources))]
    [Trait("speed", "slow")]
    public void The_held_out_loss_falls(string command, string source, string split, string columns)
    {
        var model = SharedFiles.Need("models", "tinystories-656k");
        var data = SharedFiles.Need("data", source);
        using var handbook = new HandbookProcess();
        handbook.Write("recipe.yaml", $"""
            model_name_or_path: {model}
            dataset_mixture:
              datasets:
              - id: {data}
                split: {split}[:96]
                {(columns.Length > 0 ? $"column_mapping: {columns}" : "weight: 1.0")}
              test_split_size: 0.25
              seed: 1
            max_length: 192
            learning_rate: 1.0e-3
            per_device_train_batch_size: 8
            max_steps: 8
            logging_steps: 1
            eval_strategy: steps
            eval_steps: 8
            eval_on_start: true
            save_strategy: "no"
            output_dir: run
            """);
        var outcome = handbook.Run([command, "recipe.yaml"], TimeSpan.FromMinutes(5),
            new Dictionary<string, string> { ["HANDBOOK_CACHE"] = Path.Combine(handbook.Folder, "cache") });
        Assert.True(outcome.Code == 0, $"exit code {outcome.Code}: {outcome.Error}");
        var entries = File.ReadLines(Path.Combine(handbook.Folder, "run", "metrics.jsonl")).Select(line => JsonNode.Parse(line)!.AsObject())
            .ToArray();
        var losses = entries.Where(e => e.ContainsKey("eval_loss")).Select(e => e["eval_loss"]!.GetValue<double>()).ToArray();
        Assert.Equal(2, losses.Length);
        Assert.True(losses[1] < losses[0] - 0.02, $"eval_loss {losses[0]:f4} → {losses[1]:f4}");
        Assert.True(File.Exists(Path.Combine(handbook.Folder, "run", "model.safetensors")));
    }
}
