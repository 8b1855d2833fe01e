namespace Handbook.Cli.Tests.Mistakes;

/// <summary>Rows and keys of preferences, verdicts, rewards, and sampling.</summary>
internal static class MethodMistakes
{
    public static IReadOnlyList<Mistake> All { get; } =
    [
        Keys("dpo", "a beta of nothing", "beta: 0", "beta: 0.1"),
        Keys("dpo", "a loss that does not exist", "loss_type: sigmod", "loss_type: sigmoid"),
        Keys("dpo", "weights for other losses", "loss_type: [sigmoid, sft]\nloss_weights: [1.0]",
            "loss_type: [sigmoid, sft]\nloss_weights: [1.0, 0.5]"),
        Keys("dpo", "labels that are as often wrong as right", "loss_type: robust\nlabel_smoothing: 0.5",
            "loss_type: robust\nlabel_smoothing: 0.1"),
        Keys("dpo", "a reference that moves and is computed before", "sync_ref_model: true\nprecompute_ref_log_probs: true",
            "sync_ref_model: true"),
        Keys("dpo", "a reference that is nowhere", "ref_model_name_or_path: someone/before", "ref_model_name_or_path: model"),
        Keys("dpo", "a reference that is not read", "reference_free: true\nref_model_name_or_path: model", "reference_free: true"),
        Keys("dpo", "prompts of no token", "max_prompt_length: 0", "max_prompt_length: 32"),
        Keys("dpo", "a release that is none", "trl_compat: '0.25'", "trl_compat: '0.24'"),
        Rows("dpo", "pairs without the rejected answer", """{"prompt": "number?", "chosen": " it is"}"""),
        Rows("dpo", "pairs of two equal answers",
            """{"prompt": "number?", "chosen": " it is", "rejected": " it is"}""") with { IsQuick = true },
        Rows("dpo", "pairs with an empty answer", """{"prompt": "number?", "chosen": "", "rejected": " it is"}"""),
        Rows("dpo", "pairs with an answer that is null", """{"prompt": "number?", "chosen": null, "rejected": " it is"}"""),
        Rows("dpo", "answers of two forms",
            """{"prompt": "number?", "chosen": [{"role": "assistant", "content": "it is"}], "rejected": " no"}"""),
        Rows("dpo", "conversations that end with the user",
            """{"chosen": [{"role": "user", "content": "number?"}], "rejected": [{"role": "user", "content": "number!"}]}"""),
        Rows("dpo", "conversations for pairs",
            """{"messages": [{"role": "user", "content": "number?"}, {"role": "assistant", "content": "it is"}]}"""),
        Rows("reward", "verdicts for pairs", """{"prompt": "number?", "completion": " it is", "label": true}"""),
        Rows("orpo", "pairs by another tool's names", """{"instruction": "number?", "winner": " it is", "loser": " no"}""") with
        {
            Mend = run => run.Add("column_mapping: {prompt: instruction, chosen: winner, rejected: loser}"),
        },
        Rows("kto", "verdicts without a label", """{"prompt": "number?", "completion": " it is"}"""),
        Rows("kto", "labels that are words", """{"prompt": "number?", "completion": " it is", "label": "good"}"""),
        Rows("kto", "labels that are marks", """{"prompt": "number?", "completion": " it is", "label": 7}"""),
        Rows("kto", "labels that are null", """{"prompt": "number?", "completion": " it is", "label": null}"""),
        Keys("kto", "answers that weigh nothing", "desirable_weight: 0\nundesirable_weight: 0", "desirable_weight: 1.0"),
        new("a batch of one verdict", run => run.Set("per_device_train_batch_size", "per_device_train_batch_size: 1"),
            run => run.Set("per_device_train_batch_size", "per_device_train_batch_size: 2")) { Method = "kto" },
        Keys("cpo", "a loss of another method", "loss_type: kto_pair", "loss_type: simpo"),
        Keys("bco", "a least weight above the greatest", "use_density_ratio: true\nmin_density_ratio: 5\nmax_density_ratio: 1",
            "min_density_ratio: 0.5"),
        Keys("reward", "a centre that is negative", "center_rewards_coefficient: -1", "center_rewards_coefficient: 0.01"),
        new("no reward", run => run.Remove("reward_funcs"), run => run.Add("reward_funcs: exact_match")) { Method = "grpo" },
        Rewards("a reward that does not exist", "reward_funcs: exact_mach", "reward_funcs: exact_match"),
        Rewards("weights for other rewards", "reward_funcs: [exact_match, length]\nreward_weights: [1.0]\nmax_answer_length: 9",
            "reward_funcs: [exact_match, length]\nreward_weights: [1.0, 0.5]\nmax_answer_length: 9"),
        Rewards("an expression for rewards that is none", "reward_funcs: regex\nreward_pattern: '(0'",
            "reward_funcs: regex\nreward_pattern: '[0-9]'"),
        Rewards("an expression for rewards that is missing", "reward_funcs: regex", "reward_funcs: regex\nreward_pattern: '[0-9]'"),
        Rewards("code that may not run", "reward_funcs: unit_test\nunit_test_command: python3 solution.py", "reward_funcs: exact_match"),
        Rewards("a model of rewards that is nowhere", "reward_funcs: reward_model\nreward_model_name_or_path: judge",
            "reward_funcs: exact_match"),
        Rewards("a model of rewards that is a language model", "reward_funcs: reward_model\nreward_model_name_or_path: model",
            "reward_funcs: exact_match"),
        Rewards("a judge without its model", "reward_funcs: judge\njudge_base_url: http://127.0.0.1:9/v1", "reward_funcs: exact_match"),
        Rewards("a judge at an address that is none", "reward_funcs: judge\njudge_base_url: nowhere\njudge_model: m",
            "reward_funcs: exact_match"),
        Rewards("a column of right answers that is not there", "reward_funcs: exact_match\nreference_column: truth",
            "reward_funcs: exact_match\nreference_column: answer"),
        new("prompts without right answers", run => run.Write("rows.jsonl", "{\"prompt\": \"number?\"}\n{\"prompt\": \"what?\"}\n"),
            run => run.Write("rows.jsonl",
                "{\"prompt\": \"number?\", \"answer\": \"1\"}\n{\"prompt\": \"what?\", \"answer\": \"2\"}\n")) { Method = "grpo" },
        new("right answers that are no numbers", run =>
        {
            run.Write("rows.jsonl", "{\"prompt\": \"number?\", \"answer\": \"one\"}\n{\"prompt\": \"what?\", \"answer\": \"2\"}\n");
            run.Set("reward_funcs", "reward_funcs: number_match");
        }, run => run.Write("rows.jsonl",
            "{\"prompt\": \"number?\", \"answer\": \"1\"}\n{\"prompt\": \"what?\", \"answer\": \"2\"}\n")) { Method = "grpo" },
        new("a group of one answer", run => run.Set("num_generations", "num_generations: 1"),
            run => run.Set("num_generations", "num_generations: 2")) { Method = "grpo" },
        new("groups that do not fill a step", run => run.Set("num_generations", "num_generations: 3"),
            run => run.Set("num_generations", "num_generations: 2"))
            { Method = "grpo", IsQuick = true },
        Keys("grpo", "a clip of everything", "num_iterations: 2\nepsilon: 1", "num_iterations: 2\nepsilon: 0.2"),
        Keys("grpo", "a temperature below nothing", "temperature: -1", "temperature: 1.0"),
        Keys("grpo", "a share of words above all", "top_p: 1.5", "top_p: 0.9"),
        new("no prompts", run => run.Write("rows.jsonl", "{\"label\": true}\n"),
            run => run.Write("rows.jsonl", "{\"prompt\": \"number?\", \"answer\": \"1\"}\n"))
            { Method = "rejection-sample" },
        Keys("rejection-sample", "a threshold without its number", "select: threshold", "select: threshold\nselect_threshold: 0.0"),
        Keys("rejection-sample", "rounds that train nothing", "rounds: 2", "rounds: 1"),
    ];

    private static Mistake Keys(string method, string title, string wrong, string right) => new(title, run => run.Add(wrong), run =>
    {
        run.Remove([.. wrong.Split('\n').Select(line => line.Split(':')[0])]);
        run.Add(right);
    })
    { Method = method };

    /// <summary>Another way to reward.</summary>
    private static Mistake Rewards(string title, string wrong, string right) => new(title, run => run.Set("reward_funcs", wrong), run =>
    {
        run.Remove([.. wrong.Split('\n').Skip(1).Select(line => line.Split(':')[0])]);
        run.Set("reward_funcs", right);
    })
    { Method = "grpo" };

    /// <summary>Rows that are all alike; those that are whole mend it.</summary>
    private static Mistake Rows(string method, string title, string wrong) => new(title,
        run => run.Write("rows.jsonl", string.Concat(Enumerable.Repeat(wrong + "\n", 4))), run =>
        {
            using var whole = new MistakeFolder(method);
            run.Write("rows.jsonl", File.ReadAllText(whole.At("rows.jsonl")));
        })
    { Method = method };
}
