using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Gguf;
using Handbook.Testing;

namespace Handbook.Models.Tests.Gguf;

/// <summary>Adapters in our files, laid over our models by llama.cpp.</summary>
[Collection("tensors")]
public sealed class LlamaCppAdapterTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData("llama_r8")]
    [InlineData("llama_r8_rslora")]     // another factor
    [InlineData("gpt2_r4_c_attn")]      // queries, keys and values in one, [in, out]
    public void An_adapter_changes_the_logits_there_as_here(string name)
    {
        var adapter = Prepare(name);
        GgufExport.Write(_folder["base"], GgufPrecision.All[0], _folder["base.gguf"]);
        GgufAdapter.Write(adapter, _folder["base"], GgufPrecision.All[0], _folder["adapter.gguf"]);
        using var theirs = new LlamaCpp(_folder["base.gguf"]);
        using var ours = LanguageModel.Open(adapter);
        int[] ids = [.. Enumerable.Range(0, 16).Select(i => (i * 37 + 11) % 120)];
        var expected = LlamaCppAgreementTests.Logits(ours, ids);
        Assert.True(LlamaCppAgreementTests.Largest(expected, theirs.Logits(ids)) > 0.05);
        theirs.Adapt(_folder["adapter.gguf"]);
        var difference = LlamaCppAgreementTests.Largest(expected, theirs.Logits(ids));
        Assert.True(difference < 5e-3, $"{difference}");
    }

    [Fact]
    public void What_is_more_than_two_matrices_is_refused()
    {
        var adapter = Prepare("llama_r8_dora");
        var problem = Assert.Throws<InputException>(() => GgufAdapter.Write(adapter, _folder["base"], GgufPrecision.All[0], _folder["adapter.gguf"]));
        Assert.Contains("has magnitudes (use_dora)", problem.Message);
        Assert.False(File.Exists(_folder["adapter.gguf"]));
        Assert.Contains("is for models", Assert.Throws<InputException>(() => GgufAdapter.Write(adapter, _folder["base"],
            GgufPrecision.All.Single(one => one.Name == "q4_0"), _folder["adapter.gguf"])).Message);
    }

    private string Prepare(string name)
    {
        var source = SharedFiles.Need("golden", "lora", name);
        var json = JsonNode.Parse(File.ReadAllBytes(Path.Combine(source, "adapter_config.json")))!.AsObject();
        var model = SharedFiles.Need("golden", "models", Path.GetFileName((string)json["base_model_name_or_path"]!));
        Directory.CreateDirectory(_folder["base"]);
        Directory.CreateDirectory(_folder["adapter"]);
        foreach (var file in (string[])["config.json", "model.safetensors"])
            File.Copy(Path.Combine(model, file), _folder["base", file]);
        File.WriteAllBytes(_folder["base", "tokenizer.json"],
            LlamaCppAgreementTests.ByteTokenizer(PublishedConfig.Load(_folder["base"]).Decoder.VocabularySize));
        File.Copy(Path.Combine(source, "adapter_model.safetensors"), _folder["adapter", "adapter_model.safetensors"]);
        json["base_model_name_or_path"] = _folder["base"];
        File.WriteAllText(_folder["adapter", "adapter_config.json"], json.ToJsonString());
        return _folder["adapter"];
    }
}
