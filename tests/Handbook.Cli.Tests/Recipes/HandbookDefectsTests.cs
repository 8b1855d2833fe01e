using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Handbook.Data.Mixing;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Cli.Tests.Recipes;

/// <summary>What was wrong in the Python handbook is right here: each of its 17 known defects, by number, with the tests that show
/// it.</summary>
public sealed partial class HandbookDefectsTests : IDisposable
{
    // the tests elsewhere: class and method; those of this class have the number in their names
    private static readonly (int Defect, string What, string[] Shown)[] s_elsewhere =
    [
        (3, "an adapter's model was policy and reference at once",
            ["AdapterReferenceTests.An_adapter_folder_that_is_the_model_is_the_reference_of_an_adapter_over_it"]),
        (4, "unknown words were ignored, values cut at a second =", ["CommandLineTests.", "OverrideTests.A_value_may_hold_an_equals_sign"]),
        (5, "shares were paired with train splits one to one", ["MixtureTests.A_share_applies_to_every_train_split_of_its_set"]),
        (6, "a missing begin token was added as null, one that was there again, and cutting dropped it",
            ["AnswerRulesTests.A_tokenizer_without_begin_token_adds_none",
                "AnswerRulesTests.Sequences_are_cut_at_one_end_and_keep_their_begin_token",
                "PreferenceTokenizerTests.A_text_begins_with_one_begin_token_and_a_conversation_as_its_template_writes_it"]),
        (6, "ORPO's likelihood counted padding",
            ["PreferenceContractTests.Number_1_3_24_and_26_a_gradient_is_the_same_however_it_is_computed"]),
        (7, "the list of test texts came from the network at each start, had a line that never matched, and rejected answers were not compared",
            ["ReferenceSetTests.The_built_in_set_is_what_the_published_file_gives",
                "DecontaminatedDataTests.Every_text_of_a_pair_is_compared"]),
        (8, "LoRA needed a switch beside it", ["AdapterReferenceTests.The_adapter_switched_off_is_the_reference_of_a_new_one"]),
        (9, "a recipe of its own was refused for the older way of naming data",
            ["PublishedFilesTests.A_file_is_good_and_every_key_of_it_is_read_or_told_of"]),
        (10, "the scan called the launcher in a way that it no longer knew", ["SlurmScriptTests.The_scan_is_sixty_jobs_of_good_recipes"]),
        (11, "recipes had names that the launcher did not look for",
            ["SlurmScriptTests.Recipes_and_files_of_the_launcher_are_found_by_their_names"]),
        (12, "masks of assistants were lost in packing",
            ["PackingTests.Best_fit_keeps_every_token_with_its_loss_and_no_row_exceeds_the_block"]),
        (12, "chat_template_kwargs of pairs had no effect", ["TemplatePairsTests."]),
        (15, "overwrite_output_dir had no effect",
            ["TrainingKeysTests.Only_better_models_are_saved_with_save_strategy_best_and_fresh_begins_anew"]),
        (16, "the launcher's file for QLoRA was deleted, and its name was wrong", ["LauncherTests.The_files_beside_the_recipes_are_read"]),
        (17, "the end of a long row was kept, and the prompt lost",
            ["PublishedRecipesTests.A_preference_recipe_of_either_handbook_loads_unchanged"]),
    ];

    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact]
    public void Each_of_the_seventeen_has_a_test()
    {
        var files = Directory.EnumerateFiles(Path.Combine(SharedFiles.Repository, "tests"), "*Tests.cs", SearchOption.AllDirectories)
            .ToLookup(file => Path.GetFileNameWithoutExtension(file));
        foreach (var name in s_elsewhere.SelectMany(defect => defect.Shown))
        {
            var (type, method) = (name.Split('.')[0], name.Split('.')[1]);
            Assert.True(files[type].Any(file => File.ReadAllText(file).Contains($" {method}(", StringComparison.Ordinal)
                || method.Length == 0
                && File.ReadAllText(file).Contains("[Fact]", StringComparison.Ordinal)), $"{name} is no test");
        }
        var here = typeof(HandbookDefectsTests).GetMethods().Select(method => Number().Match(method.Name)).Where(match => match.Success)
            .SelectMany(match => match.Groups[1].Captures.Select(capture => int.Parse(capture.ValueSpan)));
        Assert.Equal(Enumerable.Range(1, 17), s_elsewhere.Select(defect => defect.Defect).Concat(here).Distinct().Order());
    }

    [Fact]
    public void Defect_1_pretraining_logs_and_trains_with_any_column_and_any_number_of_rows()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("rows.jsonl", "{\"body\": \"one two three four five, the sun and the moon\"}\n");
        SmallModel.Succeed(_handbook.Run("cpt", Written("cpt/r.yaml",
            "text_column: body\nmax_length: 4\npacking: true\npacking_strategy: wrapped\n"
            + "dataset_name: rows.jsonl\nmax_steps: 1\n")));
        Assert.Contains("three", SmallModel.Succeed(_handbook.Run("inspect", "cpt/r.yaml")).Output);
    }

    [Fact]
    public void Defects_2_and_4_pairs_need_no_held_out_rows_and_the_logs_follow_the_output()
    {
        SmallModel.Make(_handbook);
        Pairs("pairs/train_prefs.jsonl");
        SmallModel.Succeed(_handbook.Run("dpo", Written("dpo/r.yaml",
            "dataset_mixer: {pairs: 1.0}\ndataset_splits: [train_prefs]\nmax_steps: 1\n"
            + "output_dir: first\n"), "--output_dir=moved"));
        Assert.True(Directory.Exists(Path.Combine(_handbook.Folder, "moved", "runs")));
        Assert.False(Directory.Exists(Path.Combine(_handbook.Folder, "first")));
        var outcome = _handbook.Run("dpo", "dpo/r.yaml", "--learning_rte=1");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("--learning_rte is not a key of a recipe", outcome.Error);
        outcome = _handbook.Run("dpo", "dpo/r.yaml", "--bf16=perhaps");
        Assert.Contains("bf16 is \"perhaps\", not true or false", outcome.Error);
    }

    [Fact]
    public void Defect_3_a_model_that_is_an_adapter_does_not_take_its_reference_along()
    {
        SmallModel.Make(_handbook);
        Pairs("pairs/train.jsonl");
        _handbook.Write("chats/train.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i => JsonSerializer.Serialize(
            new { messages = new[] { new { role = "user", content = "one" }, new { role = "assistant", content = $"two {i}" } } })
                + "\n")));
        SmallModel.Succeed(_handbook.Run("sft", Written("sft/r.yaml",
            "dataset_name: chats\nuse_peft: true\nlora_r: 2\nmax_steps: 2\noutput_dir: adapter\n")));
        // all weights with the adapter as the model: refused; a new adapter over it begins with rewards of 0, and its reference stays
        var outcome = _handbook.Run("dpo", Written("dpo/r.yaml",
            "dataset_name: pairs\nmax_steps: 3\nlogging_steps: 1\nlearning_rate: 1.0e-2\n"
            + "lr_scheduler_type: constant\noutput_dir: out\n"), "--model_name_or_path=adapter");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("adapter is an adapter of model, but use_peft is false", outcome.Error);
        SmallModel.Succeed(_handbook.Run("dpo", "dpo/r.yaml", "--model_name_or_path=adapter", "--use_peft"));
        var margins = File.ReadLines(Path.Combine(_handbook.Folder, "out", "metrics.jsonl")).Select(line => JsonNode.Parse(line)!)
            .Where(row => row["rewards/margins"] is not null).Select(row => row["rewards/margins"]!.GetValue<double>()).ToArray();
        Assert.Equal(0, margins[0], 1e-6);
        Assert.True(Math.Abs(margins[^1]) > 1e-6, "the reference went along");
    }

    [Fact]
    public void Defects_9_and_11_older_words_of_the_newer_files_are_read()
    {
        var recipe = RecipeOf("sft", "dataset_name: d\npacking: true\npacking_strategy: ffd\nmax_seq_length: 64\n");
        Assert.Equal((PackingStrategy.Bfd, 64), (recipe.Data.PackingStrategy, recipe.Data.MaxLength));
        Assert.True(Recipe.Load(RecipeTable.PathOf("b/zephyr-7b-beta/dpo/config_qlora")).Adapter.UsePeft);
    }

    [Fact]
    public void Defect_10_keys_and_losses_that_went_are_still_read() => Assert.Equal(["kto_pair"],
        RecipeOf("dpo", "dataset_name: d\nloss_type: kto_pair\nhub_model_revision: v1.0\n").Preference.LossType!);

    [Fact]
    public void Defect_12_our_apo_recipe_cuts_no_prompt() =>
        Assert.Equal((24576, null), Own("smollm3/dpo/apo") is var recipe ? (recipe.Data.MaxLength, recipe.Preference.MaxPromptLength)
            : default);

    [Fact]
    public void Defect_13_no_recipe_of_ours_trains_on_rows_that_were_published_for_testing() =>
        Assert.All(ListedRecipe.In(Path.Combine(SharedFiles.Repository, "recipes")), listed => Assert.DoesNotContain(
            listed.Recipe.Mixture.Dialect == MixtureDialect.Mixture ? listed.Recipe.Mixture.Datasets.Select(set => set.Split)
                : [listed.Recipe.Mixture.TrainSplit], split => split.Contains("test", StringComparison.Ordinal)));

    [Fact]
    public void Defect_14_constitutional_ai_trains_on_both_train_splits_and_keeps_its_weight()
    {
        var (anthropic, grok) = (Own("constitutional-ai/sft/config_anthropic"), Own("constitutional-ai/sft/config_grok"));
        Assert.Equal([1.0, 1.0], anthropic.Data.DatasetMixer!.Values);
        Assert.Equal([0.15, 1.0], grok.Data.DatasetMixer!.Values);
        Assert.All([anthropic, grok], recipe => Assert.Equal(["train_sft", "test_sft"], recipe.Data.DatasetSplits));
    }

    [Fact]
    public void Defect_15_a_card_has_the_optimiser_that_stepped_and_the_held_out_loss()
    {
        SmallModel.Make(_handbook);
        Pairs("pairs/train_prefs.jsonl");
        Pairs("pairs/test_prefs.jsonl", from: 8);
        SmallModel.Succeed(_handbook.Run("dpo", Written("dpo/r.yaml",
            "dataset_mixer: {pairs: 1.0}\ndataset_splits: [train_prefs, test_prefs]\nmax_steps: 1\n"
            + "optim: rmsprop\ndo_eval: true\noutput_dir: out\n")));
        var card = File.ReadAllText(Path.Combine(_handbook.Folder, "out", "README.md"));
        Assert.Contains("- optimizer: RMSprop (", card);
        Assert.Contains("It achieves the following results on the evaluation set:\n", card);
        Assert.Matches(@"\n- Loss: 0\.\d+\n", card);
    }

    [Fact]
    public void Defect_16_the_launcher_s_file_for_adapters_over_codes_is_there_and_named_as_it_is()
    {
        var folder = Path.Combine(SharedFiles.Repository, "recipes", "accelerate_configs");
        foreach (Match named in FileName().Matches(File.ReadAllText(Path.Combine(folder, "README.md"))))
            Assert.True(File.Exists(Path.Combine(folder, named.Groups[1].Value)), named.Groups[1].Value);
        Assert.True(File.Exists(Path.Combine(folder, "fsdp_qlora.yaml")));
    }

    [Fact]
    public void Defect_17_a_row_that_is_too_long_keeps_its_beginning()
    {
        Assert.Equal(TruncationMode.KeepStart, RecipeOf("dpo", "dataset_name: d\n").Preference.Truncation());
        // the first revision's rows are those that it trained on
        Assert.Equal(TruncationMode.KeepEnd, RecipeOf("dpo", "dataset_mixer: {d: 1.0}\n").Preference.Truncation());
    }

    private static Recipe Own(string name) => Recipe.Load(Path.Combine(SharedFiles.Repository, "recipes", $"{name}.yaml"));

    private Recipe RecipeOf(string method, string lines) => Recipe.Load(_handbook.Write($"{method}/of.yaml",
        $"model_name_or_path: m\nbf16: false\n{lines}"),
        Recipe.MethodNamed(method));

    private string Written(string name, string lines)
    {
        _handbook.Write(name, "model_name_or_path: model\nbf16: false\nsave_strategy: \"no\"\nper_device_train_batch_size: 2\n" + lines);
        return name;
    }

    private void Pairs(string name, int from = 0) => _handbook.Write(name, string.Concat(Enumerable.Range(from,
        8).Select(i => JsonSerializer.Serialize(new
        {
            prompt = "the sun",
            chosen = new[] { new { role = "user", content = "the sun" }, new { role = "assistant", content = $"one two {i}" } },
            rejected = new[] { new { role = "user", content = "the sun" }, new { role = "assistant", content = $"and the moon {i}" } },
        }) + "\n")));

    [GeneratedRegex(@"^Defects?_(?:(\d+)_(?:and_)?)+")]
    private static partial Regex Number();

    [GeneratedRegex(@"`([a-z0-9_+]+\.yaml)`")]
    private static partial Regex FileName();
}
