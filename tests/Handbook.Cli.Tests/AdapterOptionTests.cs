namespace Handbook.Cli.Tests;

/// <summary><c>--adapter</c> of the commands that use a model.</summary>
public sealed class AdapterOptionTests(AdapterFolders folders) : IClassFixture<AdapterFolders>
{
    private static readonly string[] s_question = ["the sun and", "--raw", "--max-new-tokens", "20"];

    [Fact]
    [Trait("speed", "slow")]
    public void A_model_answers_with_each_of_its_adapters()
    {
        var (model, first, second) = (Answer("model"), Answer("model", "--adapter", "a"), Answer("model", "--adapter", "b"));
        Assert.Equal(Answer("a"), first);
        Assert.Equal(Answer("b"), second);
        Assert.Equal(3, new[] { model, first, second }.Distinct().Count());
    }

    [Fact]
    public void A_key_of_an_adapters_config_that_is_not_known_is_told()
    {
        var later = folders.WithKey("a", "use_later_lora", true);
        Assert.Contains($"note: {Path.Combine(later, "adapter_config.json")}: use_later_lora: unknown, and without effect here",
            SmallModel.Succeed(folders.Handbook.Run("generate", later, "one two", "--raw", "--max-new-tokens", "2")).Error);
        var none = folders.WithKey("a", "use_later_lora", false);
        Assert.DoesNotContain("unknown", SmallModel.Succeed(folders.Handbook.Run("generate", none, "one two", "--raw", "--max-new-tokens",
            "2")).Error);
    }

    [Fact]
    public void An_adapter_is_put_over_the_adapter_that_it_was_trained_on() => Assert.Equal(Answer("c"), Answer("a", "--adapter", "c"));

    [Fact]
    public void The_model_need_not_lie_where_the_adapter_says()
    {
        var adapter = folders.WithKey("a", "base_model_name_or_path", "was/here");
        Refused(Run("generate", adapter, "hello"), $"{adapter} is an adapter of was/here, which is not found");
        Assert.Equal(Answer("a"), Answer(folders.Copy("model"), "--adapter", adapter));
    }

    [Fact]
    public void An_adapter_that_does_not_belong_to_the_model_is_refused()
    {
        var error = Refused(Run("generate", "model", "hello", "--adapter", "c"), "without a below it", "fix: name a as the model");
        Assert.Matches(@"error: c was trained on model \([0-9a-f]{12}\) \+ a \([0-9a-f]{12}\), but meets model \(", error);
        error = Refused(Run("generate", "a", "hello", "--adapter", "b"),
            "what an adapter learnt is a difference from exactly those weights");
        Assert.Matches(@"error: b was trained on model \([0-9a-f]{12}\), but meets model \([0-9a-f]{12}\) \+ a \(", error);
        Refused(Run("generate", "model", "hello", "--adapter", "model"), "--adapter: model holds no adapter",
            "why: there is no adapter_config.json");
        Refused(Run("score", "model", "rows", "--adapter", "nowhere"), "--adapter: there is no folder nowhere",
            "fix: name a folder with config.json, weights and tokenizer");
    }

    [Fact]
    public void An_adapter_of_another_program_is_taken_with_a_note_where_its_layers_are_the_models()
    {
        var adapter = folders.WithTensors("a", tensor => tensor, metadata: false);
        var outcome = SmallModel.Succeed(Run(["generate", "model", "--adapter", adapter, .. s_question]));
        Assert.Equal(Answer("a"), outcome.Output);
        Assert.Contains($"note: {adapter} does not say which weights it was trained on: it is taken for an adapter of model\n",
            outcome.Error);

        folders.Handbook.Write("wide.json", File.ReadAllText(folders.At("config.json")).Replace("\"hidden_size\": 32",
            "\"hidden_size\": 48"));
        SmallModel.Succeed(Run("init", "--config", "wide.json", "--tokenizer", "tok", "--output", "wide", "--seed", "3"));
        Refused(Run("generate", "wide", "hello", "--adapter", adapter), "lora_A");
    }

    [Fact]
    [Trait("speed", "slow")]
    public void An_adapter_is_used_over_the_codes_that_it_was_trained_over_unless_the_original_weights_are_asked_for()
    {
        SmallModel.Succeed(Run("cpt", "recipe.yaml", "--output_dir=q", "--load_in_8bit=true"));
        foreach (var words in (string[][])[["q"], ["model", "--adapter", "q"]])
        {
            var usual = SmallModel.Succeed(Run(["generate", .. words, .. s_question]));
            Assert.Contains("note: quantised weights (int8): ", usual.Error);       // those of the run, from the cache
            Assert.DoesNotContain("kept as", usual.Error);
            Assert.Equal(usual.Output, SmallModel.Succeed(Run(["generate", .. words, "--over", "dequantised", .. s_question])).Output);
            var original = SmallModel.Succeed(Run(["generate", .. words, "--over", "original", .. s_question]));
            Assert.Contains("note: trained over weights kept as int8, and used over them kept as numbers: ", original.Error);
            Assert.DoesNotContain("quantised weights", original.Error);
        }
        Refused(Run(["generate", "a", "--over", "original", .. s_question]),
            "--over original, but a was trained over no quantised weights");
    }

    [Fact]
    public void A_conversation_is_held_with_an_adapter()
    {
        var answer = SmallModel.Succeed(Run("generate", "a", "the sun", "--max-new-tokens", "6")).Output;
        Assert.NotEqual(answer, SmallModel.Succeed(Run("generate", "model", "the sun", "--max-new-tokens", "6")).Output);
        using var chat = folders.Handbook.Start(["chat", "model", "--adapter", "a", "--max-new-tokens", "6"], input: true);
        chat.StandardInput.Write("the sun\n/exit\n");
        chat.StandardInput.Close();
        Assert.Equal(answer, chat.StandardOutput.ReadToEnd());
        Assert.True(chat.WaitForExit(TimeSpan.FromMinutes(2)));
        Assert.Equal(0, chat.ExitCode);
    }

    [Fact]
    public void Rows_are_scored_by_a_model_with_the_adapter_of_a_reward_model()
    {
        folders.Handbook.Write("prefs/train.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i =>
            $$"""{"prompt": "one {{i}}", "chosen": "the sun", "rejected": "four {{i}}"}""" + "\n")));
        SmallModel.Succeed(Run("reward", "recipe.yaml", "--dataset_name=prefs", "--output_dir=reward"));
        SmallModel.Succeed(Run("score", "reward", "prefs", "-o", "own.jsonl"));
        SmallModel.Succeed(Run("score", "model", "prefs", "--adapter", "reward", "-o", "over.jsonl"));
        Assert.Equal(File.ReadAllText(folders.At("own.jsonl")), File.ReadAllText(folders.At("over.jsonl")));
        Refused(Run("score", "model", "prefs", "--adapter", "a"), "has no head that scores texts");
    }

    private string Answer(params string[] words) => SmallModel.Succeed(Run(["generate", .. words, .. s_question])).Output;

    private static string Refused(Outcome outcome, params string[] messages)
    {
        Assert.Equal(2, outcome.Code);
        foreach (var message in messages)
            Assert.Contains(message, outcome.Error);
        return outcome.Error;
    }

    private Outcome Run(params string[] words) => folders.Handbook.Run(words);
}
