using System.Collections;
using System.Reflection;
using System.Text.Json;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Tests.Recipes;

public sealed class MethodDefaultsTests
{
    private const string Newer = RecipeFile.Good;
    private const string Older = "model_name_or_path: m\ndataset_mixer: {d: 1.0}\ndataset_splits: [train]\nbf16: false\n";

    [Theory] // the reference trainers' own
    [InlineData(Newer, TrainingMethod.Sft, 2e-5)]
    [InlineData(Newer, TrainingMethod.Dpo, 1e-6)]
    [InlineData(Newer, TrainingMethod.Orpo, 1e-6)]
    [InlineData(Newer, TrainingMethod.Kto, 1e-6)]
    [InlineData(Newer, TrainingMethod.Cpo, 1e-6)]
    [InlineData(Newer, TrainingMethod.Bco, 5e-7)]
    [InlineData(Newer + "trl_compat: \"0.24\"\n", TrainingMethod.Bco, 5e-5)]
    [InlineData(Newer, TrainingMethod.Reward, 1e-4)]
    [InlineData(Older, TrainingMethod.Sft, 5e-5)]
    [InlineData(Older, TrainingMethod.Dpo, 5e-5)]
    [InlineData(Older, TrainingMethod.Orpo, 5e-5)]
    public void The_learning_rate_is_the_method_s(string text, TrainingMethod method, double expected)
    {
        Assert.Equal(expected, RecipeFile.Load(text, method).Training.LearningRate);
        Assert.Equal(0.5, RecipeFile.Load(text + "learning_rate: 0.5\n", method).Training.LearningRate);
    }

    [Theory]
    [InlineData(Newer, TrainingMethod.Dpo, 1024, 512, TruncationMode.KeepStart)]
    [InlineData(Newer + "max_prompt_length: null\n", TrainingMethod.Dpo, 1024, null, TruncationMode.KeepStart)]
    [InlineData(Older + "trl_compat: \"1.9\"\n", TrainingMethod.Dpo, 1024, null, TruncationMode.KeepStart)]
    [InlineData(Older + "trl_compat: \"0.24\"\n", TrainingMethod.Dpo, 1024, 512, TruncationMode.KeepEnd)]
    [InlineData(Newer + "trl_compat: \"1.9\"\n", TrainingMethod.Dpo, 1024, null, TruncationMode.KeepStart)]
    [InlineData(Newer + "trl_compat: 1.9\n", TrainingMethod.Cpo, 1024, null, TruncationMode.KeepStart)]
    [InlineData(Newer + "trl_compat: \"0.24\"\n", TrainingMethod.Kto, 1024, 512, TruncationMode.KeepEnd)]
    [InlineData(Newer + "trl_compat: 0.24\n", TrainingMethod.Orpo, 1024, 512, TruncationMode.KeepEnd)]
    [InlineData(Newer + "trl_compat: 0.24\nmax_prompt_length: null\ntruncation_mode: keep_start\n", TrainingMethod.Orpo, 1024, null,
        TruncationMode.KeepStart)]
    [InlineData(Older, TrainingMethod.Dpo, 512, 128, TruncationMode.KeepEnd)]
    [InlineData(Older + "max_length: 1024\nmax_prompt_length: 512\n", TrainingMethod.Dpo, 1024, 512, TruncationMode.KeepEnd)]
    [InlineData(Older, TrainingMethod.Orpo, 512, 128, TruncationMode.KeepEnd)]
    public void Lengths_follow_the_way_of_writing_and_the_release(string text, TrainingMethod method, int? length, int? prompt,
        TruncationMode mode)
    {
        var recipe = RecipeFile.Load(text, method);
        Assert.Equal((length, prompt, mode), (recipe.Data.MaxLength, recipe.Preference.MaxPromptLength, recipe.Preference.Truncation()));
    }

    [Fact]
    public void The_older_dpo_steps_with_rmsprop_and_logs_its_first_step()
    {
        var dpo = RecipeFile.Load(Older, TrainingMethod.Dpo).Training;
        Assert.Equal((OptimizerKind.RmsProp, true), (dpo.Optim, dpo.LoggingFirstStep));
        var orpo = RecipeFile.Load(Older, TrainingMethod.Orpo).Training;
        Assert.Equal((OptimizerKind.AdamW, false), (orpo.Optim, orpo.LoggingFirstStep));
        Assert.Equal(OptimizerKind.AdamW, RecipeFile.Load(Newer, TrainingMethod.Dpo).Training.Optim);
    }

    [Theory]
    [InlineData(TrainingMethod.Dpo, "sigmoid", 0.1)]
    [InlineData(TrainingMethod.Kto, "kto", 0.1)]
    [InlineData(TrainingMethod.Cpo, "sigmoid", 0.1)]
    [InlineData(TrainingMethod.Bco, "bco", 0.1)]
    [InlineData(TrainingMethod.Grpo, "dapo", 0.0)]
    public void Loss_and_beta_are_the_method_s(TrainingMethod method, string loss, double beta)
    {
        var recipe = RecipeFile.Load(method == TrainingMethod.Grpo ? Newer + "reward_funcs: exact_match\n" : Newer, method);
        Assert.Equal([loss], recipe.Preference.LossType!);
        Assert.Equal(beta, recipe.Preference.Beta);
    }

    [Theory] // newer releases changed α's meaning, and its default with it
    [InlineData("", 0.5)]
    [InlineData("trl_compat: \"0.24\"\n", 1.0)]
    [InlineData("trl_compat: \"0.24\"\nf_alpha_divergence_coef: 0.3\n", 0.3)]
    public void Alpha_of_the_divergence_follows_the_release(string lines, double expected) =>
        Assert.Equal(expected, RecipeFile.Load(Newer + lines, TrainingMethod.Dpo).Preference.AlphaDivergence());

    [Theory]
    [InlineData("", true)]
    [InlineData("sync_ref_model: true\n", false)]
    [InlineData("precompute_ref_log_probs: false\n", false)]
    public void The_reference_is_computed_once_unless_it_changes(string lines, bool expected) =>
        Assert.Equal(expected, RecipeFile.Load(Newer + lines, TrainingMethod.Dpo).Preference.PrecomputeRefLogProbs);

    [Fact]
    public void Packing_belongs_to_texts_and_is_noted_elsewhere()
    {
        Assert.True(RecipeFile.Load(Older).Data.Packing);
        Assert.False(RecipeFile.Load(Older, TrainingMethod.Dpo).Data.Packing);
        Assert.Contains("note: packing has no effect on dpo: ", RecipeFile.Said(Newer + "packing: true\n", TrainingMethod.Dpo));
        Assert.Contains("note: truncation_side has no effect on orpo: truncation_mode says which end is kept\n",
            RecipeFile.Said(Newer + "truncation_side: left\n", TrainingMethod.Orpo));
        Assert.Contains("error: label_smoothing_factor belongs to sft, cpt and rejection-sample recipes, not to dpo\n",
            RecipeFile.Said(Newer + "label_smoothing_factor: 0.1\n", TrainingMethod.Dpo));
    }

    [Fact]
    public void The_written_recipe_has_every_value_that_counts()
    {
        var yaml = RecipeFile.Load(Older + "trl_compat: 0.24\n", TrainingMethod.Dpo).ToYaml();
        foreach (var line in new[] { "beta: 0.1  # default", "loss_type: [sigmoid]  # default",
            "learning_rate: 5.0e-05  # default with dataset_mixer", "optim: rmsprop  # default with dataset_mixer",
            "max_length: 1024  # default", "max_prompt_length: 512  # default", "truncation_mode: keep_end  # default",
                "precompute_ref_log_probs: true  # default", "trl_compat: \"0.24\"" })
            Assert.Contains($"\n{line}\n", yaml);
        Assert.DoesNotContain("packing", yaml);
        Assert.DoesNotContain("num_generations", yaml);
    }

    [Theory]
    [InlineData(TrainingMethod.Dpo, "loss_type: [sigmoid, bco_pair, sft]\nloss_weights: [0.8, 0.2, 1]\nrpo_alpha: 0.5\nld_alpha: "
        + "0.3\nf_divergence_type: js_divergence\ntrl_compat: 1.9\nmax_target_length: 64\ntools: [{name: f}]\n")]
    [InlineData(TrainingMethod.Orpo, "orpo_nll: completion\nbeta: 0.05\n")]
    [InlineData(TrainingMethod.Kto, "desirable_weight: 1.33\nundesirable_weight: 0.5\nloss_type: apo_zero_unpaired\n")]
    [InlineData(TrainingMethod.Cpo, "loss_type: simpo\ncpo_alpha: 0\nsimpo_gamma: 1.6\nalpha: 0.25\n")]
    [InlineData(TrainingMethod.Bco, "use_density_ratio: true\nmin_density_ratio: 0.25\n")]
    [InlineData(TrainingMethod.Reward, "center_rewards_coefficient: 0.01\n")]
    [InlineData(TrainingMethod.Grpo, "reward_funcs: [exact_match, number_match]\nreward_weights: [1, 0.5]\nscale_rewards: "
        + "false\nnum_generations: 4\ntemperature: 0.7\nloss_type: dr_grpo\nbeta: 0.04\n")]
    public void The_written_recipe_loads_to_an_equal_one(TrainingMethod method, string lines)
    {
        foreach (var text in new[] { Newer, Older })
        {
            var first = RecipeFile.Load(text + lines, method);
            var again = RecipeFile.Load(first.ToYaml(), method);
            Assert.Equal(Plain(first), Plain(again));
        }

        static string Plain(Recipe recipe) =>
            string.Join('\n', new object[] { recipe.Model, recipe.Data, recipe.Training, recipe.Sft, recipe.Preference, recipe.Reward,
            recipe.Sampling, recipe.Grpo }
            .SelectMany(record => record.GetType().GetProperties(BindingFlags.Public | BindingFlags.Instance)
                .Select(property => (property.Name, Value: property.GetValue(record))))
            .Select(pair => $"{pair.Name}: {(pair.Value is IEnumerable or null ? JsonSerializer.Serialize(pair.Value) : pair.Value)}"));
    }

    [Theory]
    [InlineData("loss_weights: [1, 0.5]", new[] { 1.0, 0.5 })]
    [InlineData("loss_weights: 0.5", new[] { 0.5 })]
    [InlineData("loss_weights: [1e-2]", new[] { 0.01 })]
    public void A_list_of_numbers_is_read(string line, double[] expected) =>
        Assert.Equal(expected, RecipeFile.Load(Newer + (expected.Length == 2 ? "loss_type: [sigmoid, sft]\n" : "") + line + "\n",
            TrainingMethod.Dpo).Preference.LossWeights!);

    [Theory]
    [InlineData("--loss_weights=1,0.5")]
    [InlineData("--loss_weights", "1", "0.5")]
    [InlineData("--loss_weights=[1, 0.5]")]
    public void A_list_of_numbers_is_read_from_the_command_line(params string[] words) =>
        Assert.Equal([1.0, 0.5], RecipeFile.Load(Newer, TrainingMethod.Dpo, ["--loss_type=sigmoid,sft", .. words]).Preference.LossWeights!);

    [Fact]
    public void A_word_in_a_list_of_numbers_is_shown()
    {
        Assert.Contains("r.yaml:4:19: error: loss_weights has \"half\", not a number\n",
            RecipeFile.Said(Newer + "loss_weights: [1, half]\n", TrainingMethod.Dpo));
        Assert.Contains("loss_weights has a map, not a number", RecipeFile.Said(Newer + "loss_weights: {a: 1}\n", TrainingMethod.Dpo));
    }

    [Theory]
    [InlineData("trl_compat: 0.23\n", "trl_compat is \"0.23\", not one of 0.24, 1.9")]
    [InlineData("f_divergence_type: reverse\n", "f_divergence_type is \"reverse\", not one of reverse_kl, forward_kl, js_divergence, "
        + "alpha_divergence")]
    [InlineData("max_prompt_length: 0\n", "max_prompt_length is 0, but must be at least 1")]
    [InlineData("max_completion_length: 0\n", "max_completion_length is 0, but must be at least 1")]
    [InlineData("is_encoder_decoder: true\n", "is_encoder_decoder is not accepted")]
    public void A_wrong_value_is_told(string lines, string message) =>
        Assert.Contains(message, RecipeFile.Said(Newer + lines, TrainingMethod.Dpo));

    [Theory]
    [InlineData("loss_type: kto_pair\n", "note: kto_pair is a loss of older releases; the same idea for answers judged one by one is "
        + "`handbook kto`\n")]
    [InlineData("loss_type: [sigmoid, aot_pair]\n", "note: aot_pair is a loss of older releases; it is called aot_unpaired now\n")]
    [InlineData("rpo_alpha: 0.5\n", "note: rpo_alpha: 0.5 is written loss_type: [sigmoid, sft] with loss_weights: [1.0, 0.5] in "
        + "newer releases\n")]
    [InlineData("reference_free: true\n", "note: reference_free takes the reference's log-probabilities as 0; ")]
    [InlineData("max_target_length: 64\n", "note: max_target_length is the older name of max_completion_length\n")]
    [InlineData("force_use_ref_model: true\n", "note: force_use_ref_model has no effect here: ref_model_name_or_path names "
        + "another reference")]
    [InlineData("use_liger_loss: true\n", "note: use_liger_loss has no effect here: ")]
    public void An_older_name_is_mapped(string lines, string note) =>
        Assert.Contains(note, RecipeFile.Said(Newer + lines, TrainingMethod.Dpo));

    [Theory]
    [InlineData("num_generations: 1\n", "num_generations is 1, but must be at least 2")]
    [InlineData("num_generations: 3\n",
        "num_generations is 3: 8 answers are sampled at once, which is not a multiple of num_generations 3")]
    [InlineData("generation_batch_size: 20\n", "generation_batch_size is 20: 20 answers are sampled at once, which is not a multiple of "
        + "num_generations 8")]
    [InlineData("generation_batch_size: 16\nsteps_per_generation: 2\n",
        "generation_batch_size is given together with steps_per_generation")]
    [InlineData("temperature: 0\n", "temperature is 0, which takes the likeliest token")]
    [InlineData("top_k: 1\n", "top_k is 1, which takes the likeliest token")]
    [InlineData("epsilon_high: 0.1\n", "warning: epsilon_high is 0.1, below epsilon 0.2")]
    [InlineData("loss_type: drgrpo\n", "loss_type is drgrpo, which grpo does not have")]
    [InlineData("loss_type: sigmoid\n", "run the recipe with handbook dpo")]
    [InlineData("loss_type: [grpo, dapo]\n", "loss_type has 2 losses, but grpo has one")]
    [InlineData("reward_weights: [1, 2]\n", "reward_weights has 2 numbers for 1 of reward_funcs")]
    [InlineData("temperature: -1\n", "temperature is -1, but must be 0 or greater")]
    [InlineData("top_p: 0\n", "top_p is 0, but must be above 0 and at most 1")]
    [InlineData("epsilon: 1\n", "epsilon is 1, but must be at least 0 and below 1")]
    [InlineData("delta: 1.1\n", "delta is 1.1, but must be greater than 1 + epsilon = 1.2")]
    [InlineData("per_device_train_batch_size: 4\ngradient_accumulation_steps: 4\nnum_generations: 8\nloss_type: bnpo\n",
        "loss_type is bnpo, but per_device_train_batch_size 4 is not a multiple of num_generations 8")]
    [InlineData("gradient_accumulation_steps: 4\nsteps_per_generation: 6\n",
        "steps_per_generation lets 48 answers be sampled at once, which is not a multiple of the 32 of a step")]
    [InlineData("per_device_train_batch_size: 4\nsteps_per_generation: 2\n",
        "num_generations is 8, but a step has 4 answers, which is not a multiple of it")]
    [InlineData("temperature: 0\n", "temperature is 0")]
    [InlineData("sync_ref_model: true\n", "beta is 0, but the recipe says something of a reference")]
    [InlineData("router_aux_loss_coef: -0.1\n", "router_aux_loss_coef is -0.1, but must be 0 or greater")]
    [InlineData("entropy_coef: 0.1\n", "entropy_coef is 0.1, which is not built yet")]
    [InlineData("trl_compat: 0.25\n", "trl_compat is \"0.25\", not one of 0.24, 1.9")]
    public void A_wrong_group_is_told(string lines, string message) =>
        Assert.Contains(message, RecipeFile.Said(Newer + "reward_funcs: exact_match\n" + lines, TrainingMethod.Grpo));

    [Fact]
    public void Advice_about_groups_makes_a_good_recipe_of_it()
    {
        var tried = 0;
        foreach (var loss in (string[])["dapo", "bnpo"])
            foreach (var batch in (int[])[1, 2, 3, 4, 6, 8, 12])
                foreach (var steps in (int[])[1, 2, 3, 8])
                    foreach (var group in (int[])[1, 2, 3, 5, 8, 16])
                        foreach (var more in (string[])["", "steps_per_generation: 3\n", "generation_batch_size: 20\n"])
                        {
                            var keys = new Dictionary<string, string>
                            {
                                ["per_device_train_batch_size"] = $"{batch}",
                                ["gradient_accumulation_steps"] = $"{steps}",
                                ["num_generations"] = $"{group}",
                                ["loss_type"] = loss,
                            };
                            if (more.Length > 0)
                                keys[more.Split(':')[0]] = more.Split(": ")[1].Trim();
                            tried += Followed(keys) ? 1 : 0;
                        }
        Assert.True(tried > 300, $"{tried}");
    }

    /// <summary>Follows the advice of all errors, if there are any, and requires that none is left.</summary>
    private static bool Followed(Dictionary<string, string> keys)
    {
        if (Fix() is not { } fix)
            return false;
        var words = fix.Replace(", the mean over the step", "").Split([", ", " and "], StringSplitOptions.None);
        foreach (var word in words)
            if (word.StartsWith("remove the key", StringComparison.Ordinal))
                keys.Remove(keys.Keys.Single(key => key is "steps_per_generation" or "generation_batch_size"));
            else if (word.StartsWith("remove ", StringComparison.Ordinal))
                Assert.True(keys.Remove(word["remove ".Length..]), fix);
            else if (word.StartsWith("use ", StringComparison.Ordinal) && !word.Contains(':', StringComparison.Ordinal))
                keys["num_generations"] = word["use ".Length..];
            else
                keys[word.Split(' ', ':')[1]] = word.Split(": ")[1];
        Assert.True(Fix() is null, $"{fix}: {string.Join(", ", keys)}: {Said()}");
        return true;

        string? Fix() => Said().Split("fix: ") is [_, .. { Length: > 0 } fixes]
            ? string.Join(", ", fixes.Select(said => said.Split('\n')[0])) : null;

        string Said() => RecipeFile.Said(Newer + "reward_funcs: finished\nmax_steps: 8\n"
            + string.Concat(keys.Select(key => $"{key.Key}: {key.Value}\n")), TrainingMethod.Grpo);
    }

    [Theory]
    [InlineData("temperature: 0\n",
        "warning: temperature is 0, which takes the likeliest token: the 8 answers to a prompt are all the same")]
    [InlineData("top_k: 1\n", "warning: top_k is 1")]
    [InlineData("temperature: 0\nselect: best_vs_worst\n", "error: temperature is 0")]
    public void Answers_that_are_all_the_same_are_told(string lines, string message)
    {
        Assert.Contains(message, RecipeFile.Said(Newer + "reward_funcs: finished\n" + lines, TrainingMethod.RejectionSample));
        Assert.DoesNotContain("likeliest",
            RecipeFile.Said(Newer + "reward_funcs: finished\nnum_generations: 1\ntemperature: 0\n", TrainingMethod.RejectionSample));
    }

    [Fact]
    public void A_group_needs_a_reward() => Assert.Contains("reward_funcs is missing", RecipeFile.Said(Newer, TrainingMethod.Grpo));

    [Theory]
    [InlineData("recipes/tiny/simpo.yaml", TrainingMethod.Cpo)]
    [InlineData("recipes/smollm3/dpo/apo.yaml", TrainingMethod.Dpo)]
    [InlineData("recipes/x/kto/config_full.yaml", TrainingMethod.Kto)]
    [InlineData("my/bco-run.yaml", TrainingMethod.Bco)]
    [InlineData("recipes/tiny/reward.yaml", TrainingMethod.Reward)]
    [InlineData("recipes/tiny/rejection-sample.yaml", TrainingMethod.RejectionSample)]
    [InlineData("x/grpo/gsm8k.yaml", TrainingMethod.Grpo)]
    public void The_path_tells_the_method(string path, TrainingMethod expected) =>
        Assert.Equal(expected, Recipe.GuessMethod(new FileInfo(path)));

    [Theory]
    [InlineData("beta: 0.1\nloss_type: ipo\n", TrainingMethod.Dpo)]
    [InlineData("beta: 0.1\norpo_nll: completion\n", TrainingMethod.Orpo)]
    [InlineData("desirable_weight: 2\n", TrainingMethod.Kto)]
    [InlineData("simpo_gamma: 1\nbeta: 2\n", TrainingMethod.Cpo)]
    [InlineData("center_rewards_coefficient: 0.01\n", TrainingMethod.Reward)]
    [InlineData("num_generations: 4\nreward_funcs: x\n", TrainingMethod.Grpo)]
    [InlineData("packing: true\n", TrainingMethod.Sft)]
    public void The_keys_tell_the_method(string lines, TrainingMethod expected)
    {
        using var file = new RecipeFile(RecipeFile.Good + lines);
        Assert.Equal(expected, Recipe.GuessMethod(file.File));
        using var bare = new RecipeFile(RecipeFile.Good);
        Assert.Equal(expected, Recipe.GuessMethod(bare.File, [.. lines.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => $"--{line.Replace(": ", "=", StringComparison.Ordinal)}")]));
    }
}
