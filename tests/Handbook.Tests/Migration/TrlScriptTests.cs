using Handbook.Base;
using Handbook.Migration;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Tests.Migration;

/// <summary>Command lines of TRL become recipes: variables, quotes and continued lines are read as a shell does.</summary>
public sealed class TrlScriptTests
{
    private const string Script = """
        #!/bin/bash
        # where things are
        MODEL="org/model"
        export OUT=runs/${NAME:-first}
        COMMON=(--bf16 --lr_scheduler_type cosine
            --warmup_ratio 0.1)

        accelerate launch --config_file zero3.yaml --num_processes 4 \
            examples/scripts/dpo.py \
            --model_name_or_path "$MODEL" \
            --dataset_name 'org/pairs' --dataset_train_split=train_prefs \
            "${COMMON[@]}" --learning_rate 5.0e-7 \
            --use_peft --lora_target_modules q_proj v_proj \
            --loss_type sigmoid sft --no_remove_unused_columns --frobnicate 3 \
            --gradient_checkpointing_kwargs '{"use_reentrant": false}' \
            --output_dir $OUT 2>&1 | tee log.txt
        trl sft --model_name_or_path m --dataset_name d
        """;

    [Fact]
    public void The_words_become_keys_and_the_launcher_s_are_told()
    {
        using var file = new MigrationFile("train.sh", Script).Migrate();
        var recipe = file.Recipe;
        Assert.Equal((TrainingMethod.Dpo, "org/model", "org/pairs", "train_prefs", "runs/first"), (recipe.Method,
            recipe.Model.ModelNameOrPath,
            recipe.Data.DatasetName, recipe.Data.DatasetTrainSplit, recipe.Training.OutputDir));
        Assert.Equal((5e-7, 0.1, true), (recipe.Training.LearningRate, recipe.Training.WarmupRatio, recipe.Training.Bf16));
        Assert.Equal(["q_proj", "v_proj"], recipe.Adapter.LoraTargetModules!);
        Assert.Equal(["sigmoid", "sft"], recipe.Preference.LossType!);
        Assert.Contains("--num_processes 4\n#        said to the launcher: handbook launch --num_processes 4 dpo RECIPE", file.Text);
        Assert.Contains("  frobnicate: 3\n#        nothing here has this name", file.Text);
    }

    [Fact]
    public void A_folder_is_told_from_what_is_not_there()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("is a folder", Assert.Throws<InputException>(() => RecipeMigration.Of(folder.Path, "mine.yaml")).Message);
        Assert.Contains("does not exist", Assert.Throws<InputException>(() => RecipeMigration.Of(folder["none.sh"], "mine.yaml")).Message);
    }

    [Fact]
    public void A_second_training_is_another_recipe()
    {
        using var file = new MigrationFile("train.sh", Script).Migrate(command: 2);
        Assert.Equal((TrainingMethod.Sft, "m", true), (file.Recipe.Method, file.Recipe.Model.ModelNameOrPath, file.Recipe.Training.Bf16));
        Assert.Contains("has 2 trainings, no 3", Assert.Throws<InputException>(() => file.Migrate(command: 3)).Message);
    }

    [Theory]
    [InlineData("trl dpo --model_name_or_path m --dataset_name d", "dpo")]
    [InlineData("python trl/scripts/kto.py --model_name_or_path m --dataset_name d", "kto")]
    [InlineData("python -m trl.scripts.orpo --model_name_or_path m --dataset_name d", "orpo")]
    [InlineData("torchrun --nproc_per_node 2 run_sft.py --model_name_or_path m --dataset_name d", "sft")]
    [InlineData("uv run reward_modeling.py --model_name_or_path m --dataset_name d", "reward")]
    [InlineData("cd x && ACCELERATE_LOG_LEVEL=info accelerate launch scripts/grpo.py --model_name_or_path m --dataset_name d --reward_funcs exact_match; ls", "grpo")]
    public void Every_way_of_starting_is_found(string script, string method)
    {
        using var file = new MigrationFile("train.sh", script).Migrate();
        Assert.Equal((method, "m"), (file.Recipe.MethodName, file.Recipe.Model.ModelNameOrPath));
    }

    [Fact]
    public void A_file_of_settings_is_read_and_the_words_behind_it_win()
    {
        using var file = new MigrationFile("train.sh", "trl sft --config mine.yaml --learning_rate 1e-4\n").With("mine.yaml", """
            model_name_or_path: m
            learning_rate: 2.0e-5
            datasets:
              - path: org/chats
                name: en
                split: train_sft
            test_split_size: 0.1
            """);
        Assert.Contains("1e-4", file.Migrate().Text.Replace("0.0001", "1e-4"));
        Assert.Equal(1e-4, file.Recipe.Training.LearningRate);
        var mixture = file.Recipe.Data.DatasetMixture!;
        Assert.Equal(("org/chats", "en", "train_sft", 0.1), (mixture.Datasets[0].Id, mixture.Datasets[0].Config, mixture.Datasets[0].Split,
            mixture.TestSplitSize));
    }

    [Fact]
    public void A_variable_from_elsewhere_is_asked_for()
    {
        using var file = new MigrationFile("train.sh", "trl sft --model_name_or_path $BASE --dataset_name d\n");
        var problem = Assert.Throws<InputException>(() => file.Migrate());
        Assert.Contains("train.sh:1: $BASE has $BASE, which the script does not set", problem.Message);
        Assert.Equal("say it with --set BASE=VALUE", problem.Fix);
        Assert.Equal("m", file.Migrate(variables: ("BASE", "m")).Recipe.Model.ModelNameOrPath);
    }

    [Fact]
    public void A_script_that_trains_nothing_says_what_was_looked_for()
    {
        using var file = new MigrationFile("train.sh", "echo hello\n");
        Assert.Contains("no command in it trains", Assert.Throws<InputException>(() => file.Migrate()).Message);
    }

    [Theory]
    [InlineData("dataset_mixer:\n  d: 1.0\n", "recipes of ours and of the Python handbook run as they are")]
    [InlineData("dataset_mixture: {datasets: [{id: d}]}\nlearning_rat: 1\n", "recipes of ours and of the Python handbook run as they are")]
    [InlineData("dataset_name: d\nbf16: true\n", "recipes of ours and of the Python handbook run as they are")]
    [InlineData("dataset_name: d\n", "TRL alone would compute in bfloat16 where nothing is said, which is bf16: true")]
    public void A_recipe_of_the_handbook_needs_no_migration(string keys, string why)
    {
        using var file = new MigrationFile("sft.yaml", "model_name_or_path: m\noutput_dir: o\n" + keys);
        var refused = Assert.Throws<InputException>(() => file.Migrate());
        Assert.EndsWith("sft.yaml is a recipe already", refused.What);
        Assert.Contains(why, refused.Why);
        Assert.StartsWith("handbook sft ", refused.Fix);
    }

    [Fact]
    public void A_file_of_TRL_with_keys_of_its_own_is_migrated()
    {
        using var file = new MigrationFile("sft.yaml", "model_name_or_path: m\ndatasets: [{path: d}]\nstreaming: true\n").Migrate();
        Assert.Contains("bf16: true", file.Text);
        Assert.Contains("streaming", file.Text);
    }

    [Fact]
    public void A_reward_of_TRL_that_nothing_here_computes_is_told_by_its_name_and_waits_for_one()
    {
        using var file = new MigrationFile("train.sh", "trl grpo --model_name_or_path m --dataset_name d --num_generations 8 \\\n"
            + "  --reward_funcs accuracy_reward --reward_weights 2.0\n");
        var migrated = RecipeMigration.Of(file.Path, "mine.yaml");
        Assert.Equal(["reward_funcs"], migrated.Open);
        Assert.Contains("\n# nothing here scores as accuracy_reward does: name one of exact_match, number_match,", migrated.Text);
        Assert.Contains("\n# reward_funcs:\n", migrated.Text);
        Assert.Contains("  reward_funcs: accuracy_reward\n#        formulas are compared by their value there; number_match", migrated.Text);
        Assert.Contains("  reward_weights: 2.0\n", migrated.Text);
        Assert.Contains("\nnum_generations: 8\n", migrated.Text);
    }

    [Fact] // its pattern: one block of thoughts at the very beginning
    public void A_reward_of_TRL_that_is_a_pattern_is_that_pattern_with_its_weight()
    {
        using var file = new MigrationFile("train.sh", "trl grpo --model_name_or_path m --dataset_name d "
            + "--reward_funcs get_soft_overlong_punishment think_format_reward reasoning_accuracy_reward exact_match mine.reward "
            + "--reward_weights 1 2 3 4 5\n").Migrate();
        var scoring = file.Recipe.Scoring;
        Assert.Equal(["regex", "exact_match"], scoring.RewardFuncs!);
        Assert.Equal([2.0, 4.0], scoring.RewardWeights!);
        Assert.Contains("reward_funcs: get_soft_overlong_punishment\n", file.Text);
        Assert.Contains("reward_funcs: reasoning_accuracy_reward\n", file.Text);
        Assert.Contains("reward_funcs: mine.reward\n#        a function in Python; here are exact_match", file.Text);
        var pattern = new System.Text.RegularExpressions.Regex(scoring.RewardPattern!);
        Assert.Matches(pattern, "<think>a\nb</think>c");
        Assert.Matches(pattern, "<think></think>");
        Assert.DoesNotMatch(pattern, " <think>a</think>");
        Assert.DoesNotMatch(pattern, "<think>a");
        Assert.DoesNotMatch(pattern, "<think>a</think><think>b</think>");
        Assert.DoesNotMatch(pattern, "a\n<think>b</think>");
    }

    [Fact]
    public void A_wrong_word_among_several_has_the_caret()
    {
        using var file = new MigrationFile("train.sh",
            "trl grpo --model_name_or_path m --dataset_name d --reward_funcs exact_match length exact_match");
        var message = Assert.Throws<InputException>(() => file.Migrate()).Message;
        Assert.Contains("train.sh:1:65: error: reward_funcs names exact_match twice", message);
        Assert.Contains($"\n      | {new string(' ', 64)}{new string('^', "exact_match".Length)}\n", message);
    }

    [Theory] // the model is asked first there, and the first weight is its own
    [InlineData("", new[] { "reward_model" }, null)]
    [InlineData(" --reward_funcs accuracy_reward exact_match --reward_weights 1 2 3",
        new[] { "reward_model", "exact_match" }, new[] { 1.0, 3.0 })]
    public void A_reward_model_that_is_named_is_asked(string words, string[] scorers, double[]? weights)
    {
        using var file = new MigrationFile("train.sh", "trl grpo --model_name_or_path m --dataset_name d --num_generations 8 "
            + $"--reward_model_name_or_path rm{words}\n").Migrate();
        Assert.Equal("rm", file.Recipe.Scoring.RewardModelNameOrPath);
        Assert.Equal(weights, file.Recipe.Scoring.RewardWeights);
        Assert.Equal(scorers, file.Recipe.Scoring.RewardFuncs!);
    }
}
