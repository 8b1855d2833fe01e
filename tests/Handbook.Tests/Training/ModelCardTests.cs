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

    private static readonly ModelCard Adapter = Card with
    {
        Name = "dpo",
        Folder = "runs/dpo",
        BaseModel = "org/sft-adapter",
        Method = "dpo",
        Adapter = new()
        {
            Description = "LoRA of rank 8 on 14 layers",
            Config = new() { Rank = 8, Alpha = 16, Dropout = 0.05 },
            Targets = ["q_proj", "v_proj"],
            TrainedOn = new([new("org/base", Hash('1')), new("org/sft-adapter", Hash('2'))]) { Quantised = "nf4" },
        },
    };

    private static string Hash(char digit) => new(digit, 64);

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

    [Fact]
    public void The_card_of_an_adapter_says_what_it_lies_on_and_how_it_is_loaded()
    {
        var text = Adapter.ToMarkdown(State);
        Assert.Contains("base_model: org/sft-adapter\n", text, StringComparison.Ordinal);
        Assert.Contains("library_name: peft\n", text, StringComparison.Ordinal);
        Assert.Contains("- dpo\n- lora\n- \"base_model:adapter:org/sft-adapter\"\n- mine\n", text, StringComparison.Ordinal);
        Assert.Contains("This model is [org/sft-adapter](https://huggingface.co/org/sft-adapter), fine-tuned with an adapter on", text, StringComparison.Ordinal);
        Assert.Contains($"| org/base | `{Hash('1')}` |\n| org/sft-adapter | `{Hash('2')}` |\n", text, StringComparison.Ordinal);
        Assert.Contains("LoRA of rank 8 on 14 layers. Layers: q_proj, v_proj; α 16.0, dropout 0.05.\n", text, StringComparison.Ordinal);
        Assert.Contains("kept as codes: nf4 (`load_in_4bit=True, bnb_4bit_quant_type=\"nf4\", bnb_4bit_use_double_quant=False` in Python)",
            text,
            StringComparison.Ordinal);
        Assert.Contains("./handbook chat runs/dpo\n./handbook merge runs/dpo --out runs/dpo-merged\n", text, StringComparison.Ordinal);
        Assert.Contains("""
            model = AutoModelForCausalLM.from_pretrained("org/base", dtype="auto")
            model = PeftModel.from_pretrained(model, "org/sft-adapter").merge_and_unload()
            model = PeftModel.from_pretrained(model, "runs/dpo")
            generator = pipeline("text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained("runs/dpo"))
            question =
            """, text, StringComparison.Ordinal);
    }

    [Fact]
    public void The_card_of_a_reward_adapter_loads_a_model_that_scores()
    {
        var text = (Adapter with { Method = "reward" }).ToMarkdown(State);
        Assert.Contains("pipeline_tag: text-classification\n", text, StringComparison.Ordinal);
        Assert.Contains("./handbook score runs/dpo DATA -o scores.jsonl\n./handbook merge runs/dpo --out", text, StringComparison.Ordinal);
        Assert.Contains("model = AutoModelForSequenceClassification.from_pretrained(\"org/base\", dtype=\"auto\", num_labels=1)\n", text,
            StringComparison.Ordinal);
        Assert.Contains("\"runs/dpo\")\nturns = [", text, StringComparison.Ordinal);
    }

    [Fact] // nobody else has the path of a machine
    public void An_adapter_of_a_local_model_names_it_in_no_tag()
    {
        var text = (Adapter with { LocalPaths = ["org/sft-adapter"] }).ToMarkdown(State);
        Assert.DoesNotContain("base_model:", text, StringComparison.Ordinal);
        Assert.Contains("- lora\n", text, StringComparison.Ordinal);
    }

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
    public void A_licence_without_a_name_on_the_hub_has_its_own_name_and_link() => Assert.StartsWith(
        "---\nlicense: other\nlicense_name: gemma\nlicense_link: \"https://ai.google.dev/gemma/terms\"\nbase_model:",
        (Card with { License = "other", OtherLicense = ("gemma", "https://ai.google.dev/gemma/terms") }).ToMarkdown(State),
            StringComparison.Ordinal);

    [Fact]
    public void What_it_was_made_from_is_listed_where_more_is_known_than_the_base()
    {
        var base1 = new CardAncestor("HuggingFaceTB/SmolLM2-135M", null);
        Assert.DoesNotContain("Where it comes from", (Card with { Chain = [base1] }).ToMarkdown(State), StringComparison.Ordinal);
        Assert.Contains("""
            ## Where it comes from

            | model | made with |
            | --- | --- |
            | [HuggingFaceTB/SmolLM2-135M](https://huggingface.co/HuggingFaceTB/SmolLM2-135M) |  |
            | runs/cpt | cpt |
            | **tiny-sft** | sft |
            """, (Card with { Chain = [base1, new("runs/cpt", "cpt")], LocalPaths = ["runs/cpt"] }).ToMarkdown(State),
            StringComparison.Ordinal);
    }

    [Fact]
    public void The_picture_of_the_loss_and_the_keys_of_the_method_stand_with_the_results()
    {
        var text = (Card with { Plot = "loss.png", Hyperparameters = Card.Hyperparameters with { Others = [("beta", "0.1")] } })
            .ToMarkdown(State);
        Assert.Contains("- mixed_precision_training: bf16 compute, f32 master weights\n- beta: 0.1\n\n", text, StringComparison.Ordinal);
        Assert.Contains("](loss.png)\n\n### Framework versions", text, StringComparison.Ordinal);
        Assert.DoesNotContain("loss.png", Card.ToMarkdown(State), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dpo", "introduced in [Direct Preference Optimization: Your Language",
        "@article{rafailov2023direct,\n    title = {Direct Preference Optimization: Your")]
    [InlineData("kto", "introduced in [KTO: Model Alignment as Prospect Theoretic Optimization](https://arxiv.org/abs/2402.01306)",
        "eprint = {arXiv:2402.01306},\n}")]
    [InlineData("grpo", "introduced in [DeepSeekMath: Pushing the Limits", "and Daya Guo},\n    year = 2024,")]
    public void A_method_is_cited_by_its_paper(string method, string said, string cited)
    {
        var text = (Card with { Method = method }).ToMarkdown(State);
        Assert.Contains(said, text, StringComparison.Ordinal);
        Assert.Contains(cited, text, StringComparison.Ordinal);
        Assert.Contains("@software{tunstall_alignment_handbook,", text, StringComparison.Ordinal);
    }

    [Fact]
    public void A_name_that_YAML_would_misread_is_quoted()
    {
        var text = (Card with { Name = "3.5", License = "null" }).ToMarkdown(State);
        Assert.Contains("model_name: \"3.5\"\n", text, StringComparison.Ordinal);
        Assert.Contains("license: \"null\"\n", text, StringComparison.Ordinal);
    }
}
