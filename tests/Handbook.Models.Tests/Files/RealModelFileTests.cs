using System.Text.Json;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Files;

/// <summary>Checkpoints that others made, in every format and layout we read.</summary>
public sealed class RealModelFileTests
{
    [Fact]
    public void A_sharded_safetensors_model_equals_the_single_file()
    {
        var folder = SharedFiles.Need("models", "hf-architectures");
        var config = PublishedConfig.Load(Path.Combine(folder, "tiny_llama_config.json"));
        using var single = ModelWeights.Open(Path.Combine(folder, "tiny_llama.safetensors"), config);
        using var sharded = ModelWeights.Open(Path.Combine(folder, "tiny_llama.safetensors.index.json"), config);

        Assert.Equal(21, single.Parameters.Count); // untied head
        Assert.All(single.Parameters, p => Assert.Equal(single.ReadSingles(p.Name), sharded.ReadSingles(p.Name)));
        Assert.Empty(sharded.Unused); // the rotary tables it stores are known buffers
    }

    [Theory]
    [InlineData("tiny_gpt2.bin")]
    [InlineData("tiny_gpt2.bin.index.json")]
    public void A_pytorch_file_equals_the_safetensors_one(string file)
    {
        var folder = SharedFiles.Need("models", "hf-architectures");
        var config = Some.Gpt2(vocabulary: 11, hidden: 8, layers: 2, heads: 2, positions: 16);
        using var expected = ModelWeights.Open(Path.Combine(folder, "tiny_gpt2.safetensors"), config);
        using var actual = ModelWeights.Open(Path.Combine(folder, file), config);

        Assert.All(expected.Parameters, p => Assert.Equal(expected.ReadSingles(p.Name), actual.ReadSingles(p.Name)));
        Assert.Empty(actual.Unused); // attn.bias is a mask
    }

    [Fact]
    public void A_shared_tensor_is_found_under_the_name_the_metadata_gives()
    {
        var folder = SharedFiles.Need("models", "tinystories-656k");
        using var half = ModelWeights.Open(folder, PublishedConfig.Load(folder));
        var wide = Path.Combine(folder, "float32");
        using var full = ModelWeights.Open(wide, PublishedConfig.Load(wide));

        Assert.Equal(DType.BFloat16, half.DTypeOf("embed.weight"));
        Assert.Equal(DType.Float32, full.DTypeOf("embed.weight"));
        // The README says the values are bit for bit the same, widened.
        Assert.All(half.Parameters, p => Assert.Equal(half.ReadSingles(p.Name), full.ReadSingles(p.Name)));
        Assert.Equal(656_000, half.Parameters.Sum(p => p.Count));
    }

    [Fact]
    public void A_wrapped_training_checkpoint_gives_its_state_and_its_values()
    {
        using var file = TorchFile.Open(SharedFiles.Need("models", "slm-4096", "ckpt.pt"));

        Assert.Equal(57, file.Names.Count);
        Assert.Equal([54, 64], file.Info("tok_emb.weight").Shape);
        Assert.Equal(211_712L, file.Values["n_params"]);
        // The head shares the embedding's storage.
        Assert.Equal(file.Read("tok_emb.weight").Pointer, file.Read("head.weight").Pointer);
    }

    [Fact]
    public void Gpt2_weights_come_out_transposed_and_split()
    {
        var folder = SharedFiles.Need("models", "hf-architectures");
        var config = Some.Gpt2(vocabulary: 11, hidden: 8, layers: 2, heads: 2, positions: 16);
        using var files = WeightFiles.Open(Path.Combine(folder, "tiny_gpt2.safetensors"));
        using var weights = ModelWeights.Open(Path.Combine(folder, "tiny_gpt2.safetensors"), config);

        // [8, 24]
        var published = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(files.Bytes("h.1.attn.c_attn.weight")).ToArray();
        var key = weights.ReadSingles("layers.1.attention.key.weight"); // [8, 8]

        for (var row = 0; row < 8; row++)
            for (var column = 0; column < 8; column++)
                Assert.Equal(published[column * 24 + 8 + row], key[row * 8 + column]);
    }

    [Fact]
    public void Every_model_config_here_parses_or_is_refused_by_its_family()
    {
        var folder = SharedFiles.Need("models", "hf-architectures");
        foreach (var file in Directory.GetFiles(folder, "*_config.json").Where(f => !f.Contains("adapter")))
        {
            using var json = JsonDocument.Parse(File.ReadAllText(file));
            var type = json.RootElement.GetProperty("model_type").GetString();
            try
            {
                Assert.Equal(type, PublishedConfig.Load(file).Decoder.ModelType);
            }
            catch (Handbook.Models.Families.UnsupportedFamilyException e)
            {
                Assert.Contains(type!, e.Message);
            }
        }
    }
}
