using Handbook.Models.Files;

namespace Handbook.Cli.Tests.BadInput;

/// <summary>Adapters that belong to another model or are broken, places that are taken, and options that contradict one another.</summary>
public sealed class BadMergeTests(AdapterFolders folders) : IClassFixture<AdapterFolders>
{
    private const string Query = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

    [Fact]
    public void A_base_that_was_trained_further_since()
    {
        var based = folders.Copy("model");
        var adapter = folders.WithKey("a", "base_model_name_or_path", based);
        var config = folders.At(based, "config.json");
        File.WriteAllText(config, File.ReadAllText(config).Replace("\"max_position_embeddings\": 128", "\"max_position_embeddings\": 256"));
        var outcome = Refuses([adapter]);
        Assert.Matches(@"was trained on model \([0-9a-f]{12}\), but meets model-copy\d+ \([0-9a-f]{12}\)", outcome.Error);
        Assert.Contains("what an adapter learnt is a difference from exactly those weights", outcome.Error);
    }

    [Fact]
    public void An_adapter_without_the_one_below_it() =>
        Refuses([folders.WithKey("c", "base_model_name_or_path", "model")],
            "without a below it, the adapter corrects a model that is not there",
            "fix: name a as the model");

    [Fact]
    public void An_adapter_of_another_family()
    {
        folders.Handbook.Write("gpt2.json", """{"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}""");
        SmallModel.Succeed(folders.Handbook.Run("init", "--config", "gpt2.json", "--tokenizer", "tok", "--output", folders.At("gpt2")));
        var named = folders.WithKey("a", "target_modules", new System.Text.Json.Nodes.JsonArray("q_proj", "v_proj"));
        Refuses([named, "--base", "gpt2", "--allow-other-base"], "no layer of this gpt2 is called q_proj");
    }

    [Fact]
    public void A_tensor_that_is_missing() => Refuses([folders.WithTensors("a", tensor => tensor.Info.Name == Query ? null : tensor)],
        $"tensor \"{Query}\" is missing", "the config names its layer as one with an adapter");

    [Fact]
    public void A_tensor_that_belongs_to_no_layer() => Refuses([folders.WithTensors("a", tensor => tensor.Info.Name == Query
        ? tensor with { Info = tensor.Info with { Name = Query.Replace("layers.0", "layers.7") } } : tensor)], "is missing");

    [Fact]
    public void A_rank_that_is_not_the_configs() => Refuses([folders.WithKey("a", "r", 8)],
        "has shape [4, 32], but the config and the model ask for [8, 32]",
        "why: the rank differs, or the adapter was trained on another model");

    [Fact]
    public void A_matrix_of_another_width() => Refuses([folders.WithTensors("a", tensor => tensor.Info.Name == Query
        ? TensorToSave.From(Query, new float[4 * 16], 4, 16) : tensor)], "has shape [4, 16], but the config and the model ask for [4, 32]");

    [Fact]
    public void An_adapter_without_tensors()
    {
        var adapter = folders.Copy("a");
        File.Delete(folders.At(adapter, "adapter_model.safetensors"));
        Refuses([adapter], $"{adapter} has adapter_config.json, but no adapter_model.safetensors");
    }

    [Fact]
    public void An_adapter_that_names_no_base() => Refuses([folders.WithKey("a", "base_model_name_or_path", "")],
        "base_model_name_or_path is missing");

    [Theory]
    [InlineData("--into is none, but must be dequantised or original", "a", "--into", "none")]
    [InlineData("model is a whole model, not an adapter", "model")]
    [InlineData("there is no model folder nowhere", "nowhere")]
    [InlineData("--base: a is an adapter", "a", "--base", "a")]
    [InlineData("--base: there is no folder nowhere", "a", "--base", "nowhere")]
    [InlineData("--allow-other-base without --base", "a", "--allow-other-base")]
    [InlineData("--max-drift is -1", "a", "--max-drift", "-1")]
    [InlineData("--max-drift is NaN", "a", "--max-drift", "nan")]
    [InlineData("error: --max-drift is much, but must be a number", "a", "--max-drift", "much")]
    [InlineData("--probe: ", "a", "--probe", "nowhere.txt")]
    [InlineData("--merge goes with a combination", "a", "--merge")]
    [InlineData("--density goes with ties and dare", "a", "--density", "0.5")]
    [InlineData("no adapter is named")]
    [InlineData("--linear names 1 adapter", "--linear", "a:1")]
    [InlineData("--linear b has no weight", "--linear", "a:1", "b")]
    [InlineData("--linear b:much has no weight", "--linear", "a:1", "b:much")]
    [InlineData("--density is NaN", "--ties", "a:1", "b:1", "--density", "nan")]
    [InlineData("error: --rank is 1.5, but must be a whole number", "--svd", "a:1", "b:1", "--rank", "1.5")]
    [InlineData("--linear and --cat exclude one another", "--linear", "a:1", "b:1", "--cat", "a:1", "b:1")]
    [InlineData("--density goes with ties and dare", "--linear", "a:1", "b:1", "--density", "0.5")]
    [InlineData("--rank goes with the methods whose name ends in svd", "--ties", "a:1", "b:1", "--rank", "4")]
    [InlineData("--majority-sign-method goes with ties", "--svd", "a:1", "b:1", "--majority-sign-method", "total")]
    [InlineData("--seed goes with dare", "--ties", "a:1", "b:1", "--seed", "4")]
    [InlineData("--max-drift goes with a merge into the model: add --merge", "--cat", "a:1", "b:1", "--max-drift", "1")]
    [InlineData("--density is 1.5", "--ties", "a:1", "b:1", "--density", "1.5")]
    [InlineData("--rank is 0", "--svd", "a:1", "b:1", "--rank", "0")]
    [InlineData("model is a whole model, not an adapter", "--cat", "a:1", "model:1")]
    public void Words_that_do_not_fit_together(string message, params string[] words) => Refuses(words, message);

    [Fact]
    public void Adapters_of_different_weights_do_not_add_up()
    {
        var outcome = Refuses(["--cat", "a:1", "c:1"]);
        Assert.Matches(@"a is an adapter of model \([0-9a-f]{12}\), but c of model \([0-9a-f]{12}\) \+ a \([0-9a-f]{12}\)", outcome.Error);
    }

    [Theory]
    [InlineData("a", "--out a is also the folder of the adapter")]
    [InlineData("model", "--out model is not empty: it holds a model already")]
    [InlineData("rows", "--out rows is not empty")]
    [InlineData("recipe.yaml", "--out recipe.yaml is a file, not a folder")]
    [InlineData("a/merged", "--out a/merged lies in the folder of the adapter, a")]
    [InlineData("model/merged/it", "--out model/merged/it lies in the folder of the base, ")]
    public void A_place_that_is_taken(string output, string message)
    {
        var before = Directory.Exists(folders.At(output)) ? Directory.GetFileSystemEntries(folders.At(output)).Length : 0;
        var outcome = folders.Handbook.Run("merge", "a", "--out", output);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
        Assert.Equal(before, Directory.Exists(folders.At(output)) ? Directory.GetFileSystemEntries(folders.At(output)).Length : 0);
    }

    private Outcome Refuses(string[] words, params string[] messages)
    {
        var output = folders.New("out");
        var outcome = folders.Handbook.Run(["merge", .. words, "--out", output]);
        Assert.Equal(2, outcome.Code);
        foreach (var message in messages)
            Assert.Contains(message, outcome.Error);
        Assert.Equal("", outcome.Output);
        Assert.False(Directory.Exists(folders.At(output)), $"{output} is there");
        return outcome;
    }
}
