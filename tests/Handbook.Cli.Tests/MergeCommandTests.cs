using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Handbook.Models.Files;

namespace Handbook.Cli.Tests;

public sealed class MergeCommandTests(AdapterFolders folders) : IClassFixture<AdapterFolders>
{
    [Fact]
    public void An_adapter_goes_with_all_that_it_lies_on_into_a_model_that_answers_the_same()
    {
        var output = folders.New("merged");
        var outcome = SmallModel.Succeed(Run("merge", "c", "--out", output));
        Assert.Matches(@"^merged\d+: model \([0-9a-f]{12}\) \+ a \([0-9a-f]{12}\) \+ c \([0-9a-f]{12}\)\n14 layers changed, float32, ",
            outcome.Output);
        Assert.True(Largest(outcome) < 1e-3, outcome.Output);
        Assert.Equal(["README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
            "special_tokens_map.json",
            "tokenizer.json", "tokenizer_config.json"], Files(output));
        var card = File.ReadAllText(folders.At(output, "README.md"));
        Assert.Contains("This model is model with a and c merged into its weights", card);
        foreach (Match link in Regex.Matches(outcome.Output, @"(\w+) \(([0-9a-f]{12})\)"))
            Assert.Matches($@"\n\| {link.Groups[1].Value} \| `{link.Groups[2].Value}[0-9a-f]{{52}}` \|\n", card);
        Assert.Matches(@"14 layers differ from the base's; weights are float32\..* by up to (\d\.\de-\d|0\.0\d+) ", card);
        Assert.Contains($"./handbook chat {output}\n", card);

        string[] question = ["the sun and", "--raw", "--max-new-tokens", "20"];
        var answer = SmallModel.Succeed(Run(["generate", "c", .. question])).Output;
        Assert.Equal(answer, SmallModel.Succeed(Run(["generate", output, .. question])).Output);
        Assert.NotEqual(answer, SmallModel.Succeed(Run(["generate", "model", .. question])).Output);
    }

    [Fact]
    [Trait("speed", "slow")]
    public void An_adapter_on_parameters_of_experts_is_trained_over_numbers_and_merged()
    {
        folders.Handbook.Write("experts.json", """
            {"model_type": "gpt_oss", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
             "num_key_value_heads": 1, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "initializer_range": 0.4}
            """);
        SmallModel.Succeed(Run("init", "--config", "experts.json", "--tokenizer", "tok", "--output", "experts", "--seed", "3"));
        string[] keys = ["--model_name_or_path=experts", "--lora_target_modules=[]",
            "--lora_target_parameters=[mlp.experts.gate_up_proj, mlp.experts.down_proj]", "--lora_dropout=0", "--load_in_4bit=true",
                "--output_dir=on-experts"];
        var run = SmallModel.Succeed(Run(["cpt", "recipe.yaml", .. keys]));
        Assert.Matches("experts that are published as one tensor stay numbers, as in the Python library, whose nf4 is for linear layers: "
            + @"98\.\d kB of \d+ kB", run.Error.ReplaceLineEndings(" "));
        using (var saved = WeightFiles.Open(folders.At("on-experts", "adapter_model.safetensors")))
            Assert.Equal(["base_model.model.model.layers.0.mlp.experts.base_layer.lora_A.weight [16, 32]",
                "base_model.model.model.layers.0.mlp.experts.base_layer.lora_B.weight [64, 16]",
                "base_model.model.model.layers.0.mlp.experts.lora_A.weight [16, 32]",
                "base_model.model.model.layers.0.mlp.experts.lora_B.weight [32, 16]"],
                saved.Names.Where(name => name.Contains(".0.", StringComparison.Ordinal)).Select(name => $"{name} {saved.Info(name).Shape}")
                    .Order(StringComparer.Ordinal));
        var config = JsonNode.Parse(File.ReadAllText(folders.At("on-experts", "adapter_config.json")))!;
        Assert.Equal("""["mlp.experts.gate_up_proj","mlp.experts.down_proj"]""", config["target_parameters"]!.ToJsonString());
        Assert.Equal("[]", config["target_modules"]!.ToJsonString());
        var output = folders.New("merged");
        Assert.Contains("4 layers changed", SmallModel.Succeed(Run("merge", "on-experts", "--out", output)).Output);
        string[] question = ["the sun and", "--raw", "--max-new-tokens", "12"];
        var answer = SmallModel.Succeed(Run(["generate", output, .. question])).Output;
        Assert.Equal(answer, SmallModel.Succeed(Run(["generate", "on-experts", .. question])).Output);
        Assert.NotEqual(answer, SmallModel.Succeed(Run(["generate", "experts", .. question])).Output);
    }

    [Fact]
    public void The_layout_is_the_bases()
    {
        var output = folders.New("merged");
        SmallModel.Succeed(Run("merge", "a", "--out", output));
        using var own = WeightFiles.Open(folders.At(output));
        using var original = WeightFiles.Open(folders.At("model"));
        Assert.Equal(original.Names.Select(original.Info).OrderBy(info => info.Name, StringComparer.Ordinal),
            own.Names.Select(own.Info).OrderBy(info => info.Name, StringComparer.Ordinal));
        var config = JsonNode.Parse(File.ReadAllText(folders.At(output, "config.json")))!;
        Assert.Equal(JsonNode.Parse(File.ReadAllText(folders.At("a", "config.json")))!["eos_token_id"]!.ToJsonString(),
            config["eos_token_id"]!.ToJsonString());
    }

    [Fact]
    public void Another_element_type_and_texts_of_ones_own_are_taken_when_asked()
    {
        var output = folders.New("merged");
        folders.Handbook.Write("texts.txt", "one two three\n\nthe moon\n");
        var outcome = SmallModel.Succeed(Run("merge", "a", "--out", output, "--dtype", "bfloat16", "--probe", "texts.txt", "--max-drift",
            "3"));
        Assert.Contains("layers changed, bfloat16", outcome.Output);
        Assert.Contains("up to 3.0000 is let pass", outcome.Output);
        using var own = WeightFiles.Open(folders.At(output));
        Assert.All(own.Names, name => Assert.Equal(Handbook.Torch.DType.BFloat16, own.Info(name).DType));
    }

    [Fact]
    public void A_reward_model_keeps_its_scores()
    {
        folders.Handbook.Write("prefs/train.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i =>
            $$"""{"prompt": "one {{i}}", "chosen": "the sun", "rejected": "four {{i}}"}""" + "\n")));
        SmallModel.Succeed(Run("reward", "recipe.yaml", "--dataset_name=prefs", "--output_dir=reward"));
        var output = folders.New("merged");
        var outcome = SmallModel.Succeed(Run("merge", "reward", "--out", output));
        Assert.Matches(@"\(6 scores; up to 0\.0050 is let pass\)", outcome.Output);
        Assert.Contains("LlamaForSequenceClassification", File.ReadAllText(folders.At(output, "config.json")));
        using var own = WeightFiles.Open(folders.At(output));
        using var adapter = WeightFiles.Open(folders.At("reward", "adapter_model.safetensors"));
        Assert.True(own.Bytes("score.weight").SequenceEqual(adapter.Bytes("base_model.model.score.weight")));
    }

    [Fact]
    public void What_drifts_too_far_leaves_nothing()
    {
        var output = folders.New("merged");
        var outcome = Run("merge", "a", "--out", output, "--dtype", "bfloat16", "--max-drift", "0.00001");
        Refused(outcome, output, "the merged model differs from a by up to", "and 1.0e-5 is allowed; nothing was written",
            "why: the merged weights are rounded to bfloat16", "fix: merge with --dtype float32");
    }

    [Fact]
    public void A_base_that_moved_is_named()
    {
        var moved = folders.Copy("model");
        var adapter = folders.WithKey("a", "base_model_name_or_path", "was/here");
        Refused(Run("merge", adapter, "--out", "x"), "x", $"{adapter} is an adapter of was/here, which is not found",
            "fix: fetch was/here");
        SmallModel.Succeed(Run("merge", adapter, "--out", folders.New("merged"), "--base", moved));
    }

    [Fact]
    public void A_base_with_other_weights_is_refused_with_both_hashes_unless_it_is_allowed()
    {
        SmallModel.Succeed(Run("init", "--config", "config.json", "--tokenizer", "tok", "--output", "other", "--seed", "4"));
        var refused = Run("merge", "a", "--out", "x", "--base", "other");
        Refused(refused, "x");
        Assert.Matches(@"error: a was trained on model \([0-9a-f]{12}\), but meets other \([0-9a-f]{12}\)", refused.Error);
        Assert.Contains("--allow-other-base", refused.Error);

        var output = folders.New("merged");
        var allowed = SmallModel.Succeed(Run("merge", "a", "--out", output, "--base", "other", "--allow-other-base"));
        Assert.Matches(@"warning: a was trained on model \([0-9a-f]{12}\), but meets other", allowed.Error);
        Assert.Matches(@"difference from the model with the adapter: largest \d", allowed.Output);
    }

    [Fact]
    public void An_adapter_of_another_program_is_merged_with_a_note()
    {
        var adapter = folders.WithTensors("a", tensor => tensor, metadata: false);
        var outcome = SmallModel.Succeed(Run("merge", adapter, "--out", folders.New("merged")));
        Assert.Contains($"note: {adapter} does not say which weights it was trained on: it is taken for an adapter of model",
            outcome.Error);
    }

    [Theory]
    [InlineData("linear", "0.7", "0.3")]
    [InlineData("svd", "1", "1", "--rank", "3")]
    [InlineData("ties", "1", "1", "--density", "0.3", "--majority-sign-method", "frequency")]
    [InlineData("ties-svd", "1", "1")]
    [InlineData("dare-linear", "1", "1", "--density", "0.9", "--seed", "3")]
    [InlineData("dare-linear-svd", "1", "1", "--density", "0.9")]
    [InlineData("dare-ties", "1", "1", "--density", "0.9")]
    [InlineData("dare-ties-svd", "1", "1", "--density", "0.9")]
    [Trait("speed", "slow")]
    public void Adapters_on_one_model_become_one(string method, string first, string second, params string[] more)
    {
        var merged = folders.New("merged");
        var outcome = SmallModel.Succeed(Run(["merge", $"--{method}", $"a:{first}", $"b:{second}", .. more, "--out", merged, "--merge"]));
        Assert.Matches($@"^{merged}: model \([0-9a-f]{{12}}\) \+ {method.Replace('-', '_')} of {first} · a \+ {second} · b ",
            outcome.Output);
        Assert.True(Largest(outcome) < 1e-3, outcome.Output);
    }

    [Fact]
    public void A_combination_is_an_adapter_like_any_other()
    {
        var (adapter, merged, straight) = (folders.New("both"), folders.New("merged"), folders.New("merged"));
        var outcome = SmallModel.Succeed(Run("merge", "--cat", "a:0.7", "b:-0.3", "--out", adapter));
        Assert.Matches($@"^{adapter}: an adapter of model \([0-9a-f]{{12}}\), cat of 0\.7 · a \+ -0\.3 · b\n", outcome.Output);
        SmallModel.Succeed(Run("merge", adapter, "--out", merged));
        SmallModel.Succeed(Run("merge", "--cat", "a:0.7", "b:-0.3", "--out", straight, "--merge"));
        using var first = WeightFiles.Open(folders.At(merged));
        using var second = WeightFiles.Open(folders.At(straight));
        Assert.Equal(first.Names, second.Names);
        Assert.All(first.Names, name => Assert.True(first.Bytes(name).SequenceEqual(second.Bytes(name)), name));
    }

    [Fact]
    public void Help_teaches_with_examples()
    {
        var help = SmallModel.Succeed(Run("merge", "--help")).Output;
        Assert.Contains("handbook merge runs/dpo-lora --out runs/dpo-merged", help);
        Assert.Contains("--cat is the exact sum", help);
    }

    private Outcome Run(params string[] words) => folders.Handbook.Run(words);

    private string[] Files(string folder) => [.. Directory.GetFileSystemEntries(folders.At(folder)).Select(path => Path.GetFileName(path)!)
        .Order(StringComparer.Ordinal)];

    private void Refused(Outcome outcome, string output, params string[] messages)
    {
        Assert.Equal(2, outcome.Code);
        foreach (var message in messages)
            Assert.Contains(message, outcome.Error);
        Assert.False(Directory.Exists(folders.At(output)), $"{output} is there");
    }

    private static double Largest(Outcome outcome) =>
        double.Parse(Regex.Match(outcome.Output, @"largest ([0-9.e-]+),").Groups[1].Value, CultureInfo.InvariantCulture);
}
