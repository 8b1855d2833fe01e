using Handbook.Base;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;

namespace Handbook.Tests.Migration;

/// <summary>Configurations of Axolotl become recipes, and what has no counterpart is told by its line.</summary>
public sealed class AxolotlTests
{
    private const string Qlora = """
        base_model: org/model
        model_type: AutoModelForCausalLM
        tokenizer_type: AutoTokenizer
        load_in_8bit: false
        load_in_4bit: true
        strict: false
        datasets:
          - path: org/alpaca
            type: alpaca
          - path: data/chats.jsonl
            ds_type: json
            type: chat_template
            field_messages: turns
            shards: 4
        val_set_size: 0.05
        output_dir: ./out
        adapter: qlora
        lora_model_dir:
        sequence_len: 4096
        sample_packing: true
        pad_to_sequence_len: true
        lora_r: 32
        lora_alpha: 16
        lora_dropout: 0.05
        lora_target_linear: true
        wandb_project: mine
        gradient_accumulation_steps: 4
        micro_batch_size: 2
        num_epochs: 4
        optimizer: adamw_bnb_8bit
        lr_scheduler: cosine
        learning_rate: 0.0002
        train_on_inputs: false
        bf16: auto
        tf32: false
        gradient_checkpointing: true
        flash_attention: true
        warmup_steps: 10
        evals_per_epoch: 4
        saves_per_epoch: 1
        weight_decay: 0.1
        special_tokens:
          pad_token: "<pad>"
        frobnicate: 3
        """;

    [Fact]
    public void What_makes_no_good_recipe_is_shown_where_it_stands()
    {
        using var file = new MigrationFile("c.yml", "base_model: m\nrl: grpo\nmicro_batch_size: 1\ndatasets:\n  - path: d\ntrl:\n"
            + "  num_generations: 4\n  reward_funcs: [mine.reward]\n");
        var message = Assert.Throws<InputException>(() => file.Migrate()).Message;
        Assert.Contains("c.yml:7:20: error: num_generations is 4", message);
        Assert.DoesNotContain("reward_funcs", message);
        Assert.DoesNotContain("max_length", message);
    }

    [Fact]
    public void A_fine_tuning_of_an_adapter_keeps_its_settings()
    {
        using var file = new MigrationFile("qlora.yml", Qlora).Migrate();
        var (recipe, training) = (file.Recipe, file.Recipe.Training);

        Assert.Equal((TrainingMethod.Sft, "org/model", 4096, true), (recipe.Method, recipe.Model.ModelNameOrPath, recipe.Data.MaxLength,
            recipe.Data.Packing));
        Assert.Equal((true, true, 32, 16.0), (recipe.Adapter.UsePeft, recipe.Quantisation.LoadIn4Bit, recipe.Adapter.LoraR,
            recipe.Adapter.LoraAlpha));
        Assert.Equal(["all-linear"], recipe.Adapter.LoraTargetModules!);
        Assert.Equal((2, 4, 4.0, 2e-4, 0.1), (training.PerDeviceTrainBatchSize, training.GradientAccumulationSteps, training.NumTrainEpochs,
            training.LearningRate, training.WeightDecay));
        Assert.Equal((OptimizerKind.AdamW8Bit, SchedulerType.Cosine), (training.Optim, training.LrSchedulerType));
        Assert.Equal(10.0, training.WarmupSteps);
        Assert.True(training.Bf16);
        Assert.Equal("<pad>", recipe.Data.PadToken);

        var sets = recipe.Data.DatasetMixture!;
        Assert.Equal(0.05, sets.TestSplitSize);
        Assert.Equal([("org/alpaca", 1.0), ("data/chats.jsonl", 0.25)], sets.Datasets.Select(set => (set.Id, set.Weight)));
        Assert.Equal("turns", sets.Datasets[1].ColumnMapping!["messages"]);
    }

    [Fact] // by hand: 4 times in each of 4 epochs is every sixteenth of the run; once in each of them every fourth
    public void So_many_times_in_an_epoch_becomes_a_share_of_the_run()
    {
        using var file = new MigrationFile("qlora.yml", Qlora).Migrate();
        Assert.Equal((IntervalStrategy.Steps, 1.0 / 16), (file.Recipe.Training.EvalStrategy, file.Recipe.Training.EvalSteps!.Value.Value));
        Assert.Equal(1.0 / 4, file.Recipe.Training.SaveSteps.Value);
    }

    [Fact]
    public void Nothing_is_dropped_silently()
    {
        using var file = new MigrationFile("qlora.yml", Qlora).Migrate();
        Assert.StartsWith("# Made by handbook migrate from qlora.yml (Axolotl).\n#   handbook sft mine.yaml\n", file.Text);
        Assert.Contains("not needed: config.json", file.Left(2));
        Assert.Contains("is always told", file.Left(6));
        Assert.Contains("no batch is ever padded", file.Left(21));
        Assert.Equal(["wandb"], file.Recipe.Training.ReportTo);
        Assert.Contains("exact", file.Left(37));
        Assert.Contains("nothing here has this name", file.Left(44));
        Assert.Contains("# alpaca: its prompts had Alpaca's own headings there", file.Text);
        // every line with a value is a key of the recipe or is told; some are read together with another
        string[] together = ["load_in_8bit", "lora_target_linear", "train_on_inputs", "evals_per_epoch", "saves_per_epoch", "adapter",
            "datasets",
            "val_set_size", "special_tokens"];
        var lines = Qlora.Split('\n');
        for (var i = 0; i < lines.Length; i++)
            if (lines[i] is { Length: > 0 } line && char.IsAsciiLetter(line[0]) && line.Split(':', 2) is [var name, { Length: > 0 } value]
                && !together.Contains(name) && file.Left(i + 1) is null)
                Assert.Contains(Handbook.Recipes.RecipeKeys.Find(name)?.Name ?? s_ours[name], file.Recipe.Sources.Keys);
    }

    private static readonly Dictionary<string, string> s_ours = new()
    {
        ["base_model"] = "model_name_or_path",
        ["sequence_len"] = "max_length",
        ["sample_packing"] = "packing",
        ["micro_batch_size"] = "per_device_train_batch_size",
        ["num_epochs"] = "num_train_epochs",
        ["optimizer"] = "optim",
        ["lr_scheduler"] = "lr_scheduler_type",
    };

    [Theory]
    [InlineData("dpo", "chatml.intel", "dpo", "prompt", "question")]
    [InlineData("ipo", "llama3.argilla", "dpo", "chosen", "chosen_response")]
    [InlineData("simpo", "chatml.icr", "cpo", "prompt", "input")]
    [InlineData("orpo", "chat_template.argilla", "orpo", null, null)]
    [InlineData("kto", "chatml.argilla", "kto", "prompt", "instruction")]
    public void A_preference_method_finds_its_columns(string rl, string type, string method, string? ours, string? theirs)
    {
        using var file = new MigrationFile("c.yml", $"""
            base_model: m
            rl: {rl}
            rl_beta: 0.2
            datasets:
              - path: pairs
                split: train_prefs
                type: {type}
            micro_batch_size: 1
            gradient_accumulation_steps: 8
            learning_rate: 5e-6
            """).Migrate();
        Assert.Equal(method, file.Recipe.MethodName);
        Assert.Equal(0.2, file.Recipe.Preference.Beta);
        var set = Assert.Single(file.Recipe.Data.DatasetMixture!.Datasets);
        Assert.Equal("train_prefs", set.Split);
        Assert.Equal(theirs, ours is null ? null : set.ColumnMapping![ours]);
        Assert.Equal(rl is "ipo" or "simpo" ? rl : null, rl is "ipo" or "simpo" ? Assert.Single(file.Recipe.Preference.LossType!) : null);
        // Axolotl's own defaults, where nothing is said
        Assert.Equal((512, 1.0, SchedulerType.Cosine), (file.Recipe.Data.MaxLength, file.Recipe.Training.NumTrainEpochs,
            file.Recipe.Training.LrSchedulerType));
        Assert.Equal(0.03, file.Recipe.Training.WarmupRatio);
    }

    [Theory]
    [InlineData("type: completion\n    field: body", "cpt")]
    [InlineData("type: sharegpt\n    conversation: chatml", "sft")]
    [InlineData("type: {field_instruction: q, field_output: a, format: '{instruction}'}", "sft")]
    [InlineData("type: input_output", "sft")]
    public void A_data_set_of_each_type_is_read_or_told_of(string type, string method)
    {
        using var file = new MigrationFile("c.yml", $"base_model: m\ndatasets:\n  - path: rows.jsonl\n    {type}\nmicro_batch_size: 1\n"
            + "gradient_accumulation_steps: 1\nlearning_rate: 1e-5\n").Migrate();
        Assert.Equal(method, file.Recipe.MethodName);
        var set = file.Recipe.Data.DatasetMixture!.Datasets[0];
        switch (type.Split('\n')[0])
        {
            case "type: completion":
                Assert.Equal("body", set.ColumnMapping!["text"]);
                break;
            case "type: sharegpt":
                Assert.True(file.Recipe.Sft.AssistantOnlyLoss);
                Assert.Contains("one template renders all rows", file.Left(5));
                break;
            case "type: input_output":
                Assert.Contains("columns of this type are not known here", file.Left(4));
                break;
            default:
                Assert.Equal(("q", "a"), (set.ColumnMapping!["instruction"], set.ColumnMapping["output"]));
                Assert.Contains("chat template says", file.Left(4));
                break;
        }
    }

    [Theory]
    [InlineData("rl: ppo", "rl: ppo has no counterpart here")]
    [InlineData("adapter: llama-adapter", "adapter: llama-adapter has no counterpart here")]
    [InlineData("learning_rate: -1", "learning_rate is -1")]
    public void What_cannot_be_trained_here_is_refused(string line, string message)
    {
        using var file = new MigrationFile("c.yml", $"base_model: m\ndatasets: [{{path: d, type: alpaca}}]\n{line}\n");
        Assert.Contains(message, Assert.Throws<InputException>(() => file.Migrate()).Message);
    }

    [Fact]
    public void A_named_file_of_DeepSpeed_that_is_not_here_gives_its_stage()
    {
        using var file = new MigrationFile("c.yml",
            "base_model: m\ndatasets: [{path: d, type: alpaca}]\ndeepspeed: deepspeed_configs/zero2.json\n"
            + "chat_template: chatml\ncosine_min_lr_ratio: 0.1\nbatch_size: 64\nmicro_batch_size: 4\n").Migrate();
        Assert.Equal(2, file.Recipe.Training.ZeroStage);
        Assert.Contains("<|im_start|>", file.Recipe.Data.ChatTemplate);
        Assert.Equal((16, SchedulerType.CosineWithMinLr), (file.Recipe.Training.GradientAccumulationSteps,
            file.Recipe.Training.LrSchedulerType));
    }
}
