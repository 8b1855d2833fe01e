using Handbook.Base;
using Handbook.Testing;

namespace Handbook.Models.Tests;

/// <summary>A model is found by its path, below the folder of models, and in the hub's cache.</summary>
[Collection("environment")]
public sealed class ModelFolderTests : IDisposable
{
    private static readonly string[] s_variables = ["HANDBOOK_MODELS", "HF_HOME", "HF_HUB_CACHE"];

    private readonly TemporaryFolder _files = new();
    private readonly string?[] _before = [.. s_variables.Select(Environment.GetEnvironmentVariable)];

    public ModelFolderTests()
    {
        Environment.SetEnvironmentVariable("HANDBOOK_MODELS", null);
        Environment.SetEnvironmentVariable("HF_HUB_CACHE", null);
        Environment.SetEnvironmentVariable("HF_HOME", _files["home"]);
    }

    public void Dispose()
    {
        foreach (var (name, value) in s_variables.Zip(_before))
            Environment.SetEnvironmentVariable(name, value);
        _files.Dispose();
    }

    [Fact]
    public void A_name_below_the_folder_of_models_is_found()
    {
        var folder = Make("models", "org", "model-1.5");
        Assert.Null(ModelFolder.TryFind("org/model-1.5"));
        Environment.SetEnvironmentVariable("HANDBOOK_MODELS", _files["models"]);
        Assert.Equal(folder, ModelFolder.TryFind("org/model-1.5"));
        Assert.Equal(folder, ModelFolder.TryFind(folder));
    }

    [Fact]
    public void A_run_without_a_model_names_its_checkpoints()
    {
        var run = Make("run");
        Assert.Equal(run, ModelFolder.FindAny(run));
        Write("{}", "run", "checkpoint-5", "model.safetensors");
        Write("{}", "run", "checkpoint-20", "model.safetensors");
        Make("run", "checkpoint-30");
        var problem = Assert.Throws<InputException>(() => ModelFolder.FindAny(run, "model"));
        Assert.Equal($"model: {run} holds no model yet: it is a run that has not come to its end", problem.What);
        Assert.Equal("it has saved checkpoint-5, checkpoint-20", problem.Why);
        Assert.StartsWith($"name a checkpoint, e.g. {Path.Combine(run, "checkpoint-20")}, or start the run again", problem.Fix);
        Write("{}", "run", "config.json");
        Assert.Equal(run, ModelFolder.FindAny(run));
    }

    [Fact]
    public void The_main_revision_in_the_hub_s_cache_is_found_by_name_and_another_by_its_own()
    {
        Make("home", "hub", "models--org--model", "snapshots", "aaa");
        Make("home", "hub", "models--org--model", "snapshots", "bbb");
        Write("bbb\n", "home", "hub", "models--org--model", "refs", "main");
        Write("aaa", "home", "hub", "models--org--model", "refs", "it-SFT");
        Assert.Equal(_files["home", "hub", "models--org--model", "snapshots", "bbb"], ModelFolder.TryFind("org/model"));
        Assert.Equal(_files["home", "hub", "models--org--model", "snapshots", "aaa"], ModelFolder.TryFind("org/model@it-SFT"));
        Assert.Equal(_files["home", "hub", "models--org--model", "snapshots", "aaa"], ModelFolder.TryFind("org/model@aaa"));
        Assert.Null(ModelFolder.TryFind("org/model@other"));
        Assert.Null(ModelFolder.TryFind("org/other"));
        Assert.Null(ModelFolder.TryFind("./org/model"));
    }

    [Fact]
    public void A_cache_of_its_own_place_is_read()
    {
        var folder = Make("cache", "models--gpt2", "snapshots", "ccc");
        Environment.SetEnvironmentVariable("HF_HUB_CACHE", _files["cache"]);
        Assert.Equal(folder, ModelFolder.TryFind("gpt2"));
    }

    [Fact]
    public void A_reference_to_a_snapshot_that_is_gone_finds_nothing()
    {
        Make("home", "hub", "models--org--model", "snapshots", "aaa");
        Write("bbb", "home", "hub", "models--org--model", "refs", "main");
        Assert.Null(ModelFolder.TryFind("org/model"));
    }

    [Fact]
    public void What_is_nowhere_names_every_place()
    {
        Environment.SetEnvironmentVariable("HANDBOOK_MODELS", _files["models"]);
        var error = Assert.Throws<InputException>(() => ModelFolder.Find("org/model", "ref_model_name_or_path"));
        Assert.StartsWith("ref_model_name_or_path: there is no folder org/model; looked for\n", error.What);
        foreach (var place in new[] { Path.GetFullPath("org/model"), _files["models", "org/model"],
            _files["home", "hub", "models--org--model"] })
            Assert.Contains($"\n    {place}", error.What);
    }

    [Fact]
    public void An_adapter_is_named_as_one()
    {
        Write("""{"peft_type": "LORA", "base_model_name_or_path": "org/base"}""", "adapter", "adapter_config.json");
        Write("", "adapter", "adapter_model.safetensors");
        var error = Assert.Throws<InputException>(() => ModelFolder.Find(_files["adapter"], "model_name_or_path"));
        Assert.Equal($"model_name_or_path: {_files["adapter"]} is an adapter (adapter_config.json), and a whole model is needed here",
            error.What);
        Write("", "adapter", "model.safetensors");
        Assert.Equal(_files["adapter"], ModelFolder.Find(_files["adapter"]));       // merged weights lie beside it
    }

    private string Make(params string[] parts) => Directory.CreateDirectory(_files[parts]).FullName;

    private void Write(string text, params string[] parts)
    {
        Make(parts[..^1]);
        File.WriteAllText(_files[parts], text);
    }
}
