using System.Text.Json.Nodes;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Tests.Models;

/// <summary>Adapters of every kind over every family of the golden models: names and shapes by PEFT's rules, and what is saved is what was
/// trained.</summary>
[Collection("tensors")]
public sealed class AdapterFamiliesTests
{
    private const int Rank = 8;

    private static readonly string[] s_kinds = ["all-linear", "named", "dora", "biased", "patterns", "layer", "pissa", "olora", "gaussian",
        "saved", "saved-head", "saved-as-one", "all-biases", "own-biases", "named-dora", "tokens", "parameters", "parameters-and-layers",
        "one-parameter", "parameters-and-biases"];

    public static TheoryData<string> Folders() => [.. SharedFiles.Folders("golden", "models").Select(f => Path.GetFileName(f)!)];

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void Number_20_an_adapter_has_PEFT_s_tensors_and_its_logits_again_when_it_is_loaded(string name)
    {
        var published = Published(name);
        // one in five, others for the next family
        var first = Folders().Select(row => row.Data).Order(StringComparer.Ordinal).TakeWhile(other => other != name).Count();
        Check(name, published, s_kinds.Where(published.Has).Where((_, index) => (index + first) % 5 == 0));
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    [Trait("speed", "slow")]
    public void Number_20_so_does_one_of_every_kind(string name)
    {
        var published = Published(name);
        Check(name, published, s_kinds.Where(published.Has));
    }

    private static PublishedLayers Published(string name)
    {
        var folder = SharedFiles.Need("golden", "models", name);
        return new(folder, Built(folder));
    }

    private static void Check(string name, PublishedLayers published, IEnumerable<string> kinds)
    {
        var folder = SharedFiles.Need("golden", "models", name);
        var config = Built(folder);
        foreach (var kind in kinds)
        {
            using var files = new TemporaryFolder();
            var adapter = published.Adapter(kind);
            float[] trained;
            using (var weights = ModelWeights.Open(folder, config, fused: true))
            {
                var layout = AdapterLayout.Of("default", adapter, weights.Family, weights.Config, weights.Parameters, new NewAdapter(3),
                    kind,
                    trained: true);
                using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32).With([layout]));
                Train(model, kind);
                trained = Logits(model);
                Assert.NotEqual(trained, Logits(model.With()));
                new SavedModel(model, config, GenerationDefaults.Load(folder, config.Decoder), s_tokenizer, DType.Float32)
                {
                    TrainedOn = new AdapterChain([AdapterChain.Link(folder, folder)]),
                }.Write(files["adapter"]);
            }

            using (var saved = SafetensorsFile.Open(Path.Combine(files["adapter"], "adapter_model.safetensors")))
                Assert.Equal(published.Tensors(kind, adapter), saved.Names.Select(tensor => $"{tensor} {saved.Info(tensor).Shape}")
                    .Order(StringComparer.Ordinal));
            var source = ModelSource.Find(files["adapter"]);
            using var loaded = source.Load(source.Config(), DType.Float32);
            if (kind is "pissa" or "olora")     // another order of the same sums
                Assert.All(trained.Zip(Logits(loaded)), pair => Assert.Equal(pair.First, pair.Second, 2e-4));
            else
                Assert.True(trained.AsSpan().SequenceEqual(Logits(loaded)), $"{name}, {kind}: other logits after loading");
        }
    }

    [Fact]
    public void The_config_of_an_adapter_has_the_keys_of_the_reference()
    {
        var reference = JsonNode.Parse(File.ReadAllText(SharedFiles.Need("golden", "runs", "adapter-lora",
            "adapter_config.json")))!.AsObject();
        using var files = new TemporaryFolder();
        Directory.CreateDirectory(files["adapter"]);
        AdapterConfigFile.Write(files["adapter"], new() { Targets = ModuleNames.Of(["q_proj"]) }, Contract.Tiny.Config("llama").Family,
            "m");
        var ours = JsonNode.Parse(File.ReadAllText(files["adapter/adapter_config.json"]))!.AsObject();
        Assert.Equal(reference.Select(pair => pair.Key).Order(StringComparer.Ordinal),
            ours.Select(pair => pair.Key).Order(StringComparer.Ordinal));
    }

    /// <summary>The config; skips, by name, where the family is not built.</summary>
    private static PublishedConfig Built(string folder)
    {
        try
        {
            return PublishedConfig.Load(folder);
        }
        catch (Handbook.Models.Families.UnsupportedFamilyException unbuilt)
        {
            Assert.Skip($"family {unbuilt.ModelType} is not built");
            throw;
        }
    }

    private static readonly Tokenizer s_tokenizer = Tokenizer
        .FromJson("""{"version":"1.0","model":{"type":"BPE","vocab":{"<pad>":0,"<s>":1,"</s>":2,"a":3},"merges":[]}}"""u8)
        .With(eosToken: "</s>", padToken: "<pad>");

    /// <summary>Numbers that are not those of the start, and a step along the gradient, which must reach everything.</summary>
    private static void Train(Decoder model, string kind)
    {
        using var scope = TensorScope.Enter();
        var random = new Random(4);
        var kept = model.Parameters.Adapters.SelectMany(adapter => adapter.KeptRows()).Select(rows =>
            (Rows: rows, Before: Rows(rows))).ToArray();
        foreach (var bucket in model.Parameters.Trained)
            foreach (ref var value in bucket.Values.AsSpan<float>())
                value += (float)(0.1 * (random.NextDouble() - 0.5));
        using (GradMode.Disabled())
            foreach (var (rows, before) in kept)
                model.Parameters[rows.Name].Value.Detach().Narrow(0, rows.Start, rows.Rows).CopyFrom(Tensor.From(before));
        model.Parameters.RefreshCompute();
        model.Parameters.ClearGradients();
        int[] places = [.. Enumerable.Range(0, 11)];
        LinearLogProb.WeightedLoss(RowSelect.Forward(model.Hidden(s_stream), places), model.Head,
            places.Select(i => s_ids[i + 1]).ToArray(),
            [.. places.Select(_ => 1.0 / places.Length)], model.HeadOptions).Backward();
        model.Parameters.SettleGradients();
        foreach (var rule in model.Parameters.Plan.Rules.Where(rule => rule.IsTrained))
            // which experts are asked depends on the tokens
            Assert.True(rule.Spec.Name.Contains("expert", StringComparison.Ordinal)
                || model.Parameters[rule.Spec.Name].Gradient!.ToArray<float>().Any(x => x != 0),
                    $"{kind}: nothing reaches {rule.Spec.Name}");
        using var mode = GradMode.Disabled();
        foreach (var bucket in model.Parameters.Trained)
            bucket.Values.AddInPlace(bucket.Gradients!, -0.1);
        model.Parameters.RefreshCompute();
        foreach (var (rows, before) in kept)
            Assert.Equal(before, Rows(rows));

        float[] Rows((string Name, long Start, long Rows) rows) =>
            model.Parameters[rows.Name].Value.Detach().Narrow(0, rows.Start, rows.Rows).ToArray<float>();
    }

    private static readonly int[] s_ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];
    private static readonly StreamLayout s_stream = StreamLayout.Of([s_ids]);

    private static float[] Logits(Decoder model)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        return model.Logits(s_stream).ToArray<float>();
    }

    /// <summary>The layers of a published model by its file alone, and what PEFT makes of them.</summary>
    private sealed class PublishedLayers
    {
        private readonly Dictionary<string, long[]> _shapes = [];
        private readonly (string Embedding, string Head, string Norm) _names;
        private readonly bool _tied;
        private readonly bool _transposed;

        public PublishedLayers(string folder, PublishedConfig config)
        {
            using var files = WeightFiles.Open(folder);
            foreach (var name in files.Names)
                _shapes[name] = [.. files.Info(name).Shape];
            _names = s_names.Single(names => _shapes.ContainsKey(names.Embedding + ".weight")
                && _shapes.ContainsKey(names.Norm + ".weight"));
            _transposed = config.Decoder.ModelType == "gpt2";
            _tied = config.Decoder.TiedHead;
        }

        private static readonly (string Embedding, string Head, string Norm)[] s_names =
        [
            ("model.embed_tokens", "lm_head", "model.norm"), ("model.embed_tokens", "lm_head", "model.final_layernorm"),
            ("model.decoder.embed_tokens", "lm_head", "model.decoder.final_layer_norm"), ("transformer.wte", "lm_head", "transformer.ln_f"),
            ("transformer.word_embeddings", "lm_head", "transformer.ln_f"), ("gpt_neox.embed_in", "embed_out", "gpt_neox.final_layer_norm"),
        ];

        /// <summary>Every linear layer but the head and routers, whose few outputs have no adapter here.</summary>
        private IEnumerable<string> Linear => _shapes.Where(pair => pair.Key.EndsWith(".weight", StringComparison.Ordinal)
            && pair.Value.Length == 2).Select(pair => pair.Key[..^".weight".Length]).Where(module => module != _names.Head
            && module != _names.Embedding && !module.EndsWith("wpe", StringComparison.Ordinal)
            && !module.EndsWith("embed_positions", StringComparison.Ordinal)
            && !s_routers.Any(router => module.EndsWith(router, StringComparison.Ordinal)));

        private static readonly string[] s_routers = [".gate", ".router", ".router.layer"];

        private static string Last(string module) => module[(module.LastIndexOf('.') + 1)..];

        /// <summary>Whether a model can have an adapter of a kind: some have no biases.</summary>
        public bool Has(string kind) => kind is "pissa" or "olora"
            ? Linear.All(module => _shapes[module + ".weight"].Min() >= 4)      // a gate of one output has no four singular vectors
            : (!kind.EndsWith("biases", StringComparison.Ordinal) || Biases(kind).Any())
                && (!kind.Contains("parameter", StringComparison.Ordinal) || Stacks.Any());

        /// <summary>The tensors that hold all experts of a layer as transformers 5 has them, by the module and the name in it; [E, in,
        /// out], in the order in which a module makes them.</summary>
        private IEnumerable<(string Module, string Name, long Experts, long Inputs, long Outputs)> Stacks
        {
            get
            {
                foreach (var (name, shape) in _shapes.OrderBy(pair => !pair.Key.Contains("gate_up", StringComparison.Ordinal)))
                    if (shape.Length == 3)
                        yield return name.EndsWith(".weight", StringComparison.Ordinal)
                            ? (name[..^".weight".Length], "weight", shape[0], shape[2], shape[1])
                            : (name[..name.LastIndexOf('.')], Last(name), shape[0], shape[1], shape[2]);
                foreach (var (name, shape) in _shapes.Where(pair => pair.Key.Contains(".experts.0.", StringComparison.Ordinal))
                    .OrderBy(pair => pair.Key.EndsWith("down_proj.weight", StringComparison.Ordinal) || pair.Key.EndsWith("w2.weight",
                        StringComparison.Ordinal)))
                {
                    var module = name[..name.IndexOf(".0.", name.IndexOf(".experts.", StringComparison.Ordinal), StringComparison.Ordinal)];
                    var experts = _shapes.Keys.Count(other => other.StartsWith(module + ".", StringComparison.Ordinal)) / 3;
                    var held = module.Replace("block_sparse_moe", "mlp", StringComparison.Ordinal);
                    if (Last(name[..^".weight".Length]) is "gate_proj" or "w1")
                        yield return (held, "gate_up_proj", experts, shape[1], 2 * shape[0]);
                    else if (Last(name[..^".weight".Length]) is "down_proj" or "w2")
                        yield return (held, "down_proj", experts, shape[1], shape[0]);
                }
            }
        }

        /// <summary>The names of parameters that get an adapter.</summary>
        private ValueList<string> Parameters(string kind) => !kind.Contains("parameter", StringComparison.Ordinal) ? []
            : [.. Stacks.Select(stack => $"{Last(stack.Module)}.{stack.Name}").Distinct().Take(kind == "one-parameter" ? 1 : 2)];

        /// <summary>Those of layers, and those of all experts in one tensor.</summary>
        private IEnumerable<string> Biases(string kind) => _shapes.Keys.Where(name => name.EndsWith(".bias", StringComparison.Ordinal)
            && _shapes[name].Length == 1 && (kind is "all-biases" or "parameters-and-biases"
                || Targeted(kind).Contains(name[..^".bias".Length]))
            || IsStacked(name) && (kind is "all-biases" or "parameters-and-biases"));

        private static bool IsStacked(string bias) => bias.EndsWith("_bias", StringComparison.Ordinal)
            && bias.Contains(".experts.", StringComparison.Ordinal);

        /// <summary>What has an adapter. Of the last kind some of the layers that are multiplied together, not all.</summary>
        private IEnumerable<string> Targeted(string kind) => kind == "own-biases"
            ? Linear.Where(module => Last(module) != "k_proj" && !module.Contains(".1.", StringComparison.Ordinal))
            : kind == "parameters-and-layers" ? Linear.Where(module => Last(module) == "o_proj")
            : kind.Contains("parameter", StringComparison.Ordinal) ? [] : Linear;

        public AdapterConfig Adapter(string kind)
        {
            string[] linear = [.. Linear.Select(Last).Distinct()];
            var all = new AdapterConfig { Rank = Rank, Alpha = 12, Targets = ModuleNames.Of(ModuleNames.AllLinearWord) };
            return kind switch
            {
                "named" => all with { Targets = ModuleNames.Of([.. linear, Last(_names.Embedding), _names.Head]) },
                "named-dora" => Adapter("named") with { UseDora = true },
                "dora" => all with { UseDora = true },
                "biased" => all with { LoraBias = true, UseRslora = true },
                "patterns" => all with
                {
                    RankPattern = new Dictionary<string, double> { [linear[0]] = 3, [@"1\..*" + linear[^1]] = 5 },
                    AlphaPattern = new Dictionary<string, double> { [linear[^1]] = 7 },
                },
                "layer" => all with { Layers = [1] },
                "pissa" => all with { Init = AdapterInit.Pissa, Rank = 4 },
                "olora" => all with { Init = AdapterInit.Olora, Rank = 4 },
                "gaussian" => all with { Init = AdapterInit.Gaussian },
                "all-biases" => all with { Bias = AdapterBias.All },
                "own-biases" => all with { Bias = AdapterBias.LoraOnly, Targets = ModuleNames.Of(Targeted(kind)) },
                "saved" => all with { ModulesToSave = [_names.Head, Last(_names.Embedding), _names.Norm] },
                "saved-head" => all with { ModulesToSave = [_names.Head] },
                "saved-as-one" => all with { ModulesToSave = [_tied ? _names.Head : Last(_names.Embedding)], TieWeights = true },
                "parameters" => all with
                {
                    Targets = ModuleNames.Of([]),
                    TargetParameters = Parameters(kind),
                    RankPattern = new Dictionary<string, double> { [Parameters(kind)[0]] = 3 },
                },
                "one-parameter" => all with { Targets = ModuleNames.Of([]), TargetParameters = Parameters(kind), UseRslora = true },
                "parameters-and-biases" => all with
                {
                    Targets = ModuleNames.Of([]),
                    TargetParameters = Parameters(kind),
                    Bias = AdapterBias.All
                },
                "parameters-and-layers" => all with { Targets = ModuleNames.Of((string[])["o_proj"]), TargetParameters = Parameters(kind) },
                "tokens" => all with { TrainedTokens = new Dictionary<string, ValueList<int>> { ["embed_tokens"] = [5, 1] } },
                _ => all,
            };
        }

        /// <summary>Names and shapes of the tensors, sorted.</summary>
        public IEnumerable<string> Tensors(string kind, AdapterConfig adapter)
        {
            var tensors = new List<string>();
            var names = kind.StartsWith("named", StringComparison.Ordinal);
            foreach (var module in Targeted(kind).Concat(names ? [_names.Head] : []))
            {
                // PEFT takes the last number of a path for the layer's, also that of an expert
                if (kind == "layer" && module.Split('.').Last(part => part.All(char.IsAsciiDigit)) != "1")
                    continue;
                var shape = _shapes[module == _names.Head && _tied ? _names.Embedding + ".weight" : module + ".weight"];
                var (inputs, outputs) = _transposed && module != _names.Head ? (shape[0], shape[1]) : (shape[1], shape[0]);
                var first = adapter.RankPattern.Keys.FirstOrDefault();
                var rank = kind is "pissa" or "olora" ? 2 * adapter.Rank
                    : kind != "patterns" ? Rank
                    : Last(module) == first ? 3
                    : module.Contains(".1.", StringComparison.Ordinal) && Last(module) == Last(Linear.Select(Last).Distinct().Last())
                        ? 5 : Rank;
                Add(module + ".lora_A.weight", rank, inputs);
                Add(module + ".lora_B.weight", outputs, rank);
                if (kind == "biased")
                    Add(module + ".lora_B.bias", outputs);
                if (adapter.UseDora)
                    Add(module + ".lora_magnitude_vector", outputs);
            }
            if (names)
            {
                var table = _shapes[_names.Embedding + ".weight"];
                Add(_names.Embedding + ".lora_embedding_A", Rank, table[0]);
                Add(_names.Embedding + ".lora_embedding_B", table[1], Rank);
                if (adapter.UseDora)
                    Add(_names.Embedding + ".lora_magnitude_vector", table[1]);
                // whatever PEFT knows as a table by these names is saved as it is below its adapter
                if (_names.Embedding.EndsWith("embed_tokens", StringComparison.Ordinal) || _names.Head == "lm_head")
                {
                    Add(_names.Embedding + ".base_layer.weight", table);
                    Add(_names.Head + ".base_layer.weight", table);
                    if (_shapes.TryGetValue(_names.Head + ".bias", out var bias))
                        Add(_names.Head + ".base_layer.bias", bias);
                }
            }
            var wrapped = Stacks.Where(stack => adapter.TargetParameters.Contains($"{Last(stack.Module)}.{stack.Name}")).ToArray();
            for (var i = 0; i < wrapped.Length; i++)
            {
                var (module, _, experts, inputs, outputs) = wrapped[i];
                module += string.Concat(wrapped[(i + 1)..].Where(later => later.Module == module).Select(_ => ".base_layer"));
                var rank = adapter.RankPattern.Count > 0 && $"{Last(wrapped[i].Module)}.{wrapped[i].Name}" == adapter.TargetParameters[0]
                    ? 3 : Rank;
                Add(module + ".lora_A.weight", rank * experts, inputs);
                Add(module + ".lora_B.weight", outputs, rank * experts);
            }
            if (kind.EndsWith("biases", StringComparison.Ordinal))
                foreach (var bias in Biases(kind))
                    Add(IsStacked(bias) && adapter.TargetParameters.Count > 0
                        ? bias.Replace(".experts.", ".experts.base_layer.base_layer.", StringComparison.Ordinal)
                        : IsStacked(bias) ? bias : bias[..^".bias".Length]
                        + (Targeted(kind).Contains(bias[..^".bias".Length]) ? ".base_layer" : "") + ".bias", _shapes[bias]);
            if (kind == "tokens")
                Add(_names.Embedding + ".token_adapter.trainable_tokens_delta", 2, _shapes[_names.Embedding + ".weight"][1]);
            // a tied head is a layer of its own as soon as it is trained, with another copy or with the embedding's
            var ofHead = (_tied ? _names.Embedding : _names.Head) + ".weight";
            if (kind is "saved" or "saved-head" || kind == "saved-as-one" && _tied)
            {
                Add(_names.Head + ".weight", _shapes[ofHead]);
                if (_shapes.TryGetValue(_names.Head + ".bias", out var bias))
                    Add(_names.Head + ".bias", bias);
            }
            if (kind is "saved" or "saved-as-one")
                Add(_names.Embedding + ".weight", _shapes[_names.Embedding + ".weight"]);
            if (kind == "saved")
                foreach (var (name, shape) in _shapes.Where(pair => pair.Key.StartsWith(_names.Norm + ".", StringComparison.Ordinal)))
                    Add(name, shape);
            return tensors.Order(StringComparer.Ordinal);

            void Add(string name, params long[] shape) => tensors.Add($"base_model.model.{name} {(ValueList<long>)[.. shape]}");
        }
    }
}
