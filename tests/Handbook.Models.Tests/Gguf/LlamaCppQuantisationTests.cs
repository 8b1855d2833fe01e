using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Gguf;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using LLama.Native;

namespace Handbook.Models.Tests.Gguf;

/// <summary>What llama.cpp makes of our files in full precision, beside what we make ourselves.</summary>
[Collection("tensors")]
public sealed class LlamaCppQuantisationTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory, Trait("speed", "slow")]
    [InlineData("q8_0", LLamaFtype.MOSTLY_Q8_0, "llama", true, 256)]
    [InlineData("q4_0", LLamaFtype.MOSTLY_Q4_0, "llama", false, 256)]
    [InlineData("q6_k", LLamaFtype.MOSTLY_Q6_K, "llama", false, 256)]
    [InlineData("q5_k_m", LLamaFtype.MOSTLY_Q5_K_M, "llama", false, 256)]
    [InlineData("q4_k_m", LLamaFtype.MOSTLY_Q4_K_M, "llama", false, 256)]
    [InlineData("q4_k_m", LLamaFtype.MOSTLY_Q4_K_M, "llama", true, 256)]
    [InlineData("q4_k_m", LLamaFtype.MOSTLY_Q4_K_M, "llama", true, 96)]       // no whole blocks of 256
    [InlineData("q5_k_m", LLamaFtype.MOSTLY_Q5_K_M, "llama", false, 96)]
    [InlineData("q4_k_m", LLamaFtype.MOSTLY_Q4_K_M, "phi3", false, 256)]      // queries, keys and values in one
    [InlineData("q4_k_m", LLamaFtype.MOSTLY_Q4_K_M, "mixtral", false, 256)]   // eight experts
    public void A_file_holds_what_llama_cpp_would_quantise_it_to(string name, LLamaFtype type, string family, bool tied, int hidden)
    {
        WriteModel(family, tied, hidden, layers: 8);
        GgufExport.Write(_folder.Path, Precision("f32"), _folder["f32.gguf"]);
        GgufExport.Write(_folder.Path, Precision(name), _folder["ours.gguf"]);
        LlamaCpp.Quantise(_folder["f32.gguf"], _folder["theirs.gguf"], type);

        using var ours = GgufFile.Open(_folder["ours.gguf"]);
        using var theirs = GgufFile.Open(_folder["theirs.gguf"]);
        Assert.Equal(ours.Metadata.Whole("general.file_type"), theirs.Metadata.Whole("general.file_type"));
        Assert.Equal(theirs.Tensors.Select(tensor => $"{tensor.Name} {tensor.Blocks}").Order(),
            ours.Tensors.Select(tensor => $"{tensor.Name} {tensor.Blocks}").Order());
        foreach (var tensor in ours.Tensors)
            Assert.True(theirs.Slice(theirs.Find(tensor.Name)!, 0, (int)tensor.ByteCount).SequenceEqual(
                ours.Slice(tensor, 0, (int)tensor.ByteCount)), tensor.Name);
    }

    [Fact, Trait("speed", "slow")]
    public void Importances_of_a_text_make_its_logits_better()
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        using var model = LanguageModel.Open(stories);
        var text = string.Join('\n', File.ReadLines(SharedFiles.Need("data", "tinystories", "train.txt")).Take(400));
        var importance = ImportanceMatrix.Of(model, text, 256);
        var ids = model.EncodeText("One day, a girl named Lily went to the park. She saw a big tree and wanted to climb it. Her mom said");
        var exact = LlamaCppAgreementTests.Logits(model, ids);
        var plain = Distance(null);
        var weighed = Distance(importance);
        Assert.True(weighed < plain, $"{weighed} with importances, {plain} without");

        double Distance(ImportanceMatrix? counts)
        {
            GgufExport.Write(stories, Precision("q4_0"), _folder["model.gguf"], counts);
            using var theirs = new LlamaCpp(_folder["model.gguf"]);
            return theirs.Logits(ids).Zip(exact).Average(rows => rows.First.Zip(rows.Second).Average(pair =>
                Math.Pow(pair.First - pair.Second, 2)));
        }
    }

    [Fact] // by hand: an input of ones has mean squares of 1
    public void Importances_are_mean_squares_of_what_matrices_read()
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        using var model = LanguageModel.Open(stories);
        var text = "Once upon a time there was a cat.";
        var importance = ImportanceMatrix.Of(model, text, 512);
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var hidden = model.Network.Hidden(StreamLayout.Of([model.Tokenizer.Encode(text, addSpecialTokens: false)])).ToArray<float>();
        var columns = model.Network.Config.HiddenSize;
        var byHand = Enumerable.Range(0, columns).Select(c => hidden.Where((_, i) => i % columns == c).Average(value => (double)value * value));
        Assert.All(byHand.Zip(importance.Of("head.weight").ToArray()), pair => Assert.Equal(pair.First, pair.Second, 1e-4 * pair.First));
        Assert.Equal(importance.Of("layers.0.attention.query.weight").ToArray(), importance.Of("layers.0.attention.value.weight").ToArray());
        Assert.Equal(model.Network.Config.IntermediateSize, importance.Of("layers.1.mlp.down.weight").Length);
        Assert.True(importance.Of("layers.9.mlp.down.weight").IsEmpty);
    }

    private static GgufPrecision Precision(string name) => GgufPrecision.All.Single(one => one.Name == name);

    private void WriteModel(string family, bool tied, int hidden, int layers)
    {
        File.WriteAllBytes(_folder["tokenizer.json"], LlamaCppAgreementTests.ByteTokenizer(256));
        var json = new JsonObject
        {
            ["model_type"] = family,
            ["hidden_size"] = hidden,
            ["intermediate_size"] = 2 * hidden,
            ["num_hidden_layers"] = layers,
            ["num_attention_heads"] = 4,
            ["num_key_value_heads"] = 2,
            ["max_position_embeddings"] = 64,
            ["sliding_window"] = null,
            ["vocab_size"] = 256,
            ["tie_word_embeddings"] = tied,
        };
        if (family == "mixtral")
            json["num_local_experts"] = 8;
        File.WriteAllText(_folder["config.json"], json.ToJsonString());
        var config = NewModel.Config(_folder.Path, Tokenizer.Load(_folder.Path));
        WeightFilesWriter.Save(_folder.Path, NewModel.Tensors(config, 1, DType.Float32));
        config.Save(_folder.Path);
    }
}
