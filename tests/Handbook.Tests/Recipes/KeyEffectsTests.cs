using System.Text.RegularExpressions;
using Handbook.Recipes;
using Handbook.Training.Methods;

namespace Handbook.Tests.Recipes;

/// <summary>A key that nothing reads with the settings beside it says so.</summary>
public sealed class KeyEffectsTests
{
    private const string Mixer = "model_name_or_path: m\ndataset_mixer: {d: 1.0}\n";
    private const string Mixture = "model_name_or_path: m\ndataset_mixture: {datasets: [{id: d}]}\nbf16: false\n";
    private const string Good = RecipeFile.Good;
    private const string Scored = Good + "reward_funcs: exact_match\n";

    [Theory]
    [InlineData(TrainingMethod.Sft, Good, "dataset_splits: [a_train]", "without dataset_mixer")]
    [InlineData(TrainingMethod.Sft, Mixture, "dataset_train_split: other", "with dataset_mixture: each entry names its split")]
    [InlineData(TrainingMethod.Sft, Mixer, "dataset_train_split: other", "with dataset_mixer: dataset_splits names the splits")]
    [InlineData(TrainingMethod.Sft, Good, "dataset_test_split: held", "without evaluations")]
    [InlineData(TrainingMethod.Dpo, Good, "text_column: body", "on dpo, which reads prompts and answers")]
    [InlineData(TrainingMethod.Kto, Good, "dataset_text_field: body", "on kto, which reads prompts and answers")]
    [InlineData(TrainingMethod.Grpo, Scored, "text_column: body", "on grpo, which reads prompts and answers")]
    [InlineData(TrainingMethod.Sft, Good, "packing_strategy: wrapped", "without packing")]
    [InlineData(TrainingMethod.Sft, Good, "packing_strategy: wrapped\npacking: false\neval_packing: true", "without packing")]
    [InlineData(TrainingMethod.Sft, Good, "packing: true\neval_packing: false", "without evaluations", "eval_packing")]
    [InlineData(TrainingMethod.Sft, Good, "dataset_kwargs: {skip_prepare_dataset: true}",
        "here: rows that hold input_ids are taken as they are", "dataset_kwargs.skip_prepare_dataset")]
    [InlineData(TrainingMethod.Sft, Mixer, "dataset_kwargs: {skip_prepare_dataset: true}",
        "here: rows that hold input_ids are taken as they are", "dataset_kwargs.skip_prepare_dataset")]
    [InlineData(TrainingMethod.Sft, Good, "dataset_kwargs: {add_special_tokens: false}", "without dataset_mixer",
        "dataset_kwargs.add_special_tokens")]
    [InlineData(TrainingMethod.Cpt, Mixture, "dataset_kwargs: {append_concat_token: false}", "without dataset_mixer",
        "dataset_kwargs.append_concat_token")]
    [InlineData(TrainingMethod.Sft, Mixer, "packing: false\ndataset_kwargs: {append_concat_token: false}", "without packing",
        "dataset_kwargs.append_concat_token")]
    [InlineData(TrainingMethod.Sft, Good, "truncation_side: left\npacking: true\npacking_strategy: wrapped",
        "with packing_strategy: wrapped", "truncation_side")]
    [InlineData(TrainingMethod.Sft, Mixer, "truncation_side: left", "with packing_strategy: wrapped")]
    [InlineData(TrainingMethod.Sft, Good, "truncation_side: left\nmax_length: null", "with max_length: null", "truncation_side")]
    [InlineData(TrainingMethod.Sft, Good, "truncation_mode: keep_end\npacking: true\npacking_strategy: wrapped",
        "with packing_strategy: wrapped", "truncation_mode")]
    [InlineData(TrainingMethod.Sft, Good, "truncation_mode: keep_end\ntruncation_side: right", "beside truncation_side", "truncation_mode")]
    [InlineData(TrainingMethod.Dpo, Good, "truncation_mode: keep_end\nmax_length: null", "with max_length: null", "truncation_mode")]
    [InlineData(TrainingMethod.Sft, Good, "completion_only_loss: true\nassistant_only_loss: true", "beside assistant_only_loss: true",
        "completion_only_loss")]
    [InlineData(TrainingMethod.Sft, Good, "auto_insert_empty_system_msg: false", "without dataset_mixer: no turn is inserted")]
    [InlineData(TrainingMethod.Dpo, Good, "auto_insert_empty_system_msg: false", "without dataset_mixer: no turn is inserted")]
    [InlineData(TrainingMethod.Dpo, Mixer, "auto_insert_empty_system_msg: false\ntrl_compat: \"0.24\"", "with trl_compat: \"0.24\"",
        "auto_insert_empty_system_msg")]
    [InlineData(TrainingMethod.Grpo, Scored, "max_length: 256", "on grpo")]
    [InlineData(TrainingMethod.Sft, Good, "adam_beta1: 0.8\noptim: rmsprop", "with optim: rmsprop", "adam_beta1")]
    [InlineData(TrainingMethod.Sft, Good, "adam_beta2: 0.8\noptim: sgd", "with optim: sgd", "adam_beta2")]
    [InlineData(TrainingMethod.Sft, Good, "adam_beta2: 0.8\nadafactor: true", "with adafactor: true", "adam_beta2")]
    [InlineData(TrainingMethod.Sft, Good, "adam_epsilon: 0.8\noptim: lion_32bit", "with optim: lion_32bit", "adam_epsilon")]
    [InlineData(TrainingMethod.Dpo, Mixer, "adam_beta1: 0.8", "with optim: rmsprop")]
    [InlineData(TrainingMethod.Sft, Good, "optim_target_modules: attn", "with optim: adamw_torch", "optim_target_modules")]
    [InlineData(TrainingMethod.Sft, Good, "adam_epsilon: 0.8\noptim: galore_adamw\noptim_target_modules: attn", "with optim: galore_adamw",
        "adam_epsilon")]
    [InlineData(TrainingMethod.Sft, Good, "num_train_epochs: 2\nmax_steps: 5", "beside max_steps: 5", "num_train_epochs")]
    [InlineData(TrainingMethod.Sft, Good, "warmup_ratio: 0.1\nwarmup_steps: 5", "beside warmup_steps: 5, which wins", "warmup_ratio")]
    [InlineData(TrainingMethod.Sft, Good, "warmup_steps: 5\nlr_scheduler_type: constant", "with lr_scheduler_type: constant",
        "warmup_steps")]
    [InlineData(TrainingMethod.Sft, Good, "data_seed: 5\ntrain_sampling_strategy: sequential", "on rows that keep their order",
        "data_seed")]
    [InlineData(TrainingMethod.Grpo, Scored, "shuffle_dataset: false\ntrain_sampling_strategy: random", "beside train_sampling_strategy",
        "shuffle_dataset")]
    [InlineData(TrainingMethod.Sft, Good, "save_steps: 5\nsave_strategy: epoch", "with save_strategy: epoch", "save_steps")]
    [InlineData(TrainingMethod.Sft, Good, "save_total_limit: 5\nsave_strategy: \"no\"", "with save_strategy: no", "save_total_limit")]
    [InlineData(TrainingMethod.Sft, Good, "logging_steps: 5\nlogging_strategy: epoch", "with logging_strategy: epoch", "logging_steps")]
    [InlineData(TrainingMethod.Sft, Good, "logging_dir: x\nreport_to: none", "without TensorBoard files", "logging_dir")]
    [InlineData(TrainingMethod.Sft, Good, "eval_steps: 5", "with eval_strategy: no")]
    [InlineData(TrainingMethod.Sft, Good, "eval_steps: 5\neval_strategy: epoch", "with eval_strategy: epoch", "eval_steps")]
    [InlineData(TrainingMethod.Sft, Good, "eval_delay: 5", "with eval_strategy: no")]
    [InlineData(TrainingMethod.Sft, Good, "per_device_eval_batch_size: 5", "without evaluations")]
    [InlineData(TrainingMethod.Sft, Good, "metric_for_best_model: loss", "with eval_strategy: no")]
    [InlineData(TrainingMethod.Sft, Good, "metric_for_best_model: loss\neval_strategy: steps", "without load_best_model_at_end",
        "metric_for_best_model")]
    [InlineData(TrainingMethod.Sft, Good, "greater_is_better: true\neval_strategy: steps", "without load_best_model_at_end",
        "greater_is_better")]
    [InlineData(TrainingMethod.Dpo, Good, "generate_during_eval: true", "without evaluations")]
    [InlineData(TrainingMethod.Dpo, Good, "ref_model_mixup_alpha: 0.3", "without sync_ref_model")]
    [InlineData(TrainingMethod.Kto, Good, "ref_model_sync_steps: 64", "without sync_ref_model")]
    [InlineData(TrainingMethod.Grpo, Scored, "ref_model_sync_steps: 64", "without sync_ref_model")]
    [InlineData(TrainingMethod.Dpo, Good, "precompute_ref_log_probs: false\nreference_free: true", "with reference_free",
        "precompute_ref_log_probs")]
    [InlineData(TrainingMethod.Dpo, Good, "discopop_tau: 1.0", "on loss_type sigmoid")]
    [InlineData(TrainingMethod.Cpo, Good, "simpo_gamma: 1.4", "on loss_type sigmoid")]
    [InlineData(TrainingMethod.Cpo, Good, "alpha: 0.3\nloss_type: simpo", "on loss_type simpo", "alpha")]
    [InlineData(TrainingMethod.Cpo, Good, "cpo_alpha: 0.5\nloss_type: alphapo\nalpha: 0.25", "on loss_type alphapo", "cpo_alpha")]
    [InlineData(TrainingMethod.Bco, Good, "min_density_ratio: 0.1", "without use_density_ratio")]
    [InlineData(TrainingMethod.Orpo, Good, "max_completion_length: 9\ntrl_compat: \"0.24\"", "with trl_compat: \"0.24\"",
        "max_completion_length")]
    [InlineData(TrainingMethod.Reward, Good, "share_prompts: false", "on reward: its results are the same")]
    [InlineData(TrainingMethod.Grpo, Scored, "epsilon: 0.3", "with answers that are trained on in one step alone")]
    [InlineData(TrainingMethod.Grpo, Scored, "judge_model: j", "with reward_funcs: exact_match")]
    [InlineData(TrainingMethod.Grpo, Scored, "endpoint_retries: 9", "without an endpoint that is asked")]
    [InlineData(TrainingMethod.Grpo, Good + "reward_funcs: length\n", "answer_pattern: x", "with reward_funcs: length")]
    [InlineData(TrainingMethod.RejectionSample, Scored, "top_p: 0.5\ntemperature: 0", "with temperature: 0", "top_p")]
    [InlineData(TrainingMethod.RejectionSample, Scored, "select_k: 5", "with select: best_of_n")]
    [InlineData(TrainingMethod.RejectionSample, Scored, "select_margin: 0.5", "with select: best_of_n")]
    [InlineData(TrainingMethod.RejectionSample, Scored, "loss_weights: [0.5]", "where answers are trained on by sft")]
    [InlineData(TrainingMethod.RejectionSample, Scored, "learning_rate: 0.5\ntrain_method: none",
        "with train_method: none, which trains nothing", "learning_rate")]
    [InlineData(TrainingMethod.RejectionSample, Scored, "packing: true\nselect: best_vs_worst", "where answers are trained on by dpo",
        "packing")]
    public void A_key_without_effect_says_so(TrainingMethod method, string recipe, string lines, string why, string? key = null)
    {
        var said = RecipeFile.Said(recipe + lines + "\n", method);
        Assert.DoesNotContain(": error:", said);
        Assert.Matches($@"(warning|note): {Regex.Escape(key ?? lines.Split(':')[0])} has no effect {Regex.Escape(why)}", said);
    }

    [Theory] // the same keys where they are read
    [InlineData(TrainingMethod.Sft, Mixer
        + "dataset_splits: [a_train]\ndataset_kwargs: {add_special_tokens: false, append_concat_token: "
        + "false}\nauto_insert_empty_system_msg: false\n")]
    [InlineData(TrainingMethod.Sft, Good
        + "dataset_test_split: held\neval_strategy: steps\neval_steps: 5\neval_delay: 1\nper_device_eval_batch_size: 3\npacking: "
        + "true\neval_packing: false\npacking_strategy: wrapped\ntruncation_side: left\n")]
    [InlineData(TrainingMethod.Cpt, Good
        + "text_column: body\nadam_beta1: 0.8\nadam_beta2: 0.8\nadam_epsilon: 0.1\nwarmup_ratio: 0.1\nsave_steps: 7\nlogging_steps: "
        + "3\nnum_train_epochs: 2\n")]
    [InlineData(TrainingMethod.Sft, Good
        + "optim: lion\nadam_beta1: 0.8\nadam_beta2: 0.8\ntruncation_mode: keep_end\nlogging_strategy: epoch\neval_strategy: "
        + "steps\nlogging_steps: 5\n")]
    [InlineData(TrainingMethod.Sft, Good
        + "eval_strategy: epoch\nsave_strategy: epoch\nload_best_model_at_end: true\nmetric_for_best_model: loss\ngreater_is_better: "
        + "false\n")]
    [InlineData(TrainingMethod.Sft, Good
        + "eval_strategy: epoch\nsave_strategy: epoch\nsave_total_limit: 2\nmetric_for_best_model: loss\n")]
    [InlineData(TrainingMethod.Dpo, Mixer + "truncation_mode: keep_start\nauto_insert_empty_system_msg: false\n")]
    [InlineData(TrainingMethod.Dpo, Good
        + "sync_ref_model: true\nref_model_mixup_alpha: 0.3\nref_model_sync_steps: 9\nloss_type: [sigmoid, discopop]\ndiscopop_tau: 0.1\n")]
    [InlineData(TrainingMethod.Grpo, Scored
        + "num_iterations: 2\nepsilon: 0.3\nanswer_pattern: x\nreference_column: y\nmax_prompt_length: 9\nmax_completion_length: 9\n")]
    [InlineData(TrainingMethod.RejectionSample, Scored
        + "select: top_k\nselect_k: 3\npacking: true\nassistant_only_loss: true\nmax_length: 99\ntrain_method: sft\nlearning_rate: "
        + "1.0e-4\n")]
    public void A_key_that_is_read_is_silent(TrainingMethod method, string recipe)
    {
        var said = RecipeFile.Said(recipe, method);
        Assert.DoesNotContain("no effect", said);
        Assert.DoesNotContain(": error:", said);
    }

    [Theory] // one and the same message for what is asked for, a line for what repeats the default
    [InlineData("adam_beta1: 0.8\noptim: rmsprop\n",
        "r.yaml:4:13: warning: adam_beta1 has no effect with optim: rmsprop\n    4 | adam_beta1: 0.8\n      |             ^^^\n  fix: "
        + "set optim: adamw_torch, or remove the key\n")]
    [InlineData("adam_beta1: 0.9\noptim: rmsprop\n", "r.yaml:4:1: note: adam_beta1 has no effect with optim: rmsprop\n")]
    public void What_repeats_the_default_is_noted_and_what_does_not_is_warned_of(string lines, string expected) =>
        Assert.Equal(expected, RecipeFile.Said(Good + lines));

    [Fact]
    public void A_condition_that_rests_on_a_wrong_key_is_not_judged() =>
        Assert.DoesNotContain("no effect", RecipeFile.Said(Good + "packing: maybe\npacking_strategy: wrapped\n"));

    [Fact]
    public void Every_condition_is_of_keys_that_exist()
    {
        foreach (var (keys, condition) in KeyConditions.All)
            foreach (var name in keys.Concat(condition.Reads))
                Assert.True(RecipeKeys.Find(name.Split('.')[0])?.Name == name.Split('.')[0], name);
    }

    [Fact] // recipe.yaml of a run folder
    public void What_nothing_reads_is_not_in_the_resolved_recipe_unless_it_was_written()
    {
        Assert.DoesNotContain("adam_beta1", RecipeFile.Load(Good + "optim: rmsprop\n").ToYaml());
        var written = RecipeFile.Load(Good + "optim: rmsprop\nadam_beta1: 0.8\n").ToYaml();
        Assert.Contains("\nadam_beta1: 0.8\n", written);
        Assert.DoesNotContain("no effect", RecipeFile.Said(RecipeFile.Load(Good).ToYaml()));
    }
}
