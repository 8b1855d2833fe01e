using System.Runtime.InteropServices;
using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Checkpoints;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>Adapters on the parameters that hold all experts of a layer: PEFT's formula, gradients, and what they cannot have.</summary>
[Collection("tensors")]
public sealed class ExpertParameterTests
{
    private static readonly int[] s_ids = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8];
    private static readonly StreamLayout s_stream = StreamLayout.Of([s_ids]);

    private static AdapterConfig Both => new()
    {
        Rank = 3,
        Alpha = 6,
        Targets = ModuleNames.Of([]),
        TargetParameters = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        Init = AdapterInit.Random,
    };

    private static AdapterConfig Granite => Both with { TargetParameters = ["input_linear.weight", "output_linear.weight"] };

    [Theory(SkipTestWithoutData = true), InlineData("gpt_oss"), InlineData("granitemoe")]
    public void An_adapter_adds_the_products_of_its_tensors_as_the_reference_puts_them_together(string name)
    {
        var folder = SharedFiles.Need("golden", "models", name);
        var config = PublishedConfig.Load(folder);
        using var files = new TemporaryFolder();
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        using var model = Model(folder, config, name == "gpt_oss" ? Both : Granite);
        var adapter = model.Parameters.Plan.Adapters[0];
        using var published = WeightFiles.Open(folder);
        var tensors = PublishedTensors.Of([.. adapter.Specs], own => Values(model, own), DType.Float64).ToDictionary(t => t.Info.Name,
            Numbers);
        var summed = published.Names.Select(tensor =>
        {
            var (data, shape) = (published.Read(tensor), published.Info(tensor).Shape);
            var values = new double[data.Info.Count];
            ElementConversion.Convert(data.Bytes, data.Info.DType, MemoryMarshal.AsBytes(values.AsSpan()), DType.Float64);
            var module = AdapterLayout.Prefix + tensor[..tensor.LastIndexOf('.')] + (tensor.EndsWith("gate_up_proj",
                StringComparison.Ordinal)
                ? ".base_layer" : "");
            if (shape.Count == 3 && tensors.TryGetValue(module + ".lora_A.weight", out var a))
            {
                var (b, experts, outputs) = (tensors[module + ".lora_B.weight"], (int)shape[0], (int)shape[name == "gpt_oss" ? 2 : 1]);
                var inputs = (int)(shape[1] * shape[2]) / outputs;
                // ΔW[e, o, i] = s · Σ_r B[o, r·E + e] · A[e·R + r, i]
                for (var e = 0; e < experts; e++)
                    for (var o = 0; o < outputs; o++)
                        for (var i = 0; i < inputs; i++)
                            for (var r = 0; r < 3; r++)
                                values[e * inputs * outputs + (name == "gpt_oss" ? i * outputs + o : o * inputs + i)] +=
                                    2 * b[o * 3 * experts + r * experts + e] * a[(e * 3 + r) * inputs + i];
            }
            return new TensorToSave(new(tensor, DType.Float64, shape), stream => stream.Write(MemoryMarshal.AsBytes(values.AsSpan())));
        }).ToArray();
        Directory.CreateDirectory(files["merged"]);
        WeightFilesWriter.Save(files["merged"], summed);
        using var weights = ModelWeights.Open(files["merged"], config, fused: true);
        using var merged = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float64));
        var (expected, actual) = (merged.Logits(s_stream).ToArray<double>(), model.Logits(s_stream).ToArray<double>());
        Assert.All(expected.Zip(actual), pair => Assert.Equal(pair.First, pair.Second, 1e-9));
        Assert.Contains(expected.Zip(model.With().Logits(s_stream).ToArray<double>()), pair => Math.Abs(pair.First - pair.Second) > 1e-3);
    }

    [Theory(SkipTestWithoutData = true), InlineData("gpt_oss"), InlineData("qwen3_moe")]
    public void Gradients_are_those_of_finite_differences(string name)
    {
        var folder = SharedFiles.Need("golden", "models", name);
        using var model = Model(folder, PublishedConfig.Load(folder), Both);
        Backward(model);
        var checkedOnes = 0;
        foreach (var rule in model.Parameters.Plan.Rules.Where(rule => rule.IsTrained && rule.Spec.Name.Contains(".0.mlp.experts.1.",
            StringComparison.Ordinal)))
        {
            var parameter = model.Parameters[rule.Spec.Name];
            var values = parameter.Value.AsSpan<double>();
            var gradient = parameter.Gradient!.ToArray<double>();
            for (var i = 0; i < values.Length; i += 1 + values.Length / 7)
            {
                const double step = 1e-5;
                var before = values[i];
                values[i] = before + step;
                var above = Loss(model);
                values[i] = before - step;
                var below = Loss(model);
                values[i] = before;
                Assert.Equal((above - below) / (2 * step), gradient[i], 1e-8);
                checkedOnes += gradient[i] != 0 ? 1 : 0;
            }
        }
        Assert.True(checkedOnes > 10, "few numbers had a gradient");
    }

    [Theory, InlineData("gpt_oss"), InlineData("granitemoe"), InlineData("mixtral")]
    public void Runs_go_on_with_the_same_bits_and_two_processes_that_share_out_everything_train_as_one(string name)
    {
        var adapter = (name == "granitemoe" ? Granite : Both) with
        {
            Init = AdapterInit.Default,
            Targets = ModuleNames.Of((string[])["o_proj"])
        };
        var options = new TrainingOptions
        {
            OutputDir = "",
            LearningRate = 0.02,
            PerDeviceTrainBatchSize = 4,
            MaxSteps = 3,
            SaveSteps = new(1),
            ZeroStage = 3
        };
        using TemporaryFolder alone = new(), resumed = new(), shared = new();
        var expected = LoopRun.Run(alone.Path, options, own: adapter, dtype: DType.Float64, network: name);
        var middle = CheckpointFolder.Open(Path.Combine(alone.Path, "checkpoint-2"));
        Assert.Equal(expected, LoopRun.Run(resumed.Path, options, middle, own: adapter, dtype: DType.Float64, network: name, seed: 7));
        foreach (var weights in WorkerPair.Run(2, its => LoopRun.Run(shared.Path, options with { SaveStrategy = SaveStrategy.No },
            own: adapter,
            dtype: DType.Float64, network: name, workers: its)))
            Assert.All(expected.Zip(weights), pair => Assert.Equal(pair.First, pair.Second, 1e-9));
    }

    [Fact]
    public void Two_adapters_by_name_add_up_and_each_goes_alone()
    {
        var tiny = Tiny.Config("gpt_oss");
        var specs = tiny.Family.Parameters(tiny.Decoder, fused: true);
        AdapterLayout Layout(string name, long seed, AdapterConfig config) => AdapterLayout.Of(name, config, tiny.Family, tiny.Decoder,
            specs,
            new NewAdapter(seed), null, trained: false);
        AdapterLayout[] both = [Layout("first", 3, Both), Layout("second", 4, Both with { TargetParameters = ["down_proj"], Rank = 2 })];
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var plan = ParameterPlan.Resident(specs, DType.Float64, DType.Float64).With(both);
        using var model = new Decoder(tiny.Decoder, ModelParameters.Allocate(plan));
        var random = new Random(1);
        foreach (var spec in model.Parameters.Specs.Where(spec => !spec.Name.Contains("lora", StringComparison.Ordinal)))
            foreach (ref var value in model.Parameters[spec.Name].Value.AsSpan<double>())
                value = random.NextDouble() - 0.5;
        foreach (var layout in both)
        {
            model.Parameters.Activate(layout.Name);
            layout.Source.Fill(layout, model.Parameters);
        }
        double[] Weight(params string[] names)
        {
            var parameter = model.Parameters.With(names)["layers.1.mlp.experts.2.down.weight"];
            Assert.Equal(names.Length, parameter.Adapters.Count);
            var eye = Tensor.From([.. Enumerable.Range(0, (int)(parameter.Value.Size(1) * parameter.Value.Size(1)))
                .Select(i => i % (parameter.Value.Size(1) + 1) == 0 ? 1.0 : 0)], parameter.Value.Size(1), parameter.Value.Size(1));
            return GroupedLinear.Forward(eye, new([.. Enumerable.Repeat(0, (int)eye.Size(0))], 1, 1), [parameter], null).ToArray<double>();
        }
        var (none, first, second, sum) = (Weight(), Weight("first"), Weight("second"), Weight("first", "second"));
        for (var i = 0; i < none.Length; i++)
            Assert.Equal(first[i] + second[i] - none[i], sum[i], 1e-12);
        Assert.NotEqual(none, first);
        Assert.NotEqual(none, second);
    }

    [Theory(SkipTestWithoutData = true), InlineData("cat"), InlineData("svd")]
    public void Adapters_are_combined_expert_by_expert(string method)
    {
        var folder = SharedFiles.Need("golden", "models", "gpt_oss");
        var config = PublishedConfig.Load(folder);
        using var files = new TemporaryFolder();
        using var weights = ModelWeights.Open(folder, config, fused: true);
        AdapterLayout[] both = [Layout("first", Both, new NewAdapter(3)),
            Layout("second", Both with { RankPattern = new Dictionary<string, double> { ["gate_up_proj"] = 2 } }, new NewAdapter(4))];
        float[] expected;
        using (var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32).With(both)))
        {
            expected = Logits(model);
            foreach (var layout in both)
            {
                WeightFilesWriter.Save(files[layout.Name], PublishedTensors.Of([.. layout.Saved], own => Values(model, own), DType.Float32),
                    new() { Name = "adapter_model" });
                AdapterConfigFile.Write(files[layout.Name], layout.Config, config.Family, "m");
            }
        }
        var (tensors, combined) = CombinedAdapter.Of([(files["first"], 1), (files["second"], 1)], config,
            CombinationMethod.All.Single(known => known.Name == method), new() { Rank = method == "svd" ? 7 : null }, _ => { });
        WeightFilesWriter.Save(files["both"], tensors, new() { Name = "adapter_model" });
        AdapterConfigFile.Write(files["both"], combined, config.Family, "m");
        Assert.Equal(6, combined.Rank);       // 3 + 3 of down_proj; of gate_up_proj 3 + 2 and zeros
        var one = Layout("one", AdapterConfigFile.Read(files["both"]), new AdapterFolder(files["both"]));
        using var loaded = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32).With([one]));
        Assert.All(expected.Zip(Logits(loaded)), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
        Assert.Contains(expected.Zip(Logits(loaded.With())), pair => Math.Abs(pair.First - pair.Second) > 1e-2);

        AdapterConfigFile.Write(files["second"], both[1].Config with { TargetParameters = ["down_proj"] }, config.Family, "m");
        Assert.Contains("target_parameters is down_proj, but that of the first adapter is mlp.experts.gate_up_proj, mlp.experts.down_proj",
            Assert.Throws<InputException>(() => CombinedAdapter.Of([(files["first"], 1), (files["second"], 1)], config,
                CombinationMethod.All[0], new(), _ => { })).What);

        AdapterLayout Layout(string name, AdapterConfig adapter, IAdapterSource source) =>
            AdapterLayout.Of(name, adapter, weights.Family, weights.Config, weights.Parameters, source, "file", trained: false);

        static float[] Logits(Decoder model)
        {
            using var scope = TensorScope.Enter();
            using var mode = GradMode.Disabled();
            return model.Logits(s_stream).ToArray<float>();
        }
    }

    [Fact]
    public void What_parameters_cannot_have_is_refused_by_name()
    {
        Refused(Both with { Dropout = 0.1 }, "lora_dropout cannot be used with lora_target_parameters", "set lora_dropout: 0");
        Refused(Both with { UseDora = true }, "use_dora cannot be used with lora_target_parameters", "remove use_dora");
        Refused(Both with { LoraBias = true }, "lora_bias cannot be used with", "remove lora_bias");
        Refused(Both with { Init = AdapterInit.Pissa }, "init_lora_weights cannot be used with", "remove init_lora_weights");
        Refused(Both with { TargetParameters = ["experts.gate_up_prj"] }, "no parameter of this mixtral is called experts.gate_up_prj",
            "did you mean mlp.experts.gate_up_proj?");
        Refused(Both with { TargetParameters = ["mlp.gate.weight"] }, "no parameter of this mixtral is called",
            "its parameters of experts are");
        Refused(Both with { TargetParameters = ["block_sparse_moe.gate.weight"] }, "gate.weight cannot have an adapter as a parameter",
            "leave it out");
        Refused(Both with { TargetParameters = ["embed_tokens.weight"] }, "embed_tokens.weight cannot have an adapter as a parameter",
            "name it in lora_target_modules");
        Refused(Both with { TargetParameters = ["input_layernorm.weight"] }, "it is no matrix by which tokens are multiplied",
            "its parameters");
        Refused(Both with { Targets = ModuleNames.Of(["q_proj", "w2"]) }, "lora_target_parameters and lora_target_modules both mean",
            "name it in one of the two");
        Refused(Both with { Targets = ModuleNames.Of(["q_proj", "v_proj"]), TargetParameters = ["q_proj.weight"] }, "both mean",
            "one of the two");

        static void Refused(AdapterConfig config, string what, string fix)
        {
            var tiny = Tiny.Config("mixtral");
            var error = Assert.Throws<InputException>(() => AdapterLayout.Of("default", config, tiny.Family, tiny.Decoder,
                tiny.Family.Parameters(tiny.Decoder, fused: true), new NewAdapter(1), file: null, trained: true));
            Assert.Contains(what, error.What, StringComparison.Ordinal);
            Assert.Contains(fix, error.Fix!, StringComparison.Ordinal);
        }
    }

    private static Decoder Model(string folder, PublishedConfig config, AdapterConfig adapter)
    {
        using var weights = ModelWeights.Open(folder, config, fused: true);
        var layout = AdapterLayout.Of("default", adapter, weights.Family, weights.Config, weights.Parameters, new NewAdapter(3), null,
            trained: true);
        return Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float64).With([layout]));
    }

    private static TensorData Values(Decoder model, string name)
    {
        var value = model.Parameters[name].Value;
        return new(new(name, value.DType, [.. value.Shape]), TensorKeeper.Address(value), new TensorKeeper(value));
    }

    private static double[] Numbers(TensorToSave tensor)
    {
        using var stream = new MemoryStream();
        tensor.Write(stream);
        return MemoryMarshal.Cast<byte, double>(stream.ToArray()).ToArray();
    }

    private static void Backward(Decoder model)
    {
        using var scope = TensorScope.Enter();
        model.Parameters.ClearGradients();
        Objective(model).Backward();
        model.Parameters.SettleGradients();
    }

    private static double Loss(Decoder model)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        return Objective(model).ToArray<double>()[0];
    }

    private static Tensor Objective(Decoder model)
    {
        int[] places = [.. Enumerable.Range(0, s_ids.Length - 1)];
        return LinearLogProb.WeightedLoss(RowSelect.Forward(model.Hidden(s_stream), places), model.Head,
            places.Select(i => s_ids[i + 1]).ToArray(), [.. places.Select(_ => 1.0 / places.Length)], model.HeadOptions);
    }
}
