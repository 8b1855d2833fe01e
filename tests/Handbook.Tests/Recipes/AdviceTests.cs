using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Torch;
using Handbook.Training.Methods;

namespace Handbook.Tests.Recipes;

/// <summary>What a message advises is tried: it takes the message away and brings no other.</summary>
public sealed partial class AdviceTests
{
    /// <summary>Recipes with two keys that do not go together; single keys are tried with values of every kind below.</summary>
    private static readonly (TrainingMethod Method, string Lines)[] s_together =
    [
        (TrainingMethod.Sft, "packing: true\nmax_length: null"), (TrainingMethod.Sft, "load_best_model_at_end: true"),
            (TrainingMethod.Sft, "load_best_model_at_end: true\neval_strategy: steps\nsave_strategy: epoch"),
        (TrainingMethod.Sft, "load_best_model_at_end: true\neval_strategy: steps\neval_steps: 30\nsave_steps: 100"),
        (TrainingMethod.Sft, "save_strategy: best"), (TrainingMethod.Sft, "optim: sgd\nadafactor: true"),
        (TrainingMethod.Sft, "optim: sgd\noptim_args: betas=1"), (TrainingMethod.Sft, "optim_args: eps=1"),
        (TrainingMethod.Sft, "lr_scheduler_type: cosine_with_min_lr"), (TrainingMethod.Sft, "lr_scheduler_type: reduce_lr_on_plateau"),
        (TrainingMethod.Sft, "lr_scheduler_type: warmup_stable_decay"),
        (TrainingMethod.Sft, "lr_scheduler_type: polynomial\nlr_scheduler_kwargs: {lr_end: 1}"),
        (TrainingMethod.Sft, "lr_scheduler_kwargs: {power: 2}"),
        (TrainingMethod.Sft, "bf16: true\nfp16: true"), (TrainingMethod.Sft, "max_steps: 5\nwarmup_steps: 50"),
        (TrainingMethod.Sft, "chat_template: a\nchat_template_path: b"),
        (TrainingMethod.Sft, "dataset_train_split: test\neval_strategy: epoch"),
        (TrainingMethod.Sft, "max_tokens: 100\npacking: true"), (TrainingMethod.Sft, "adam_beta1: 0.5\noptim: sgd"),
        (TrainingMethod.Sft, "truncation_side: left\npacking: true\npacking_strategy: wrapped"),
        (TrainingMethod.Dpo, "loss_type: [sigmoid, sft]\nloss_weights: [1]"),
        (TrainingMethod.Dpo, "loss_type: robust\nlabel_smoothing: 0.5"), (TrainingMethod.Dpo, "loss_type: exo_pair\ntrl_compat: \"1.9\""),
        (TrainingMethod.Dpo, "loss_type: hinge\nlabel_smoothing: 0.1"), (TrainingMethod.Dpo, "f_alpha_divergence_coef: 0.5"),
        (TrainingMethod.Dpo, "f_alpha_divergence_coef: 0.5\ntrl_compat: \"0.24\""),
        (TrainingMethod.Dpo, "f_divergence_type: alpha_divergence\nf_alpha_divergence_coef: 1.0"),
        (TrainingMethod.Dpo, "f_divergence_type: forward_kl\ntrl_compat: \"0.24\""),
        (TrainingMethod.Dpo, "f_divergence_type: js_divergence\nloss_type: aot"),
        (TrainingMethod.Dpo, "f_divergence_type: js_divergence\nloss_type: apo_down"),
        (TrainingMethod.Dpo, "f_divergence_type: js_divergence\nloss_type: sft"),
        (TrainingMethod.Dpo, "use_weighting: true\nloss_type: aot"),
        (TrainingMethod.Dpo, "rpo_alpha: 1.0\nloss_type: [sigmoid, sft]"), (TrainingMethod.Dpo, "rpo_alpha: 1.0\ntrl_compat: \"1.9\""),
        (TrainingMethod.Dpo, "sync_ref_model: true\nreference_free: true"),
        (TrainingMethod.Dpo, "sync_ref_model: true\nprecompute_ref_log_probs: true"),
        (TrainingMethod.Dpo, "reference_free: true\nref_model_name_or_path: r"),
        (TrainingMethod.Dpo, "max_length: 256\nmax_prompt_length: 300"),
        (TrainingMethod.Dpo, "loss_type: aot\nper_device_train_batch_size: 1"),
        (TrainingMethod.Dpo, "loss_type: aot\nper_device_train_batch_size: 2\ngradient_accumulation_steps: 4\ntrl_compat: \"1.9\""),
        (TrainingMethod.Dpo, "discopop_tau: 1.0"), (TrainingMethod.Kto, "per_device_train_batch_size: 1"),
        (TrainingMethod.Kto, "desirable_weight: 0\nundesirable_weight: 0"), (TrainingMethod.Kto, "loss_type: [kto, apo_zero_unpaired]"),
        (TrainingMethod.Kto, "trl_compat: \"0.24\"\nmax_length: 256"),
        (TrainingMethod.Bco, "trl_compat: \"0.24\"\nmax_length: 66\nmax_prompt_length: 64"),
        (TrainingMethod.Bco, "min_density_ratio: 20\nuse_density_ratio: true"),
        (TrainingMethod.Cpo, "loss_type: ipo\nlabel_smoothing: 0.1"), (TrainingMethod.Cpo, "loss_type: alphapo"),
        (TrainingMethod.Cpo, "simpo_gamma: 1.0"), (TrainingMethod.Cpo, "alpha: 1.0"),
        (TrainingMethod.Grpo, "num_generations: 3"), (TrainingMethod.Grpo, "num_generations: 1"),
        (TrainingMethod.Grpo, "num_generations: 16"), (TrainingMethod.Grpo, "num_generations: 6\ngradient_accumulation_steps: 3"),
        (TrainingMethod.Grpo, "generation_batch_size: 12"), (TrainingMethod.Grpo, "generation_batch_size: 16\nsteps_per_generation: 2"),
        (TrainingMethod.Grpo, "steps_per_generation: 3\ngradient_accumulation_steps: 2"),
        (TrainingMethod.Grpo, "loss_type: bnpo\nper_device_train_batch_size: 4\ngradient_accumulation_steps: 2"),
        (TrainingMethod.Grpo, "epsilon: 0.3"), (TrainingMethod.Grpo, "epsilon_high: 0.1\nnum_iterations: 2"),
        (TrainingMethod.Grpo, "delta: 1.1\nnum_iterations: 2"), (TrainingMethod.Grpo, "ref_model_name_or_path: r"),
        (TrainingMethod.Grpo, "sync_ref_model: true"), (TrainingMethod.Grpo, "temperature: 0"), (TrainingMethod.Grpo, "top_k: 1"),
        (TrainingMethod.Grpo, "reward_funcs: judge"), (TrainingMethod.Grpo, "reward_funcs: regex"),
        (TrainingMethod.Grpo, "reward_funcs: unit_test"), (TrainingMethod.Grpo, "reward_funcs: [length, length]"),
        (TrainingMethod.Grpo, "reward_funcs: exactmatch"),
        (TrainingMethod.Grpo, "reward_funcs: length\nmin_answer_length: 9\nmax_answer_length: 3"),
        (TrainingMethod.Grpo, "reward_weights: [1, 2]"), (TrainingMethod.Grpo, "judge_model: j"),
        (TrainingMethod.RejectionSample, "select: threshold"),
        (TrainingMethod.RejectionSample, "select: best_vs_worst\nnum_generations: 1"),
        (TrainingMethod.RejectionSample, "select: best_vs_worst\ntemperature: 0"), (TrainingMethod.RejectionSample, "temperature: 0"),
        (TrainingMethod.RejectionSample, "select: best_vs_worst\ntrain_method: sft"),
        (TrainingMethod.RejectionSample, "train_method: dpo"), (TrainingMethod.RejectionSample, "train_method: none\nrounds: 2"),
        (TrainingMethod.RejectionSample, "sample_base_url: http://localhost:1/v1"),
        (TrainingMethod.RejectionSample, "sample_model: m\nrounds: 2"), (TrainingMethod.RejectionSample, "sample_model: m\ntop_k: 5"),
        (TrainingMethod.RejectionSample, "do_eval: true"),
        (TrainingMethod.RejectionSample, "select_k: 5"),
    ];

    private static readonly string[] s_values =
        ["-1", "0", "1", "1.5", "0.25", "3", "1000000", "99999999999", "true", "false", "maybe", "null", "\"\"", "word", "[1, 2]",
            "[a, b]", "{a: 1}", "steps", "epoch", "left", "sigmiod", "dpo"];

    [Fact]
    public void Every_advice_of_a_recipe_s_messages_works()
    {
        var tried = new SortedDictionary<string, string>(StringComparer.Ordinal);
        var failed = new SortedDictionary<string, string>(StringComparer.Ordinal);
        foreach (var (method, lines) in s_together.Concat(Singles()))
            foreach (var (advice, problem) in Try(method, lines))
                (problem is null ? tried : failed)[advice] = problem ?? "";
        Assert.True(failed.Count == 0, string.Join("\n\n", failed.Values));
        Assert.True(tried.Count > 120, $"{tried.Count} kinds of advice were tried");
    }

    private static IEnumerable<(TrainingMethod, string)> Singles() =>
        from method in Enum.GetValues<TrainingMethod>()
        from key in RecipeKeys.All
        where key.Disposition == Disposition.Works && key.Serves(method) && (key.Methods.Count > 0 || method == TrainingMethod.Sft)
        from value in s_values
        select (method, $"{key.Name}: {value}");

    /// <summary>Applies each advice of a recipe's messages by itself.</summary>
    private static IEnumerable<(string Advice, string? Problem)> Try(TrainingMethod method, string lines)
    {
        var keys = Keys(method, lines);
        var before = Said(method, keys);
        foreach (var said in before.Where(said => said is { Fix: not null, Severity: not Severity.Note }))
            foreach (var (advice, change) in Changes(said))
            {
                var changed = new Dictionary<string, string>(keys);
                change(changed);
                var after = Said(method, changed);
                var problem = after.Any(other => other.What == said.What) ? "the message stays"
                    : after.FirstOrDefault(other => other.Severity == Severity.Error
                        && before.All(known => known.What != other.What)) is { } error ? $"another one comes: {error.What}" : null;
                yield return ($"{said.What.Split(' ')[0]}: {said.Fix}: {advice}", problem is null ? null
                    : $"handbook {RecipeNames.Of(method)}\n{string.Join('\n', keys.Select(key => $"  {key.Key}: {key.Value}"))}\n{said.What}\n  fix: {said.Fix}\nafter {advice}: {problem}");
            }
    }

    private static IReadOnlyList<Diagnostic> Said(TrainingMethod method, Dictionary<string, string> keys)
    {
        using var file = new RecipeFile(string.Concat(keys.Select(key => $"{key.Key}: {key.Value}\n")));
        return Recipe.Load(file.File, [], method).Diagnostics.All;
    }

    private static Dictionary<string, string> Keys(TrainingMethod method, string lines)
    {
        var keys = new Dictionary<string, string> { ["model_name_or_path"] = "m", ["dataset_name"] = "d.jsonl", ["bf16"] = "false" };
        if (method is TrainingMethod.Grpo or TrainingMethod.RejectionSample)
            keys["reward_funcs"] = "exact_match";
        foreach (var line in lines.Split('\n'))
            keys[line[..line.IndexOf(':')]] = line[(line.IndexOf(':') + 2)..];
        if (keys.ContainsKey("dataset_mixer") || keys.ContainsKey("dataset_mixture"))
            keys.Remove("dataset_name");
        return keys;
    }

    /// <summary>What a message's advice means for the keys: one change for each thing that it says to do.</summary>
    private static IEnumerable<(string Advice, Action<Dictionary<string, string>> Change)> Changes(Diagnostic said)
    {
        var subject = said.What.Split(' ')[0];
        foreach (var part in Alternative().Split(said.Fix!))
        {
            if (Loose().IsMatch(part) || part.Contains('…') || part.Contains("path/to", StringComparison.Ordinal)
                || part.Contains("VALUE", StringComparison.Ordinal))
                continue;
            var changes = new List<Action<Dictionary<string, string>>>();
            foreach (Match match in Assignment().Matches(part))
                if (RecipeKeys.Find(match.Groups[1].Value) is not null)
                    changes.Add(keys => keys[match.Groups[1].Value] = match.Groups[2].Value);
            if (SetBoth().Match(part) is { Success: true } both)
                changes.Add(keys => (keys[both.Groups[1].Value], keys[both.Groups[2].Value]) = (both.Groups[3].Value,
                    both.Groups[3].Value));
            foreach (Match match in Removal().Matches(part))
                if (RecipeKeys.Find(match.Groups[1].Value) is not null)
                    changes.Add(keys => keys.Remove(match.Groups[1].Value));
            if (RecipeKeys.Find(subject) is null && subject.Contains('.'))
                continue;       // below a map
            if (RemoveSubject().IsMatch(part))
                changes.Add(keys => keys.Remove(subject));
            else if (changes.Count == 0 && Value(part.Trim()) is { } value)
                changes.Add(keys => keys[subject] = value);
            if (changes.Count > 0)
                yield return (part.Trim(), keys => changes.ForEach(change => change(keys)));
        }
    }

    /// <summary>What is no value: "write 2, in the order of …", "write a number", "write it with its scheme".</summary>
    [GeneratedRegex(@"^write (?:one value: )?(?:\d+, in the order|it |a (?:number|text|map|list of \w+)$|true or false|\{|\[)")]
    private static partial Regex Loose();

    /// <summary>The value that an advice names for its key; null where it names none.</summary>
    private static string? Value(string part) => part.StartsWith("null to", StringComparison.Ordinal) ? "null"
        : new[] { Number(), Example(), Word() }.Select(form => form.Match(part))
            .FirstOrDefault(match => match.Success)?.Groups[1].Value.TrimEnd('.');

    // "set a: 1 or more" is one advice; "set a: 1, or remove b" are two
    [GeneratedRegex(", or (?!more|less)|; or |; (?=use|set|write|remove|add)")]
    private static partial Regex Alternative();

    [GeneratedRegex(@"\b([a-z][a-z0-9_]+): (\[[^\]]*\]|\{[^}]*\}|""[^""]*""|'[^']*'|[^\s,;`)]+)")]
    private static partial Regex Assignment();

    [GeneratedRegex(@"\bset ([a-z_]+) and ([a-z_]+) to ([a-z]+)")]
    private static partial Regex SetBoth();

    [GeneratedRegex(@"(?:\bremove|\band no|\band remove|(?<=remove [a-z_]+) and) ([a-z_]+)")]
    private static partial Regex Removal();

    [GeneratedRegex(@"remove (?:the key|the line|one of the two)|^remove it$")]
    private static partial Regex RemoveSubject();

    [GeneratedRegex(@"^(?:use|write|did you mean) (-?[0-9][0-9.e+-]*|null)(?= |,|\?|$)")]
    private static partial Regex Number();

    [GeneratedRegex(@"(?:such as|(?:use|write) one of|one value: one of|one value:) (-?[0-9][0-9.e+-]*|[a-z][a-z0-9_]+)(?=,|$)")]
    private static partial Regex Example();

    [GeneratedRegex(@"^(?:use|write|did you mean) ([a-z][a-z0-9_]+)(?=,|\?|$)")]
    private static partial Regex Word();
}
