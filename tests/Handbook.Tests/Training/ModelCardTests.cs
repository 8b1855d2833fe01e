using Handbook.Runs;
using Handbook.Training.Metrics;

namespace Handbook.Tests.Training;

public sealed class ModelCardTests
{
    private static readonly ModelCard Card = new()
    {
        Name = "tiny-sft",
        BaseModel = "HuggingFaceTB/SmolLM2-135M",
        License = "apache-2.0",
        Method = "sft",
        Datasets = ["HuggingFaceH4/ultrachat_200k", "data/own.jsonl"],
        Tags = ["mine", "sft"],
        Hyperparameters = new()
        {
            LearningRate = 2e-5,
            TrainBatchSize = 8,
            EvalBatchSize = 4,
            Seed = 42,
            GradientAccumulationSteps = 2,
            Optimizer = "RMSprop (rmsprop) with alpha=0.99, epsilon=1e-08",
            Scheduler = "cosine",
            WarmupRatio = 0.1,
            Epochs = 1,
            MixedPrecision = "bf16 compute, f32 master weights",
        },
        Evaluation = new MetricSet { ["eval_loss"] = 1.23456, ["eval_mean_token_accuracy"] = 0.5, ["eval_samples"] = 100 },
        Versions = new Dictionary<string, string> { ["libtorch"] = "1.13.1" },
    };

    private static readonly TrainerState State = new()
    {
        LogHistory =
        {
            new MetricSet { ["loss"] = 2.5, ["step"] = 10, ["epoch"] = 0.5 },
            new MetricSet { ["eval_loss"] = 2.25, ["eval_runtime"] = 3.5, ["eval_mean_token_accuracy"] = 0.4, ["step"] = 10,
                ["epoch"] = 0.5 },
            new MetricSet { ["loss"] = 1.5, ["step"] = 20, ["epoch"] = 1.0 },
            new MetricSet { ["eval_loss"] = 1.23456, ["eval_runtime"] = 3.5, ["eval_mean_token_accuracy"] = 0.5, ["step"] = 20,
                ["epoch"] = 1.0 },
        },
    };

    [Fact]
    public void The_header_is_what_a_hub_reads() => Assert.StartsWith("""
        ---
        license: apache-2.0
        base_model: HuggingFaceTB/SmolLM2-135M
        datasets:
        - HuggingFaceH4/ultrachat_200k
        - data/own.jsonl
        library_name: transformers
        pipeline_tag: text-generation
        model_name: tiny-sft
        tags:
        - alignment-handbook
        - generated_from_trainer
        - sft
        - mine
        model-index:
        - name: tiny-sft
          results: []
        ---

        # tiny-sft

        This model is a fine-tuned version of [HuggingFaceTB/SmolLM2-135M](https://huggingface.co/HuggingFaceTB/SmolLM2-135M) on
        """, Card.ToMarkdown(State), StringComparison.Ordinal);

    [Fact] // the original always said Adam
    public void The_optimizer_is_the_one_that_stepped() =>
        Assert.Contains("\n- optimizer: RMSprop (rmsprop) with alpha=0.99, epsilon=1e-08\n", Card.ToMarkdown(State),
            StringComparison.Ordinal);

    [Theory]
    [InlineData("- learning_rate: 2e-05\n- train_batch_size: 8\n- eval_batch_size: 4\n- seed: 42\n")]
    [InlineData("- total_train_batch_size: 16\n")]
    [InlineData("- lr_scheduler_type: cosine\n- lr_scheduler_warmup_ratio: 0.1\n- num_epochs: 1\n")]
    [InlineData("- Loss: 1.2346\n- Mean Token Accuracy: 0.5\n- Samples: 100\n")]
    [InlineData("- libtorch 1.13.1\n")]
    [InlineData("[{\"role\": \"user\", \"content\": question}]")]
    public void Its_facts_are_those_of_the_run(string fact) => Assert.Contains(fact, Card.ToMarkdown(State), StringComparison.Ordinal);

    [Fact]
    public void The_table_has_a_row_for_each_evaluation() => Assert.Contains("""
        | Training Loss | Epoch | Step | Validation Loss | Mean Token Accuracy |
        |:-------------:|:-----:|:----:|:---------------:|:-------------------:|
        | 2.5           | 0.5   | 10   | 2.25            | 0.4                 |
        | 1.5           | 1.0   | 20   | 1.2346          | 0.5                 |
        """, Card.ToMarkdown(State), StringComparison.Ordinal);

    [Fact]
    public void A_name_that_YAML_would_misread_is_quoted()
    {
        var text = (Card with { Name = "3.5", License = "null" }).ToMarkdown(State);
        Assert.Contains("model_name: \"3.5\"\n", text, StringComparison.Ordinal);
        Assert.Contains("license: \"null\"\n", text, StringComparison.Ordinal);
    }
}
