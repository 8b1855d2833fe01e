using System.Text.Json;
using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Tests.Adapters;

[Collection("tensors")]
public sealed class MergedWeightsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public static TheoryData<string> Families() => [.. SharedFiles.Folders("golden", "models").Select(f => Path.GetFileName(f)!)];

    public static TheoryData<string> Golden() => [.. SharedFiles.Folders("golden", "lora").Select(f => Path.GetFileName(f)!)];

    [Trait("kind", "golden")]
    [Theory(SkipTestWithoutData = true), MemberData(nameof(Golden))]
    public void Merged_weights_are_those_of_the_reference(string name)
    {
        var folder = SharedFiles.Need("golden", "lora", name);
        using var about = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")));
        var based = SharedFiles.Need("golden", about.RootElement.GetProperty("base").GetString()!);
        var config = GoldenModel.Load(based, "config.json");
        using var weights = ModelWeights.Open(based, config, fused: true);
        var layout = AdapterLayout.Of("only", AdapterConfigFile.Read(folder), weights.Family, weights.Config, weights.Parameters,
            new AdapterFolder(folder), folder, trained: false);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32).With([layout]));
        WeightFilesWriter.Save(_folder.Path, new MergedWeights(model, weights, config).Tensors());

        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        using var original = WeightFiles.Open(based);
        using var found = WeightFiles.Open(_folder.Path);
        string[] changed = [.. expected.Names.Where(tensor => tensor.StartsWith("merged.", StringComparison.Ordinal))];
        Assert.NotEmpty(changed);
        foreach (var tensor in changed)
            AssertClose(expected.Read(tensor).Singles(), found.Read(tensor["merged.".Length..]).Singles(), 2e-6, tensor);
        foreach (var tensor in found.Names.Where(tensor => !changed.Contains("merged." + tensor)))
            Assert.True(original.Bytes(tensor).SequenceEqual(found.Bytes(tensor)), tensor);
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Families))]
    public void A_merged_model_of_every_family_answers_as_the_model_with_the_adapter(string name)
    {
        var folder = SharedFiles.Need("golden", "models", name);
        GoldenModel.Load(folder, "config.json");
        foreach (var dora in (bool[])[false, true])
        {
            using var model = new MergedModel(folder, new AdapterConfig
            {
                Rank = 3,
                Alpha = 1,
                Targets = ModuleNames.Of("all-linear"),
                UseDora = dora
            });
            var (difference, change) = model.Compare();
            Assert.True(change > 1e-2, $"the adapter changes logits by {change}");
            Assert.True(difference < 1e-4, $"merged logits are off by {difference}, and the adapter changes them by {change}");
        }
    }

    [Fact]
    public void Adapters_that_lie_on_one_another_are_merged_in_their_order()
    {
        using var model = new MergedModel(Base(Some.Llama()), All(), All() with { UseDora = true, UseRslora = true, Rank = 2 },
            All() with { Rank = 4, UseDora = true });
        AssertSame(model);
    }

    [Theory]
    [InlineData("embed_tokens", true, false)]
    [InlineData("lm_head", true, false)]
    [InlineData("q_proj", false, false)]
    [InlineData("embed_tokens", true, true)]
    [InlineData("lm_head", true, true)]
    public void A_tied_head_gets_a_matrix_of_its_own_where_only_one_of_the_two_changed(string target, bool unties, bool dora)
    {
        using var model = new MergedModel(Base(Some.Llama(("tie_word_embeddings", true))),
            All() with { Targets = ModuleNames.Of([target]), UseDora = dora });
        AssertSame(model);
        Assert.Equal(unties, model.Weights.HasOwnHead);
        Assert.Equal(!unties, PublishedConfig.Load(model.Folder).Decoder.TiedHead);
        using var files = WeightFiles.Open(model.Folder);
        Assert.Equal(unties, files.Has("lm_head.weight"));
        if (unties)
            Assert.NotEqual(files.Read("lm_head.weight").Singles(), files.Read("model.embed_tokens.weight").Singles());
    }

    [Fact]
    public void Magnitudes_of_head_and_embedding_are_merged_in_their_order()
    {
        AdapterConfig config = All() with { Targets = ModuleNames.Of(["embed_tokens", "lm_head", "o_proj"]), UseDora = true };
        using var model = new MergedModel(Base(Some.Llama()), config, config with { UseDora = false, Rank = 2 }, config);
        AssertSame(model);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void An_embedding_that_was_trained_whole_is_taken_over(bool tied)
    {
        using var model = new MergedModel(Base(Some.Llama(("tie_word_embeddings", tied))),
            All() with { ModulesToSave = ["embed_tokens", "down_proj"], Targets = ModuleNames.Of(["o_proj"]) });
        AssertSame(model);
        Assert.Equal(tied, model.Weights.HasOwnHead);
    }

    [Theory]
    [InlineData("embed_tokens")]
    [InlineData("lm_head")]
    [InlineData("embed_tokens, lm_head")]
    public void A_tied_head_that_follows_a_trained_embedding_stays_tied(string saved)
    {
        using var model = new MergedModel(Base(Some.Llama(("tie_word_embeddings", true))),
            All() with { ModulesToSave = [.. saved.Split(", ")], TieWeights = true, Targets = ModuleNames.Of(["o_proj"]) });
        AssertSame(model);
        Assert.False(model.Weights.HasOwnHead);
        Assert.True(PublishedConfig.Load(model.Folder).Decoder.TiedHead);
    }

    [Theory]
    [InlineData("lm_head", "o_proj")]
    [InlineData("embed_tokens, lm_head", "o_proj")]
    [InlineData("lm_head", "embed_tokens")]         // the look-up has an adapter, the product its own matrix
    [InlineData("embed_tokens", "lm_head")]
    public void A_tied_head_that_was_trained_whole_is_a_matrix_of_its_own(string saved, string target)
    {
        using var model = new MergedModel(Base(Some.Llama(("tie_word_embeddings", true))),
            All() with { ModulesToSave = [.. saved.Split(", ")], Targets = ModuleNames.Of([target]) });
        AssertSame(model);
        Assert.True(model.Weights.HasOwnHead);
        Assert.False(PublishedConfig.Load(model.Folder).Decoder.TiedHead);
        using var files = WeightFiles.Open(model.Folder);
        Assert.NotEqual(files.Read("lm_head.weight").Singles(), files.Read("model.embed_tokens.weight").Singles());
    }

    [Fact]
    public void Adapters_over_one_another_may_each_have_a_tied_head()
    {
        AdapterConfig whole = All() with { ModulesToSave = ["lm_head"], Targets = ModuleNames.Of(["o_proj"]) };
        using var model = new MergedModel(Base(Some.Llama(("tie_word_embeddings", true))), whole,
            All() with { Targets = ModuleNames.Of(["lm_head", "q_proj"]) });
        AssertSame(model);
        using var again = new MergedModel(Base(Some.Llama(("tie_word_embeddings", true))), whole, whole);
        AssertSame(again);
        using var rows = new MergedModel(Base(Some.Llama(("tie_word_embeddings", true))), whole,
            All() with { TrainedTokens = new Dictionary<string, ValueList<int>> { ["embed_tokens"] = [3, 5] } });
        AssertSame(rows);
    }

    [Fact]
    public void A_weight_that_is_trained_whole_over_an_adapter_of_it_is_refused()
    {
        Refused("has A and B there", All() with { Targets = ModuleNames.Of(["lm_head"]) }, Saving("lm_head"));
        Refused("has A and B there", All() with { Targets = ModuleNames.Of(["down_proj"]) }, Saving("down_proj"));
        AdapterConfig rows = All() with { TrainedTokens = new Dictionary<string, ValueList<int>> { ["embed_tokens"] = [3, 5] } };
        Refused("has trained some of its rows", rows, Saving("embed_tokens"));
        Refused("has trained some of its rows", rows, Saving("lm_head"));
        Refused("has made head and embedding two", Saving("lm_head"), Saving("embed_tokens") with { TieWeights = true });

        static AdapterConfig Saving(string module) => All() with { ModulesToSave = [module], Targets = ModuleNames.Of(["o_proj"]) };

        void Refused(string what, params AdapterConfig[] configs) => Assert.Contains(what, Assert.Throws<InputException>(() =>
            new MergedModel(Base(Some.Llama(("tie_word_embeddings", true))), configs)).What);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_bias_of_the_adapter_goes_into_the_bias_of_the_layer(bool dora)
    {
        using var model = new MergedModel(Base(Some.Gpt2()), All() with { LoraBias = true, UseDora = dora },
            All() with { LoraBias = true, UseDora = dora });
        AssertSame(model);
    }

    [Fact]
    public void A_bias_that_has_no_place_is_refused()
    {
        var problem = Assert.Throws<InputException>(() => new MergedModel(Base(Some.Llama()), All() with { LoraBias = true }));
        Assert.Contains("the adapter has a bias on model.layers.0.self_attn.q_proj (lora_bias), and the model has none there",
            problem.Message);
    }

    [Fact] // half a unit in the last of bfloat16's 8 binary places
    public void Weights_in_bfloat16_are_the_exact_ones_rounded_once()
    {
        var config = Some.Llama(("torch_dtype", "bfloat16"));
        WeightFilesWriter.Save(_folder["base"], NewModel.Tensors(config, 1, DType.BFloat16));
        config.Save(_folder["base"]);
        using var model = new MergedModel(_folder["base"], All() with { UseDora = true });
        using var files = WeightFiles.Open(model.Folder);
        Assert.All(files.Names, name => Assert.Equal(DType.BFloat16, files.Info(name).DType));

        using var original = WeightFiles.Open(_folder["base"]);
        const string Name = "model.layers.1.mlp.up_proj";
        var layer = model.Adapted.Parameters.Adapters[0].Layers.Single(layer => layer.Base.Name == "layers.1.mlp.gate_up.weight");
        var target = layer.Targets.Single(target => target.Module == Name);
        double[] Values(ParameterSpec spec) => [.. model.Adapted.Parameters[spec.Name].Value.ToArray<float>().Select(v => (double)v)];
        var (down, up, magnitude) = (Values(layer.Down), Values(target.Up), Values(target.Magnitude!));
        var (rows, columns, rank) = (20, 12, (int)target.Rank);
        var weight = original.Read(Name + ".weight").Singles();
        var merged = files.Read(Name + ".weight").Singles();
        for (var r = 0; r < rows; r++)
        {
            var row = Enumerable.Range(0, columns).Select(c => weight[r * columns + c] + target.Scale * Enumerable.Range(0, rank)
                .Sum(k => up[r * rank + k] * down[(target.RankStart + k) * columns + c])).ToArray();
            var factor = magnitude[r] / Math.Sqrt(row.Sum(v => v * v));
            for (var c = 0; c < columns; c++)
                Lazily.True(Math.Abs(merged[r * columns + c] - row[c] * factor) <= Math.Abs(row[c] * factor) * (1.0001 / 256),
                    $"[{r}, {c}]: {merged[r * columns + c]}, exactly {row[c] * factor}");
        }
    }

    public static TheoryData<string> Quantised() =>
        [.. SharedFiles.Folders("golden", "quantised", "checkpoints").Select(f => Path.GetFileName(f)!)];

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Quantised))]
    public void An_adapter_on_a_quantised_checkpoint_is_merged_into_the_values_of_its_codes(string name)
    {
        using var model = new MergedModel(SharedFiles.Need("golden", "quantised", "checkpoints", name), All());
        var (difference, change) = model.Compare();
        Assert.False(PublishedConfig.Load(model.Folder).Json.ContainsKey("quantization_config"));
        using var files = WeightFiles.Open(model.Folder);
        Assert.All(files.Names, tensor => Assert.True(files.Info(tensor).DType.IsFloat, tensor));
        Assert.True(difference < change / 20, $"merged logits are off by {difference}, and the adapter changes them by {change}");
    }

    [Theory]
    [InlineData("Nf4", false, false)]
    [InlineData("Nf4", true, true)]
    [InlineData("Fp4", false, true)]
    [InlineData("Int8", false, false)]
    public void An_adapter_over_codes_is_merged_into_their_values(string kind, bool isDouble, bool dora)
    {
        var format = new QuantisedFormat(Enum.Parse<QuantisedKind>(kind), isDouble);
        var folder = Base(Some.Llama());
        using var model = new MergedModel(folder, format, All() with { Targets = ModuleNames.Of(["gate_proj", "v_proj"]), UseDora = dora },
            All());
        AssertSame(model);
        using var plain = new MergedModel(folder, format, All() with { Targets = ModuleNames.Of(["lm_head"]) });
        AssertSame(plain);

        using var original = WeightFiles.Open(folder);
        using var files = WeightFiles.Open(plain.Folder);
        string[] coded = [.. original.Names.Where(tensor => tensor.EndsWith("_proj.weight", StringComparison.Ordinal))];
        Assert.Equal(14, coded.Length);
        foreach (var tensor in coded)
        {
            using var scope = TensorScope.Enter();
            var info = original.Info(tensor);
            using var matrix = new QuantisedMatrix([new(QuantisedCodec.Quantise(format,
                Tensor.From(original.Read(tensor).Singles(), [.. info.Shape])),
                0, info.Shape[0])], DType.Float32);
            Assert.Equal(matrix.Dense(DType.Float32).ToArray<float>(), files.Read(tensor).Singles());
        }
        foreach (var tensor in original.Names.Except(coded).Where(tensor => tensor != "lm_head.weight"))
            Assert.True(original.Bytes(tensor).SequenceEqual(files.Bytes(tensor)), tensor);
    }

    [Fact]
    public void Every_tensor_keeps_the_element_type_that_it_has_in_the_base()
    {
        var config = Some.Llama();
        bool IsNorm(TensorToSave tensor) => tensor.Info.Name.Contains("norm", StringComparison.Ordinal);
        WeightFilesWriter.Save(_folder["base"], [.. NewModel.Tensors(config, 1, DType.BFloat16).Where(tensor => !IsNorm(tensor)),
            .. NewModel.Tensors(config, 1, DType.Float32).Where(IsNorm)]);
        config.Save(_folder["base"]);
        using var model = new MergedModel(_folder["base"], All());
        using var original = WeightFiles.Open(_folder["base"]);
        using var files = WeightFiles.Open(model.Folder);
        Assert.Equal(original.Names.Select(original.Info).OrderBy(info => info.Name, StringComparer.Ordinal),
            files.Names.Select(files.Info).OrderBy(info => info.Name, StringComparer.Ordinal));
        Assert.Equal(DType.BFloat16, model.Weights.DType);
    }

    public void Dispose() => _folder.Dispose();

    private static AdapterConfig All() => new() { Rank = 3, Alpha = 9, Targets = ModuleNames.Of("all-linear") };

    private string Base(PublishedConfig config)
    {
        WeightFilesWriter.Save(_folder["base"], NewModel.Tensors(config, 1, DType.Float32));
        config.Save(_folder["base"]);
        return _folder["base"];
    }

    private static void AssertSame(MergedModel model)
    {
        var (difference, change) = model.Compare();
        Assert.True(change > 1e-3, $"the adapters change logits by {change}");
        Assert.True(difference < 2e-5 * Math.Max(1, change),
            $"merged logits are off by {difference}, and adapters change them by {change}");
    }

    private static void AssertClose(float[] expected, float[] actual, double within, string what)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (var i = 0; i < expected.Length; i++)
            Lazily.True(Math.Abs(expected[i] - actual[i]) <= within, $"{what}[{i}]: {actual[i]}, the reference has {expected[i]}");
    }
}
