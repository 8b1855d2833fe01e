using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Tests.Recipes;

public sealed class RecipeTests
{
    [Fact]
    public void A_data_set_without_configurations_has_an_empty_place_among_those_of_others()
    {
        const string recipe = "model_name_or_path: m\ndataset_mixer: {a: 1.0, b: 1.0}\ndataset_configs: [null, en]\n";
        Assert.Equal([null, "en"], RecipeFile.Load(recipe).Mixture.Datasets.Select(set => set.Config));
        Assert.Equal([null, "en"], RecipeFile.Load(RecipeFile.Load(recipe).ToYaml()).Mixture.Datasets.Select(set => set.Config));
        Assert.Contains("error: report_to has an empty entry", RecipeFile.Said(RecipeFile.Good + "report_to: [~, csv]\n"));
    }

    [Fact]
    public void A_recipe_of_the_older_handbook_loads_unchanged()
    {
        var recipe = RecipeFile.Load("""
            # Model arguments
            model_name_or_path: mistralai/Mistral-7B-v0.1
            model_revision: main
            torch_dtype: bfloat16
            use_flash_attention_2: true
            chat_template: "{% for m in messages %}{{ m.content }}{% endfor %}"
            dataset_mixer:
              HuggingFaceH4/ultrachat_200k: 1.0
              local/set.v2: 0.25
            dataset_splits:
            - train_sft
            - test_sft
            preprocessing_num_workers: 12
            bf16: true
            do_eval: true
            evaluation_strategy: epoch
            gradient_accumulation_steps: 1
            gradient_checkpointing: true
            gradient_checkpointing_kwargs:
              use_reentrant: False
            hub_model_id: zephyr-7b-sft-full
            hub_strategy: every_save
            learning_rate: 2.0e-05
            log_level: info
            logging_steps: 5
            logging_strategy: steps
            lr_scheduler_type: cosine
            max_seq_length: 2048
            max_steps: -1
            num_train_epochs: 1
            output_dir: data/zephyr-7b-sft-full
            overwrite_output_dir: true
            per_device_eval_batch_size: 8
            per_device_train_batch_size: 16
            push_to_hub: true
            remove_unused_columns: true
            report_to:
            - tensorboard
            save_strategy: "steps"
            save_steps: 100
            save_total_limit: 1
            seed: 42
            warmup_ratio: 0.1
            """);
        Assert.Equal(RecipeDialect.Mixer, recipe.Dialect);
        Assert.True(recipe.Data.Packing);
        Assert.Equal(PackingStrategy.Wrapped, recipe.Data.PackingStrategy);
        Assert.Equal(2048, recipe.Data.MaxLength);
        Assert.Equal(12, recipe.Data.DatasetNumProc);
        Assert.Equal(WeightType.BFloat16, recipe.Model.TorchDtype);
        Assert.Equal(IntervalStrategy.Epoch, recipe.Training.EvalStrategy);
        Assert.Equal(SchedulerType.Cosine, recipe.Training.LrSchedulerType);
        Assert.Equal(new StepInterval(100), recipe.Training.SaveSteps);
        Assert.True(recipe.Training.LoggingFirstStep);
        Assert.Equal(MixtureDialect.Mixer, recipe.Mixture.Dialect);
        Assert.Equal(["HuggingFaceH4/ultrachat_200k", "local/set.v2"], recipe.Mixture.Datasets.Select(set => set.Id));
        Assert.Equal([1.0, 0.25], recipe.Mixture.Datasets.Select(set => set.Weight));
        Assert.Equal(["train_sft", "test_sft"], recipe.Mixture.Splits);
        Assert.Equal(42, recipe.Mixture.Seed);
    }

    [Fact]
    public void A_recipe_of_the_newer_handbook_loads_unchanged()
    {
        var recipe = RecipeFile.Load("""
            model_name_or_path: HuggingFaceTB/SmolLM3-3B-Base
            attn_implementation: flash_attention_2
            trust_remote_code: true
            dataset_mixture:
              datasets:
              - id: HuggingFaceTB/smoltalk2
                config: Mid
                split: OpenThoughts3_1.2M
                columns:
                - messages
                weight: 0.5
              - id: other
                columns: [messages]
              seed: 7
              test_split_size: 0.05
            packing: true
            packing_strategy: ffd
            assistant_only_loss: true
            max_length: 32768
            eos_token: <|im_end|>
            lr_scheduler_type: cosine_with_min_lr
            lr_scheduler_kwargs:
              min_lr_rate: 0.1
            learning_rate: 2e-5
            max_grad_norm: 0.2
            save_steps: 0.05
            use_liger_kernel: true
            report_to: wandb
            env:
              OMP_NUM_THREADS: 2
            """);
        Assert.Equal(RecipeDialect.Mixture, recipe.Dialect);
        Assert.True(recipe.Data.Packing);
        Assert.Equal(PackingStrategy.Bfd, recipe.Data.PackingStrategy);
        Assert.True(recipe.Sft.AssistantOnlyLoss);
        Assert.Equal("<|im_end|>", recipe.Data.EosToken);
        Assert.Equal(2e-5, recipe.Training.LearningRate);
        Assert.Equal(0.1, recipe.Training.LrSchedulerKwargs!["min_lr_rate"]);
        Assert.Equal(50, recipe.Training.SaveSteps.Resolve(1000));
        Assert.Equal("2", recipe.Training.Env!["OMP_NUM_THREADS"]);
        Assert.False(recipe.Training.WritesTensorBoard());
        var first = recipe.Mixture.Datasets[0];
        Assert.Equal(("HuggingFaceTB/smoltalk2", "Mid", "OpenThoughts3_1.2M", 0.5), (first.Id, first.Config, first.Split, first.Weight));
        Assert.Equal(["messages"], first.Columns);
        Assert.Equal(("other", "train", 1.0),
            (recipe.Mixture.Datasets[1].Id, recipe.Mixture.Datasets[1].Split, recipe.Mixture.Datasets[1].Weight));
        Assert.Equal((7, 0.05), (recipe.Mixture.Seed, recipe.Mixture.TestSplitSize));
    }

    [Theory]
    [InlineData("dataset_mixer: {d: 1.0}\ndataset_splits: [train]\n", true)]
    [InlineData("dataset_mixer: {d: 1.0}\ndataset_splits: [train]\npacking: false\n", false)]
    [InlineData("dataset_name: d\n", false)]
    [InlineData("dataset_name: d\npacking: true\n", true)]
    [InlineData("dataset_mixture: {datasets: [{id: d}]}\n", false)]
    public void Packing_depends_on_the_way_the_data_is_named(string data, bool packs) =>
        Assert.Equal(packs, RecipeFile.Load("model_name_or_path: m\n" + data).Data.Packing);

    [Theory] // both versions of YAML, and what Python's parsers took
    [InlineData("learning_rate: 5e-7", 5e-7)]
    [InlineData("learning_rate: 5.0e-7", 5e-7)]
    [InlineData("learning_rate: \"5e-7\"", 5e-7)]
    [InlineData("learning_rate: .5", 0.5)]
    [InlineData("learning_rate: 1", 1.0)]
    public void Numbers_are_read_in_every_spelling(string line, double expected) =>
        Assert.Equal(expected, RecipeFile.Load(RecipeFile.Good + line).Training.LearningRate);

    [Theory]
    [InlineData("true", true)]
    [InlineData("True", true)]
    [InlineData("yes", true)]
    [InlineData("on", true)]
    [InlineData("\"false\"", false)]
    [InlineData("No", false)]
    [InlineData("null", false)]
    public void Truth_values_are_read_in_every_spelling(string text, bool expected) =>
        Assert.Equal(expected, RecipeFile.Load($"{RecipeFile.Good}gradient_checkpointing: {text}").Training.GradientCheckpointing);

    [Theory]
    [InlineData("no", IntervalStrategy.No)]
    [InlineData("\"no\"", IntervalStrategy.No)]
    [InlineData("steps", IntervalStrategy.Steps)]
    public void A_strategy_may_be_the_word_no(string text, IntervalStrategy expected) =>
        Assert.Equal(expected, RecipeFile.Load($"{RecipeFile.Good}evaluation_strategy: {text}").Training.EvalStrategy);

    [Fact]
    public void An_alias_without_a_value_leaves_the_default() =>
        Assert.Equal(1024, RecipeFile.Load(RecipeFile.Good + "max_seq_length: null").Data.MaxLength);

    [Fact]
    public void Null_cuts_nothing() => Assert.Null(RecipeFile.Load(RecipeFile.Good + "max_length: null").Data.MaxLength);

    [Fact]
    public void Anchors_and_merged_maps_are_followed()
    {
        var recipe = RecipeFile.Load("model_name_or_path: &m folder\ntokenizer_name_or_path: *m\ndataset_mixture:\n  datasets:\n  - "
            + "&first {id: a, weight: 0.5}\n  - {<<: *first, id: b}\n");
        Assert.Equal("folder", recipe.Model.TokenizerNameOrPath);
        Assert.Equal([("a", 0.5), ("b", 0.5)], recipe.Mixture.Datasets.Select(set => (set.Id, set.Weight)));
    }

    [Fact] // by hand: ceil(0.1 · 25) = 3; warmup_steps wins
    public void Warm_up_is_a_share_or_a_number_of_steps()
    {
        Assert.Equal(3, new TrainingOptions { WarmupRatio = 0.1 }.Warmup(25));
        Assert.Equal(7, new TrainingOptions { WarmupRatio = 0.1, WarmupSteps = 7 }.Warmup(25));
        // a share, as newer recipes write it
        Assert.Equal(5, new TrainingOptions { WarmupRatio = 0.1, WarmupSteps = 0.2 }.Warmup(25));
        Assert.Equal(0, new TrainingOptions { WarmupRatio = null }.Warmup(25));
    }

    [Fact]
    public void Columns_are_mapped_for_every_set_or_for_one()
    {
        var recipe = RecipeFile.Load("model_name_or_path: m\ncolumn_mapping: {prompt: q}\ndataset_mixture:\n  datasets:\n  - id: a\n  - "
            + "{id: b, column_mapping: {prompt: frage}}\n");
        Assert.Equal(["q", "frage"], recipe.Mixture.Datasets.Select(set => set.ColumnMapping!["prompt"]));
    }

    [Theory]
    [InlineData("recipes/zephyr/sft/config_full.yaml", TrainingMethod.Sft)]
    [InlineData("recipes/gpt2-nl/cpt/config_full.yaml", TrainingMethod.Cpt)]
    [InlineData("recipes/tiny/dpo.yaml", TrainingMethod.Dpo)]
    [InlineData("recipes/x/orpo/config_full.yaml", TrainingMethod.Orpo)]
    [InlineData("elsewhere/recipe.yaml", TrainingMethod.Sft)]
    public void The_path_tells_the_method(string path, TrainingMethod expected) =>
        Assert.Equal(expected, Recipe.GuessMethod(new FileInfo(path)));

    [Fact]
    public void The_keys_tell_the_method_where_the_path_does_not()
    {
        using var file = new RecipeFile(RecipeFile.Good + "beta: 0.1\n");
        Assert.Equal(TrainingMethod.Dpo, Recipe.GuessMethod(file.File));
    }
}
