using Handbook.Recipes;
using Handbook.Training.Methods;

namespace Handbook.Tests.Recipes;

public sealed class OverrideTests
{
    [Theory]
    [InlineData("--learning_rate=3e-4")]
    [InlineData("--learning_rate", "3e-4")]
    [InlineData("--learning-rate=3e-4")]
    [InlineData("--learning_rate=1", "--learning_rate=3e-4")]
    public void A_number_is_overridden(params string[] words) =>
        Assert.Equal(3e-4, RecipeFile.Load(RecipeFile.Good, TrainingMethod.Sft, words).Training.LearningRate);

    [Theory]
    [InlineData(true, "--packing")]
    [InlineData(true, "--packing=true")]
    [InlineData(true, "--packing", "yes")]
    [InlineData(false, "--packing", "--no_packing")]
    [InlineData(false, "--no-packing")]
    [InlineData(true, "--packing", "--max_steps", "3")]
    public void A_flag_is_overridden(bool expected, params string[] words) =>
        Assert.Equal(expected, RecipeFile.Load(RecipeFile.Good, TrainingMethod.Sft, words).Data.Packing);

    [Fact]
    public void A_value_may_hold_an_equals_sign() =>
        Assert.Equal("{{ a == b }}",
            RecipeFile.Load(RecipeFile.Good, TrainingMethod.Sft, "--chat_template={{ a == b }}").Data.ChatTemplate);

    [Fact]
    public void A_negative_value_is_a_value() =>
        Assert.Equal(-1, RecipeFile.Load(RecipeFile.Good + "max_steps: 3", TrainingMethod.Sft, "--max_steps", "-1").Training.MaxSteps);

    [Theory]
    [InlineData("--report_to=tensorboard,mlflow")]
    [InlineData("--report_to", "tensorboard", "mlflow")]
    [InlineData("--report_to=[tensorboard, mlflow]")]
    [InlineData("--report_to=[\"tensorboard\", \"mlflow\"]")]
    public void A_list_is_overridden(params string[] words) =>
        Assert.Equal(["tensorboard", "mlflow"], RecipeFile.Load(RecipeFile.Good, TrainingMethod.Sft, words).Training.ReportTo);

    [Fact]
    public void A_map_is_overridden_whole_as_json() =>
        Assert.Equal([("x.jsonl", 0.5)],
            RecipeFile.Load("model_name_or_path: m\n", TrainingMethod.Sft, "--dataset_mixer={\"x.jsonl\": 0.5}", "--dataset_splits=train")
            .Mixture.Datasets.Select(set => (set.Id, set.Weight)));

    [Fact]
    public void A_dotted_key_reaches_into_maps_and_lists()
    {
        var recipe = RecipeFile.Load("model_name_or_path: m\ndataset_mixture:\n  datasets:\n  - id: a\n  - id: b\n", TrainingMethod.Sft,
            "--dataset_mixture.seed=5", "--dataset_mixture.datasets.1.weight=0.5", "--lr_scheduler_kwargs.min_lr_rate=0.2",
                "--lr_scheduler_type=cosine_with_min_lr",
            "--gradient_checkpointing_kwargs.use_reentrant=false");
        Assert.Equal(5, recipe.Mixture.Seed);
        Assert.Equal([1.0, 0.5], recipe.Mixture.Datasets.Select(set => set.Weight));
        Assert.Equal(0.2, recipe.Training.LrSchedulerKwargs!["min_lr_rate"]);
    }

    [Theory]
    [InlineData("--dataset_mixer.data/rows.jsonl=0.5", "data/rows.jsonl")]
    [InlineData("--dataset_mixer.org/name-1.5=0.5", "org/name-1.5")]
    [InlineData("--dataset_mixer.\"new.set\"=0.5", "new.set")]
    [InlineData("--dataset_mixer.plain=0.5", "plain")]
    public void A_name_in_a_map_may_hold_dots(string word, string name)
    {
        var recipe = RecipeFile.Load("model_name_or_path: m\ndataset_mixer:\n  data/rows.jsonl: 1.0\n  other: "
            + "1.0\ndataset_splits: [train]\n", TrainingMethod.Sft, word);
        Assert.Equal(0.5, recipe.Mixture.Datasets.Single(set => set.Id == name).Weight);
        Assert.Equal(name == "data/rows.jsonl" ? 2 : 3, recipe.Mixture.Datasets.Count);
    }

    [Fact]
    public void A_column_below_a_list_may_hold_dots() =>
        Assert.Equal("q", RecipeFile.Load("model_name_or_path: m\ndataset_mixture: {datasets: [{id: a}]}\n", TrainingMethod.Sft,
            "--dataset_mixture.datasets.0.column_mapping.prompt.text=q")
            .Mixture.Datasets[0].ColumnMapping!["prompt.text"]);

    [Theory]
    [InlineData("--config_file", "recipes/accelerate_configs/zero3.yaml", "r.yaml")]
    [InlineData("r.yaml", "--num_processes=8")]
    [InlineData("r.yaml", "--multi_gpu")]
    [InlineData("--nproc_per_node", "8", "r.yaml")]
    public void An_option_of_a_launcher_is_told_from_a_key(params string[] words)
    {
        var (recipe, overrides) = RecipeArguments.Split(words);
        Assert.Equal("r.yaml", recipe);
        var said = RecipeFile.Said(RecipeFile.Good, TrainingMethod.Sft, [.. overrides]);
        Assert.Contains("is not a key of a recipe", said);
        Assert.Contains("it belongs to the launcher of the Python handbook", said);
        Assert.Contains("fix: remove it", said);
        Assert.Contains("1 problem found", said);
    }

    [Fact]
    public void A_configuration_of_a_launcher_is_no_recipe() =>
        Assert.Contains("r.yaml: error: the recipe is a configuration of the launcher accelerate",
            RecipeFile.Said("compute_environment: LOCAL_MACHINE\ndistributed_type: DEEPSPEED\nnum_processes: 8\n"));

    [Fact]
    public void An_override_wins_over_another_name_of_its_key() =>
        Assert.Equal(512, RecipeFile.Load(RecipeFile.Good + "max_seq_length: 2048", TrainingMethod.Sft, "--max_length=512").Data.MaxLength);

    [Fact]
    public void Null_is_a_value() =>
        Assert.Null(RecipeFile.Load(RecipeFile.Good + "save_total_limit: 3", TrainingMethod.Sft, "--save_total_limit=null")
            .Training.SaveTotalLimit);

    [Theory]
    [InlineData("r.yaml", "r.yaml", "--a=1", "--max_steps", "3")]
    [InlineData("r.yaml", "--a=1", "r.yaml", "--max_steps", "3")]
    [InlineData("r.yaml", "--a=1", "--max_steps", "3", "--config", "r.yaml")]
    [InlineData("r.yaml", "--config=r.yaml", "--a=1", "--max_steps", "3")]
    public void The_recipe_may_stand_anywhere(string recipe, params string[] words)
    {
        var (path, overrides) = RecipeArguments.Split(words);
        Assert.Equal(recipe, path);
        Assert.Equal(["--a=1", "--max_steps", "3"], overrides);
    }

    [Theory]
    [InlineData("--packing", "r.yaml")]
    [InlineData("--learning_rate", "1", "r.yaml")]
    [InlineData("--report_to", "a", "b", "r.yaml")]
    [InlineData("--nonsense", "r.yaml")]
    public void An_override_does_not_swallow_the_recipe(params string[] words) =>
        Assert.Equal("r.yaml", RecipeArguments.Split(words).Recipe);
}
