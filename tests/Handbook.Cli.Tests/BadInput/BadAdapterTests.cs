using System.Text;
using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Cli.Tests.BadInput;

/// <summary>Training with adapters that belong elsewhere or are broken, and keys that mean nothing: each is told with what is wrong, where,
/// and what to do, and nothing is written.</summary>
public sealed class BadAdapterTests(AdapterFolders folders) : IClassFixture<AdapterFolders>
{
    private const string Query = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";

    private static readonly string[] s_pairs = ["--dataset_name=prefs"];

    [Fact]
    public void A_base_with_other_weights()
    {
        var based = folders.Copy("model");
        var weights = File.ReadAllBytes(folders.At(based, "model.safetensors"));
        weights[^1] ^= 0x10;
        File.WriteAllBytes(folders.At(based, "model.safetensors"), weights);
        var outcome = Refuses("cpt", ["--adapter_name_or_path=a", $"--model_name_or_path={based}"], "adapter_name_or_path: a was trained on model (",
            "what an adapter learnt is a difference from exactly those weights", "fix: name the model that it was trained on (model, weights ");
        Assert.Matches(@"trained on model \([0-9a-f]{12}\), but meets model-copy\d+ \([0-9a-f]{12}\)", outcome.Error);
    }

    [Fact]
    public void A_base_that_changed_since_the_run_was_begun()
    {
        var (based, output) = (folders.Copy("model"), folders.New("out"));
        string[] run = ["cpt", "recipe.yaml", $"--model_name_or_path={based}", $"--output_dir={output}", "--lr_scheduler_type=constant"];
        SmallModel.Succeed(folders.Handbook.Run([.. run, "--max_steps=2"]));
        var saved = File.ReadAllBytes(folders.At(output, "adapter_model.safetensors"));
        var weights = File.ReadAllBytes(folders.At(based, "model.safetensors"));
        weights[^1] ^= 0x10;
        File.WriteAllBytes(folders.At(based, "model.safetensors"), weights);
        var outcome = folders.Handbook.Run([.. run, "--max_steps=4"]);
        Assert.Equal(2, outcome.Code);
        Assert.Matches($@"checkpoint-2 was trained on {based} \([0-9a-f]{{12}}\), but meets {based} \([0-9a-f]{{12}}\)", outcome.Error);
        Assert.Contains("begin anew on these with --fresh=true", outcome.Error);
        Assert.Equal(saved, File.ReadAllBytes(folders.At(output, "adapter_model.safetensors")));
        SmallModel.Succeed(folders.Handbook.Run([.. run, "--max_steps=4", "--fresh=true"]));
    }

    [Fact, Trait("speed", "slow")]
    public void A_base_without_the_adapter_between() => Refuses("cpt", ["--adapter_name_or_path=c"], "without a below it", "fix: name a as the model");

    [Fact, Trait("speed", "slow")]
    public void A_base_that_is_not_found()
    {
        var adapter = folders.WithKey("a", "base_model_name_or_path", "was/here");
        Refuses("cpt", [$"--model_name_or_path={adapter}"], $"model_name_or_path: {adapter} is an adapter of was/here, which is not found",
            "fix: fetch was/here, or write its place into base_model_name_or_path of ");
    }

    [Fact, Trait("speed", "slow")]
    public void An_adapter_that_lies_on_itself()
    {
        var adapter = folders.Copy("a");
        folders.Handbook.Write($"{adapter}/adapter_config.json", File.ReadAllText(folders.At("a", "adapter_config.json"))
            .Replace("\"base_model_name_or_path\": \"model\"", $"\"base_model_name_or_path\": \"{adapter}\""));
        Refuses("cpt", [$"--model_name_or_path={adapter}"], $"error: model_name_or_path: {adapter}: its adapters lie on one another without an end");
    }

    [Fact, Trait("speed", "slow")]
    public void An_adapter_of_another_family()
    {
        folders.Handbook.Write("gpt2.json", """{"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 128}""");
        SmallModel.Succeed(folders.Handbook.Run("init", "--config", "gpt2.json", "--tokenizer", "tok", "--output", "other-family"));
        var adapter = folders.WithTensors(folders.WithKey("a", "target_modules", new JsonArray("q_proj", "v_proj")), tensor => tensor, metadata: false);
        Refuses("cpt", [$"--adapter_name_or_path={adapter}", "--model_name_or_path=other-family"],
            $"{adapter}/adapter_config.json: target_modules: no layer of this gpt2 is called q_proj", "its layers are c_attn, c_proj, c_fc");
    }

    [Fact]
    public void A_rank_that_is_not_the_tensors() => Refuses("cpt", [$"--adapter_name_or_path={folders.WithKey("a", "r", 8)}"],
        "has shape [4, 32], but the config and the model ask for [8, 32]", "why: the rank differs, or the adapter was trained on another model");

    [Fact, Trait("speed", "slow")]
    public void A_rank_beside_an_adapter_that_has_its_own_is_told() => Assert.Contains(
        "command line: warning: lora_r has no effect beside adapter_name_or_path: that adapter is what its own config says",
        folders.Handbook.Run("cpt", "recipe.yaml", "--adapter_name_or_path=a", "--lora_r=8", "--max_steps=1", "--output_dir=told").Error);

    [Fact]
    public void A_folder_without_a_config()
    {
        var adapter = folders.Copy("a");
        File.Delete(folders.At(adapter, "adapter_config.json"));
        Refuses("cpt", [$"--adapter_name_or_path={adapter}"], $"{adapter}/adapter_config.json does not exist");
        Refuses("cpt", [$"--model_name_or_path={adapter}"], $"{adapter} has adapter_model.safetensors, but no adapter_config.json");
    }

    [Fact]
    public void A_folder_without_weights()
    {
        var adapter = folders.Copy("a");
        File.Delete(folders.At(adapter, "adapter_model.safetensors"));
        Refuses("cpt", [$"--adapter_name_or_path={adapter}"], $"{adapter} has adapter_config.json, but no adapter_model.safetensors");
    }

    [Theory, Trait("speed", "slow")]
    [InlineData(3, "has 3 bytes, and even an empty safetensors file has 8")]
    [InlineData(9000, "is the download complete?")]
    public void A_file_that_ends_early(int length, string message)
    {
        var adapter = folders.Copy("a");
        var file = folders.At(adapter, "adapter_model.safetensors");
        File.WriteAllBytes(file, File.ReadAllBytes(file)[..length]);
        Refuses("cpt", [$"--adapter_name_or_path={adapter}"], $"{adapter}/adapter_model.safetensors: ", message);
    }

    [Fact]
    public void A_tensor_too_many_or_of_another_type()
    {
        var extra = Query.Replace("q_proj", "r_proj");
        var adapter = folders.WithTensors("a", tensor => tensor.Info.Name == Query
            ? tensor with { Info = tensor.Info with { Name = extra } } : tensor);
        Refuses("cpt", [$"--adapter_name_or_path={adapter}"], $"tensor \"{Query}\" is missing");
        adapter = folders.Copy("a");
        var file = folders.At(adapter, "adapter_model.safetensors");
        var bytes = File.ReadAllBytes(file);
        Encoding.ASCII.GetBytes("\"I32\"").CopyTo(bytes, bytes.AsSpan().IndexOf("\"F32\""u8));
        File.WriteAllBytes(file, bytes);
        Refuses("cpt", [$"--adapter_name_or_path={adapter}"], $"{adapter}/adapter_model.safetensors: tensor ", $"has elements of type {DType.Int32}");
    }

    [Fact]
    public void An_adapter_of_a_reward_model_and_one_without_its_head()
    {
        folders.Handbook.Write("prefs/train.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i =>
            $$"""{"prompt": "one {{i}}", "chosen": " the sun", "rejected": " four {{i}}"}""" + "\n")));
        SmallModel.Succeed(folders.Handbook.Run(["reward", "recipe.yaml", .. s_pairs, "--output_dir=scores"]));
        Refuses("cpt", ["--adapter_name_or_path=scores"],
            "adapter_name_or_path: scores is the adapter of a reward model, but cpt trains what predicts tokens");
        Refuses("cpt", ["--model_name_or_path=scores"], "scores is a reward model, but cpt trains what predicts tokens");
        Refuses("reward", ["--adapter_name_or_path=a", .. s_pairs], "adapter_name_or_path: a is the adapter of a language model: neither it nor model "
            + "has a head that scores texts", "fix: set model_name_or_path: a and remove adapter_name_or_path");
    }

    [Theory, Trait("speed", "slow")]
    [InlineData("adapter_name_or_path: model holds no adapter", "--adapter_name_or_path=model")]
    [InlineData("adapter_name_or_path: nowhere is not on this machine", "--adapter_name_or_path=nowhere")]
    [InlineData("output_dir a is also the folder of adapter_name_or_path", "--adapter_name_or_path=a", "--output_dir=a")]
    [InlineData("load_in_4bit is true, but use_peft is false", "--load_in_4bit=true", "--use_peft=false")]
    [InlineData("load_in_8bit is true beside load_in_4bit", "--load_in_4bit=true", "--load_in_8bit=true")]
    [InlineData("a is an adapter of model, but use_peft is false", "--model_name_or_path=a", "--use_peft=false")]
    [InlineData("lora_target_modules: no layer of this llama is called q_porj", "--lora_target_modules=[q_porj]")]
    [InlineData("error: lora_modules_to_save names model.layers.0.self_attn.k_proj.weight, which is multiplied together with its neighbours",
        "--lora_modules_to_save=[k_proj]", "--lora_target_modules=[o_proj, down_proj]")]
    [InlineData("error: lora_modules_to_save (o_proj) trains model.layers.0.self_attn.o_proj whole, which gets an adapter",
        "--lora_modules_to_save=[o_proj]")]
    [InlineData("error: exclude_modules: o_proj means all 2 layers that get an adapter", "--exclude_modules=[o_proj]",
        "--lora_target_modules=[.*o_proj]")]
    [InlineData("error: layers_to_transform: 9 is the number of none of the 14 layers", "--layers_to_transform=[9]")]
    [InlineData("lora_modules_to_save: no module of this llama is called embed_token", "--lora_modules_to_save=[embed_token]")]
    [InlineData("init_lora_weights is \"magic\", not one of true, gaussian, pissa, olora, false", "--init_lora_weights=magic")]
    public void Keys_that_cannot_be_followed(string message, params string[] keys) => Refuses("cpt", keys, message);

    // one start for all: problems of keys are told together
    [Fact]
    public void Values_that_no_adapter_can_have() => Refuses("cpt", ["--lora_r=0", "--lora_alpha=-1", "--lora_dropout=1", "--loraplus_lr_ratio=0",
        "--lora_task_type=MAGIC", "--layers_pattern=[layers]", "--trainable_token_indices=[1, 1.5, 1]", "--rank_pattern={q_proj: 1.5}",
        "--load_in_4bit=true", "--load_in_8bit=true", "--bnb_4bit_compute_dtype=float16"],
        "lora_r is 0, but must be 1 or more", "lora_alpha is -1, but must be above 0", "lora_dropout is 1, but must be from 0 to below 1",
        "loraplus_lr_ratio is 0, but must be above 0", "lora_task_type is MAGIC", "layers_pattern is given without layers_to_transform",
        "trainable_token_indices has 1.5", "trainable_token_indices has 1 more than once", "rank_pattern gives q_proj the value 1.5",
        "load_in_8bit is true beside load_in_4bit", "bnb_4bit_compute_dtype is float16");

    [Fact]
    public void A_reference_that_would_have_to_follow_an_adapter() => Refuses("dpo", ["--sync_ref_model=true", .. s_pairs],
        "sync_ref_model is true together with use_peft", "it has none of its own that could follow");

    /// <summary>Holds a run to the promise: exit code 2, the message's parts, a cure, no stack trace, nothing written.</summary>
    private Outcome Refuses(string method, string[] keys, params string[] messages)
    {
        var output = folders.New("out");
        var before = Directory.GetFileSystemEntries(folders.At("a")).Length;
        var outcome = folders.Handbook.Run([method, "recipe.yaml", $"--output_dir={output}", .. keys]);
        Assert.True(outcome.Code == 2, $"exit code {outcome.Code}\n{outcome.Error}");
        foreach (var message in messages)
            Assert.True(outcome.Error.Contains(message, StringComparison.Ordinal), $"no \"{message}\" in:\n{outcome.Error}");
        Assert.Contains("  fix: ", outcome.Error[outcome.Error.LastIndexOf("error: ", StringComparison.Ordinal)..]);
        Assert.DoesNotContain("   at ", outcome.Error);
        Assert.False(Directory.Exists(folders.At(output)), $"{output} is there");
        Assert.Equal(before, Directory.GetFileSystemEntries(folders.At("a")).Length);
        return outcome;
    }
}
