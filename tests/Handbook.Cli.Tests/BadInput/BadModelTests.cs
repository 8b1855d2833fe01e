using System.Buffers.Binary;
using System.Text;

namespace Handbook.Cli.Tests.BadInput;

/// <summary>Model folders with a wrong config, wrong weights, or none.</summary>
public sealed class BadModelTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void A_model_of_the_hub_is_not_downloaded_where_nothing_may_be_asked_for() =>
        _run.Refuses(["--model_name_or_path=mistralai/Mistral-7B-v0.1"],
            "model_name_or_path: mistralai/Mistral-7B-v0.1 is not on this machine",
            "why: HF_HUB_OFFLINE keeps to what is on this machine", "HANDBOOK_MODELS");

    [Theory]
    [InlineData("\"num_attention_heads\": 2", "\"num_attention_heads\": 3",
        "config.json: hidden_size 16 is not divisible by num_attention_heads 3")]
    [InlineData("\"num_key_value_heads\": 1", "\"num_key_value_heads\": 3", "num_key_value_heads")]
    [InlineData("\"llama\"", "\"gemma9\"", "config.json: model_type \"gemma9\" is not supported")]
    [InlineData("\"hidden_size\": 16", "\"hidden_size\": -16", "config.json: hidden_size")]
    [InlineData("\"hidden_size\": 16", "\"hidden_size\": \"wide\"", "config.json: hidden_size")]
    [InlineData("\"intermediate_size\": 32", "\"intermediate_size\": 1e300", "config.json: intermediate_size")]
    [InlineData("\"hidden_size\": 16,", "", "why: config.json lacks hidden_size: taken as 4096, as the class of llama has it")]
    [InlineData("\"hidden_size\": 16", "\"rope_scaling\": {\"rope_type\": \"spiral\", \"factor\": 2.0}, \"hidden_size\": 16",
        "config.json: rope_scaling")]
    [InlineData("\"hidden_size\": 16", "\"hidden_act\": \"sine\", \"hidden_size\": 16", "config.json: hidden_act")]
    [InlineData("\"hidden_size\": 16", "\"hidden_size\": 16 16", "config.json")]
    public void A_config_that_is_wrong(string old, string @new, string message)
    {
        _run.Replace("model/config.json", old, @new);
        _run.Refuses([], message);
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Theory]
    [InlineData("config.json")]
    [InlineData("model.safetensors")]
    [InlineData("tokenizer.json")]
    public void A_file_that_is_missing(string name)
    {
        File.Delete(_run.At("model", name));
        _run.Refuses([], name);
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    [InlineData(100)]
    [InlineData(5000)]
    public void Weights_that_end_early(int length)
    {
        using (var file = File.OpenWrite(_run.At("model/model.safetensors")))
            file.SetLength(length);
        _run.Refuses([], "model.safetensors");
    }

    [Fact]
    public void Weights_whose_header_claims_more_than_the_file_holds()
    {
        using (var file = File.OpenWrite(_run.At("model/model.safetensors")))
            file.Write([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        _run.Refuses([], "model.safetensors");
    }

    [Theory]
    // a tensor of another name: the right one is missing
    [InlineData("model.norm.weight", "model.norm.wEight", "model.norm.weight")]
    [InlineData("\"F32\"", "\"F33\"", "F33")]
    public void Weights_whose_header_is_wrong(string old, string @new, string message)
    {
        EditHeader(header => header.Replace(old, @new));
        _run.Refuses([], "model.safetensors", message);
    }

    [Fact]
    public void Weights_of_another_shape()
    {
        _run.Replace("model/config.json", "\"intermediate_size\": 32", "\"intermediate_size\": 48");
        _run.Refuses([], "mlp.gate_proj.weight", "[32, 16]", "[48, 16]");
    }

    [Fact]
    public void An_index_that_names_an_absent_shard()
    {
        File.Delete(_run.At("model/model.safetensors"));
        _run.Write("model/model.safetensors.index.json",
            """{"metadata": {}, "weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}""");
        _run.Refuses([], "model-00001-of-00002.safetensors");
    }

    [Fact]
    public void A_checkpoint_file_of_PyTorch_that_is_none()
    {
        File.Delete(_run.At("model/model.safetensors"));
        _run.Write("model/pytorch_model.bin", "cos\nsystem\n(S'echo'\ntR.");
        _run.Refuses([], "pytorch_model.bin");
    }

    [Fact]
    public void Weights_that_are_not_numbers_stop_the_first_step()
    {
        var path = _run.At("model/model.safetensors");
        var bytes = File.ReadAllBytes(path);
        for (var at = bytes.Length - 4; at > bytes.Length - 400; at -= 4)
            BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan(at), float.NaN);
        File.WriteAllBytes(path, bytes);
        _run.Refuses([], "step 1: the ", " is NaN", "learning rate", "rows ", "nothing was updated");
        Assert.Empty(Directory.GetDirectories(_run.At("out"), "checkpoint-*"));
    }

    [Fact]
    public void A_row_longer_than_the_learned_positions()
    {
        using var run = new TinyRun("""{"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 8}""");
        run.Refuses([], "8 ", "max_length");
    }

    // The header keeps its length: names of the same size only.
    private void EditHeader(Func<string, string> edit)
    {
        var path = _run.At("model/model.safetensors");
        var bytes = File.ReadAllBytes(path);
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        var header = Encoding.UTF8.GetString(bytes, 8, length);
        var edited = edit(header);
        Assert.NotEqual(header, edited);
        Assert.Equal(length, Encoding.UTF8.GetBytes(edited, bytes.AsSpan(8)));
        File.WriteAllBytes(path, bytes);
    }
}
