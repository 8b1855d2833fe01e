using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>Each wrong use of an adapter is told with what is wrong and where.</summary>
[Collection("tensors")]
public sealed class AdapterWrongUseTests : IDisposable
{
    private readonly TemporaryFolder _files = new();

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("{", "adapter_config.json")]
    [InlineData("[]", "adapter_config.json")]
    [InlineData("""{"r": "8"}""", "r is \"8\"")]
    [InlineData("""{"r": 0}""", "r is 0")]
    [InlineData("""{"r": -1}""", "r is -1")]
    [InlineData("""{"r": 1.5}""", "r is 1.5")]
    [InlineData("""{"lora_alpha": 0}""", "lora_alpha is 0, but must be greater than 0")]
    [InlineData("""{"lora_alpha": "16"}""", "lora_alpha is \"16\"")]
    [InlineData("""{"lora_dropout": 1}""", "lora_dropout is 1, but must be at least 0 and below 1")]
    [InlineData("""{"peft_type": "IA3"}""", "peft_type is IA3, and only LORA is read")]
    [InlineData("""{"peft_type": 3}""", "peft_type is 3")]
    [InlineData("""{"bias": "some"}""", "bias is some, but must be none, all or lora_only")]
    [InlineData("""{"use_dora": "yes"}""", "use_dora is \"yes\"")]
    [InlineData("""{"target_modules": [null]}""", "target_modules has null, but must be a name, or a list of names")]
    [InlineData("""{"target_modules": ["q_proj", 3]}""", "target_modules has 3")]
    [InlineData("""{"target_modules": {"a": 1}}""", "target_modules has {\"a\":1}")]
    [InlineData("""{"target_modules": 3}""", "target_modules has 3")]
    [InlineData("""{"exclude_modules": [[]]}""", "exclude_modules has []")]
    [InlineData("""{"modules_to_save": [true]}""", "modules_to_save has true")]
    [InlineData("""{"layers_to_transform": ["0"]}""", "layers_to_transform has \"0\", but must be a number, or a list of numbers, from 0")]
    [InlineData("""{"layers_to_transform": [-1]}""", "layers_to_transform has -1")]
    [InlineData("""{"rank_pattern": {"q_proj": "4"}}""", "rank_pattern gives q_proj the value \"4\", but must give it a whole number, 1 or more")]
    [InlineData("""{"rank_pattern": {"q_proj": 0}}""", "rank_pattern gives q_proj the value 0")]
    [InlineData("""{"rank_pattern": {"(q": 4}}""", "rank_pattern has \"(q\", which is not a regular expression")]
    [InlineData("""{"alpha_pattern": {"q_proj": null}}""", "alpha_pattern gives q_proj the value null")]
    [InlineData("""{"alpha_pattern": 3}""", "alpha_pattern is 3")]
    [InlineData("""{"trainable_token_indices": {"embed_tokens": ["a"]}}""", "trainable_token_indices has \"a\"")]
    [InlineData("""{"use_qalora": true}""", "use_qalora asks for adapters over groups of inputs, which is not built")]
    [InlineData("""{"target_parameters": [1]}""", "target_parameters has 1, but must be a name, or a list of names")]
    [InlineData("""{"task_type": "TOKEN_CLS"}""", "task_type is TOKEN_CLS, an adapter of a model that labels tokens, and only CAUSAL_LM")]
    [InlineData("""{"task_type": "SEQ_2_SEQ_LM"}""", "task_type is SEQ_2_SEQ_LM, an adapter of an encoder with a decoder")]
    [InlineData("""{"task_type": "QUESTION_ANS"}""", "task_type is QUESTION_ANS")]
    [InlineData("""{"task_type": "FEATURE_EXTRACTION"}""", "task_type is FEATURE_EXTRACTION, an adapter of a model without a head")]
    [InlineData("""{"task_type": "causal"}""", "task_type is causal, an adapter of nothing that is known")]
    [InlineData("""{"init_lora_weights": "pissa"}""", "init_lora_weights is pissa: the adapter belongs to weights that were changed")]
    public void A_broken_config_is_told(string json, string message)
    {
        File.WriteAllText(_files["adapter_config.json"], json);
        Assert.Contains(message, Assert.Throws<InputException>(() => AdapterConfigFile.Read(_files.Path)).Message);
    }

    [Theory]
    [InlineData("q_porj", "no layer of this llama is called q_porj", "did you mean q_proj?")]
    [InlineData("c_attn", "no layer of this llama is called c_attn", "its layers are q_proj")]
    [InlineData("", "no layer of this llama is called", "its layers are")]
    public void A_target_that_is_no_layer_is_told_with_those_that_are(string name, string what, string fix)
    {
        var error = Assert.Throws<InputException>(() => Layout(new() { Targets = ModuleNames.Of([name, "v_proj"]) }));
        Assert.StartsWith($"here: target_modules: {what}", error.What);
        Assert.Contains(fix, error.Fix);
    }

    [Fact]
    public void Targets_that_cannot_have_an_adapter_are_refused()
    {
        Refused("llama", new() { Targets = ModuleNames.Of(".*(q_proj") }, "is not a regular expression");
        Refused("llama", new() { Targets = ModuleNames.Of(".*nothing") }, "\".*nothing\" matches no layer");
        Refused("llama", Q() with { Layers = [7] },
            "here: layers_to_transform: 7 is the number of none of the 2 layers that get an adapter (q_proj)");
        Refused("llama", Q() with { Layers = [1], LayersPattern = ["h"] }, "behind h (layers_pattern)");
        Refused("llama", Q() with { Excluded = ModuleNames.Of(["self_attn.q_proj"]) },
            "here: exclude_modules: self_attn.q_proj means all 2 layers that get an adapter (q_proj)");
        Refused("llama", Q() with { Excluded = ModuleNames.Of("(") }, "exclude_modules is \"(\", which is not a regular expression");
        Refused("llama", Q() with { Layers = [0], LayersPattern = ["("] }, "layers_pattern is \"(\", which is not a regular expression");
        Refused("llama", Q() with { ModulesToSave = ["k_proj"] }, "modules_to_save names");
        Refused("mixtral", new() { Targets = ModuleNames.Of(["gate", "q_proj"]) }, "gate cannot have an adapter");
        Refused("gpt2", new() { Targets = ModuleNames.Of(["wpe", "c_attn"]) }, "a table of positions, cannot have an adapter");
        Refused("gpt2", Rows() with { ModulesToSave = ["lm_head"] }, "here: trainable_token_indices: modules_to_save trains lm_head whole, which is the embedding");
        Refused("gpt2", Rows() with { ModulesToSave = ["lm_head"], TieWeights = true }, "modules_to_save trains the whole embedding already");
        Refused("gpt2", new() { Targets = ModuleNames.Of(["wte", "c_attn"]), ModulesToSave = ["lm_head"], TieWeights = true },
            "here: modules_to_save (lm_head) trains transformer.wte whole, which gets an adapter");
        Refused("olmo2", new(), "here: target_modules is missing, and olmo2 has no usual targets");
        Refused("llama", new() { LoraBias = true, Targets = ModuleNames.Of(["embed_tokens", "q_proj"]) },
            "here: lora_bias: model.embed_tokens cannot have an adapter with it");
        Refused("llama", new() { Targets = ModuleNames.Of("(([a-z_.0-9])*)*!") }, "was tried on");

        static AdapterConfig Q() => new() { Targets = ModuleNames.Of(["q_proj"]) };

        static AdapterConfig Rows() => new() { TrainedTokens = new Dictionary<string, ValueList<int>> { ["wte"] = [3] } };

        static void Refused(string network, AdapterConfig config, string what) =>
            Assert.Contains(what, Assert.Throws<InputException>(() => Layout(config, network)).What);
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("[null]")]
    [InlineData("""[["base", null]]""")]
    [InlineData("""[["base", "0123"]]""")]
    [InlineData("""[["base"]]""")]
    [InlineData("{}")]
    [InlineData("not JSON")]
    public void A_record_of_what_was_trained_on_that_says_nothing_is_none(string record) =>
        Assert.Null(AdapterChain.Of(new Dictionary<string, string> { ["trained_on"] = record }));

    [Fact]
    public void A_layers_pattern_may_have_groups_of_its_own() => Assert.All(
        Layout(new() { Targets = ModuleNames.Of(["q_proj"]), Layers = [1], LayersPattern = ["(h|layers)"] }).Layers,
        layer => Assert.Contains(".layers.1.", Assert.Single(layer.Targets).Module));

    [Theory]
    [InlineData("all", "bias is all, but this model has no biases")]
    [InlineData("lora_only", "bias is lora_only, but no layer with an adapter has a bias in this model")]
    public void Biases_that_a_model_does_not_have_are_refused_in_a_new_adapter_and_passed_by_in_a_published_one(string bias, string what)
    {
        var config = new AdapterConfig
        {
            Rank = 2,
            Targets = ModuleNames.Of(["q_proj"]),
            Bias = bias == "all" ? AdapterBias.All : AdapterBias.LoraOnly,
        };
        var layout = Layout(config);
        Assert.Empty(layout.Whole);
        Assert.Equal(what, Assert.Throws<InputException>(() => layout.Modules.RequireUsed(layout)).What);
    }

    [Fact]
    public void Tensors_that_do_not_fit_the_config_are_refused()
    {
        const string a = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
        const string b = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
        var config = new AdapterConfig { Rank = 2, Targets = ModuleNames.Of(["q_proj"]), Layers = [0] };
        Assert.Contains("no adapter_model.safetensors", Said());
        Save((a, [2, 12]));
        Assert.Contains($"tensor \"{b}\" is missing", Said());
        Save((a, [3, 12]), (b, [12, 3]));
        Assert.Contains($"tensor \"{a}\" has shape [3, 12], but the config and the model ask for [2, 12]", Said());
        Save((a, [2, 12]), (b, [12, 2]), (a.Replace("q_proj", "k_proj"), [2, 12]));
        Assert.Contains("k_proj.lora_A.weight\" belongs to no layer that has an adapter", Said());
        Save((a, [2, 12]), (b, [12, 2]));
        Fill();

        string Said() => Assert.Throws<InputException>(Fill).What;

        void Fill()
        {
            var model = Tiny.Config("llama");
            var specs = model.Family.Parameters(model.Decoder, fused: true);
            var layout = AdapterLayout.Of("default", config, model.Family, model.Decoder, specs, new AdapterFolder(_files.Path), "here",
                true);
            using var parameters = ModelParameters.Allocate(ParameterPlan.Resident(specs, DType.Float32, DType.Float32).With([layout]));
            layout.Source.Fill(layout, parameters);
        }

        void Save(params (string Name, long[] Shape)[] tensors) => WeightFilesWriter.Save(_files.Path,
            [.. tensors.Select(tensor => TensorToSave.From(tensor.Name, new float[tensor.Shape.Aggregate((x, y) => x * y)], tensor.Shape))],
            new() { Name = "adapter_model" });
    }

    [Fact]
    public void Number_21_an_adapter_over_other_weights_than_its_own_is_refused_with_their_hashes()
    {
        Model("base", 1);
        Adapter("base", "adapter", AdapterChain.Link(_files["base"], _files["base"]));
        Assert.Equal([_files["adapter"]], ModelSource.Find(_files["adapter"]).Adapters);
        var own = AdapterChain.Link(_files["base"], "base").Sha256[..12];

        Model("base", 2);       // the same name, other weights
        var error = Assert.Throws<InputException>(() => ModelSource.Find(_files["adapter"]));
        Assert.Contains($"was trained on {_files["base"]} ({own})", error.What);
        Assert.Contains(AdapterChain.Link(_files["base"], "base").Sha256[..12], error.What);

        Directory.Delete(_files["base"], recursive: true);
        Assert.Contains($"is an adapter of {_files["base"]}, which is not found",
            Assert.Throws<InputException>(() => ModelSource.Find(_files["adapter"], "model_name_or_path")).What);
        File.WriteAllText(_files["adapter/adapter_config.json"], """{"peft_type": "LORA"}""");
        Assert.Contains("base_model_name_or_path is missing", Assert.Throws<InputException>(() =>
            ModelSource.Find(_files["adapter"])).What);
    }

    private void Model(string name, long seed)
    {
        Directory.CreateDirectory(_files[name]);
        Tiny.Config("llama").Save(_files[name]);
        WeightFilesWriter.Save(_files[name], NewModel.Tensors(Tiny.Config("llama"), seed, DType.Float32));
    }

    private void Adapter(string based, string name, ModelLink link)
    {
        Directory.CreateDirectory(_files[name]);
        AdapterConfigFile.Write(_files[name], new() { Targets = ModuleNames.Of(["q_proj"]) }, Tiny.Config("llama").Family, _files[based]);
        WeightFilesWriter.Save(_files[name], [TensorToSave.From("x", new float[1], 1)],
            new() { Name = "adapter_model", Metadata = new AdapterChain([link]).Metadata });
    }

    private static AdapterLayout Layout(AdapterConfig config, string network = "llama")
    {
        var model = Tiny.Config(network);
        return AdapterLayout.Of("default", config, model.Family, model.Decoder, model.Family.Parameters(model.Decoder, fused: true),
            new NewAdapter(1), "here", trained: true);
    }
}
