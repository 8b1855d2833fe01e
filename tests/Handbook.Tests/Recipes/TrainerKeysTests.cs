using Handbook.Base.Keys;
using Handbook.Data;
using Handbook.Data.Tests;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Tests.Recipes;

/// <summary>A recipe for the reference trainer runs here: each key of each of its configuration classes is known to the method that it
/// belongs to.</summary>
public sealed class TrainerKeysTests
{
    private static readonly TrainingMethod[] s_methods =
        [TrainingMethod.Sft, TrainingMethod.Dpo, TrainingMethod.Orpo, TrainingMethod.Kto, TrainingMethod.Cpo, TrainingMethod.Bco,
            TrainingMethod.Reward, TrainingMethod.Grpo];

    public static TheoryData<string> Classes => [.. Sections().Select(section => section.Name)];

    [Theory, MemberData(nameof(Classes))]
    public void Every_key_of_the_class_is_known_and_its_default_is_taken(string name)
    {
        var (_, methods, keys) = Sections().Single(section => section.Name == name);
        Assert.True(keys.Count > 1, name);
        var refused = new List<string>();
        foreach (var method in methods)
            foreach (var (key, value) in keys)
            {
                var said = RecipeFile.Said(With(method, key, value), method);
                if (said.Contains(": error:", StringComparison.Ordinal))
                    refused.Add($"{RecipeNames.Of(method)} {key}: {value}\n{said}");
            }
        Assert.True(refused.Count == 0, string.Join("\n", refused));
    }

    [Theory, MemberData(nameof(Classes))]
    public void Every_key_of_the_class_works_or_has_an_answer_of_its_own(string name)
    {
        var (_, methods, keys) = Sections().Single(section => section.Name == name);
        foreach (var (key, _) in keys)
        {
            var known = RecipeKeys.Find(key);
            Assert.NotNull(known);
            Assert.True(known.Disposition == Disposition.Works || known.Reason is { Length: > 10 }, key);
            Assert.All(methods, method => Assert.True(known.Serves(method) || known.Elsewhere is { Length: > 10 }
                || name.StartsWith("all", StringComparison.Ordinal), $"{key} of {name}"));
        }
    }

    [Theory] // every value that the classes' documentation lists for a key of few values
    [InlineData(TrainingMethod.Dpo, "loss_type", "sigmoid hinge ipo exo_pair nca_pair robust bco_pair sppo_hard aot aot_pair aot_unpaired "
        + "discopop apo_zero apo_down sft sigmoid_norm [sigmoid,bco_pair,sft]")]
    [InlineData(TrainingMethod.Dpo, "f_divergence_type", "reverse_kl forward_kl js_divergence alpha_divergence")]
    [InlineData(TrainingMethod.Dpo, "truncation_mode", "keep_start keep_end")]
    [InlineData(TrainingMethod.Kto, "loss_type", "kto apo_zero_unpaired")]
    [InlineData(TrainingMethod.Kto, "train_sampling_strategy", "random sequential group_by_length")]
    [InlineData(TrainingMethod.Cpo, "loss_type", "sigmoid hinge ipo simpo alphapo")]
    [InlineData(TrainingMethod.Grpo, "loss_type", "grpo bnpo dr_grpo dapo")]
    [InlineData(TrainingMethod.Grpo, "scale_rewards", "true false group batch none")]
    [InlineData(TrainingMethod.Grpo, "importance_sampling_level", "token sequence")]
    [InlineData(TrainingMethod.Grpo, "log_completions", "true false")]
    [InlineData(TrainingMethod.Sft, "include_num_input_tokens_seen", "all non_padding no true false")]
    [InlineData(TrainingMethod.Sft, "save_strategy", "no steps epoch best")]
    [InlineData(TrainingMethod.Sft, "logging_strategy", "no steps epoch")]
    [InlineData(TrainingMethod.Sft, "report_to", "none all tensorboard [wandb,tensorboard]")]
    [InlineData(TrainingMethod.Sft, "fsdp", "full_shard [full_shard,auto_wrap] null")]
    [InlineData(TrainingMethod.Sft, "deepspeed", "{} null")]
    [InlineData(TrainingMethod.Sft, "packing_strategy", "bfd wrapped")]
    [InlineData(TrainingMethod.Sft, "warmup_steps", "0 0.1 100")]
    [InlineData(TrainingMethod.Sft, "lr_scheduler_type",
        "linear cosine cosine_with_restarts polynomial constant constant_with_warmup inverse_sqrt")]
    public void Every_value_of_the_key_is_taken(TrainingMethod method, string key, string values)
    {
        foreach (var value in values.Split(' '))
        {
            var said = RecipeFile.Said(With(method, key, value) + (value == "robust" || value == "exo_pair" ? "label_smoothing: 0.1\n"
                : key == "save_strategy" && value == "best" ? "eval_strategy: steps\nmetric_for_best_model: loss\n" : ""), method);
            Assert.False(said.Contains(": error:", StringComparison.Ordinal), $"{key}: {value}\n{said}");
        }
    }

    [Theory] // what the newer keys do, beyond being known
    [InlineData("", false, false)]
    [InlineData("train_sampling_strategy: random\n", false, false)]
    [InlineData("train_sampling_strategy: sequential\n", true, false)]
    [InlineData("train_sampling_strategy: group_by_length\n", false, true)]
    [InlineData("group_by_length: true\n", false, true)]
    public void The_order_of_rows_is_the_one_that_is_asked_for(string line, bool inOrder, bool byLength)
    {
        var rows = new TokenRowList([.. Enumerable.Range(0, 200)
            .Select(i => TokenRow.Single(new int[1 + i * 7 % 31], new byte[1 + i * 7 % 31]))]);
        foreach (var method in new[] { TrainingMethod.Sft, TrainingMethod.Dpo, TrainingMethod.Kto })
        {
            var recipe = RecipeFile.Load($"{RecipeFile.Good}per_device_train_batch_size: 4\n{line}", method);
            var plan = RowPlan.Steps(recipe, rows);
            var first = plan[0].MicroBatches[0];
            Assert.Equal(inOrder, first.SequenceEqual([0, 1, 2, 3]));
            Assert.Equal(byLength, first.All(row => rows.Length(row) > 25));
        }
    }

    [Theory]
    [InlineData(TrainingMethod.Kto, "trl_compat: \"1.9\"\n", true)]
    [InlineData(TrainingMethod.Kto, "trl_compat: \"1.9\"\ntrain_sampling_strategy: random\n", false)]
    [InlineData(TrainingMethod.Kto, "trl_compat: \"1.9\"\nloss_type: apo_zero_unpaired\n", true)]
    [InlineData(TrainingMethod.Kto, "trl_compat: \"0.24\"\nloss_type: apo_zero_unpaired\n", true)]
    [InlineData(TrainingMethod.Kto, "loss_type: apo_zero_unpaired\n", false)]
    [InlineData(TrainingMethod.Bco, "trl_compat: \"1.9\"\n", true)]
    [InlineData(TrainingMethod.Dpo, "trl_compat: \"1.9\"\n", false)]
    [InlineData(TrainingMethod.Grpo, "reward_funcs: exact_match\nshuffle_dataset: false\n", true)]
    [InlineData(TrainingMethod.Grpo, "reward_funcs: exact_match\n", false)]
    public void A_key_wins_over_the_order_of_its_method(TrainingMethod method, string lines, bool inOrder)
    {
        var rows = new TokenRowList([.. Enumerable.Range(0, 50).Select(_ => TokenRow.Single([1], [0]))]);
        var seen = RowPlan.Steps(RecipeFile.Load($"{RecipeFile.Good}per_device_train_batch_size: 8\n{lines}", method), rows)[0]
            .MicroBatches.SelectMany(batch => batch).ToArray();
        Assert.Equal(inOrder, seen.SequenceEqual(Enumerable.Range(0, seen.Length)));
    }

    [Theory]
    [InlineData("truncation_mode: keep_end\n", true)]
    [InlineData("truncation_mode: keep_start\n", false)]
    [InlineData("truncation_mode: keep_end\ntruncation_side: right\n", false)]
    public void Supervised_rows_are_cut_at_the_end_that_truncation_mode_says(string lines, bool left) =>
        Assert.Equal(left, RowPlan.Options(RecipeFile.Load(RecipeFile.Good + lines), TextMaker.Bytes).Rows.CutsLeft);

    [Theory]
    [InlineData("loss_type: dfft\n", "fix: did you mean dft?")]
    [InlineData("loss_type: [nll, dft]\n", "loss_type has 2 losses, but sft has one")]
    [InlineData("loss_type: sigmoid\n", "loss_type is sigmoid, which sft does not have")]
    [InlineData("loss_type: dft\nlabel_smoothing_factor: 0.1\n", "label_smoothing_factor has no effect on loss_type dft")]
    public void Another_supervised_loss_is_told(string lines, string message) =>
        Assert.Contains(message, RecipeFile.Said(RecipeFile.Good + lines));

    /// <summary>A good recipe with this key instead of its own, if it has one.</summary>
    private static string With(TrainingMethod method, string key, string value)
    {
        string[] lines =
        [
            "model_name_or_path: m", "dataset_name: d.jsonl", "bf16: false", "per_device_train_batch_size: 8",
            .. method == TrainingMethod.Grpo && key != "reward_funcs" ? new[] { "reward_funcs: exact_match" } : [],
        ];
        return string.Join('\n', lines.Where(line => !line.StartsWith(key + ":", StringComparison.Ordinal)).Append($"{key}: {value}"))
            + "\n";
    }

    private static IEnumerable<(string Name, TrainingMethod[] Methods, List<(string Key, string Value)> Keys)> Sections()
    {
        (string Name, TrainingMethod[] Methods, List<(string, string)> Keys)? section = null;
        foreach (var line in File.ReadLines(Path.Combine(SharedFiles.Repository, "tests/golden/recipes/trainer-keys.txt"))
            .Where(line => line.Length > 0 && line[0] != '#'))
            if (line[0] == '[')
            {
                if (section is { } done)
                    yield return done;
                var name = line[1..^1];
                section = (name, name.StartsWith("all", StringComparison.Ordinal) ? s_methods
                    : [s_methods.Single(method => RecipeNames.Of(method) == name.Split(' ')[0])], []);
            }
            else if (line is not ("model_name_or_path: null" or "dataset_name: null"))      // what a recipe cannot do without
                section!.Value.Keys.Add((line[..line.IndexOf(':')], line[(line.IndexOf(':') + 2)..]));
        yield return section!.Value;
    }
}
