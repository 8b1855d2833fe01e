using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Contract;

/// <summary>A step of an adapter depends on its rows and their dropout, which belongs to the tokens, not to the batch.</summary>
[Collection("tensors")]
public sealed class AdapterContractTests
{
    private const double Rounding = 1e-10;      // float64 sums in another order

    public static TheoryData<string, AdapterKind> Cases(bool slow) => [..
        from network in (string[])["llama", "mistral", "mixtral", "olmo2", "gpt2", "gpt_neox"]
        from kind in Enum.GetValues<AdapterKind>()
        where slow == (AdapterKinds.Codes(kind) is not null && network is not ("llama" or "gpt_neox"))
        select new TheoryDataRow<string, AdapterKind>(network, kind)];

    [Theory, MemberData(nameof(Cases), true), Trait("speed", "slow")]
    public void All_of_this_holds_over_codes_of_every_network(string network, AdapterKind kind)
    {
        Number_1_3_and_23_gradients_of_an_adapter_are_the_same_however_they_are_computed(network, kind);
        Two_workers_have_an_adapter_s_gradients_of_one(network, kind);
        An_adapter_that_is_switched_off_leaves_the_model_as_it_is_bit_for_bit(network, kind);
        Gradients_of_an_adapter_are_differences_of_the_loss(network, kind);
    }

    [Theory, MemberData(nameof(Cases), false)]
    public void Number_1_3_and_23_gradients_of_an_adapter_are_the_same_however_they_are_computed(string network, AdapterKind kind)
    {
        using var model = Tiny.Adapted(network, kind);
        var rows = Tiny.Rows(4, 11);
        var packed = Packing.BestFit(rows, 32);
        var method = new SupervisedMethod("sft", countFirstTokens: false);
        var expected = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096), Dropping);
        if (AdapterKinds.Codes(kind) is not null)
        {
            using var values = Tiny.Adapted(network, kind, asValues: true);
            Assert.DoesNotContain(values.Parameters.Plan.Rules, rule => rule.Storage == ParameterStorage.Codes);
            Assert.Contains(model.Parameters.Plan.Rules, rule => rule.Storage == ParameterStorage.Codes);
            Tiny.Step(values, method, Tiny.Whole(rows, method, 4096), Dropping).MustEqual(expected, Rounding, "over the values of the codes");
        }
        Assert.NotEqual(expected.Loss, Tiny.Step(model, method, Tiny.Whole(rows, method, 4096)).Loss);
        foreach (var maxTokens in (ReadOnlySpan<int>)[1, 15, 40])
            Tiny.Step(model, method, Tiny.Whole(rows, method, maxTokens), Dropping).MustEqual(expected, Rounding, $"bins of {maxTokens}");
        Tiny.Step(model, method, Tiny.Whole(rows, method, 40), batch => Dropping(batch) with { Recompute = true })
            .MustEqual(expected, Rounding, "computed again");
        // a packed row has numbers of its own, so this is compared without dropout
        Tiny.Step(model, method, Tiny.Whole(packed, method, 4096))
            .MustEqual(Tiny.Step(model, method, Tiny.Whole(rows, method, 1)), Rounding, "packed");
        Tiny.Step(model, method, Tiny.Whole(packed, method, 4096), Dropping)
            .MustEqual(Tiny.Step(model, method, Tiny.Whole(packed, method, 1), Dropping), Rounding, "packed, in bins");
    }

    [Theory, MemberData(nameof(Cases), false)]
    public void Two_workers_have_an_adapter_s_gradients_of_one(string network, AdapterKind kind)
    {
        var rows = Tiny.Rows(5, 5);
        var method = new SupervisedMethod("sft");
        StepRows step = new(0, 0, [[0, 1, 2], [3, 4]], 1);
        var expected = Run(Workers.Alone);
        foreach (var result in WorkerPair.Run(2, Run))
            result.MustEqual(expected, Rounding, "two workers");

        StepResult Run(Workers workers)
        {
            using var scope = TensorScope.Enter();
            using var model = Tiny.Adapted(network, kind);
            return Tiny.Step(model, method, BatchLoader.Lay(rows, step, method, 30, workers), Dropping, workers);
        }
    }

    [Theory, MemberData(nameof(Cases), false)]
    public void An_adapter_that_is_switched_off_leaves_the_model_as_it_is_bit_for_bit(string network, AdapterKind kind)
    {
        using var adapted = Tiny.Adapted(network, kind);
        using var plain = Tiny.Base(network, kind);
        var bin = Tiny.Whole(Tiny.Rows(6, 4), new SupervisedMethod("sft"), 4096).Groups[0].Bins[0];
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var expected = plain.Logits(bin.Stream).ToArray<double>();
        Assert.Equal(expected, adapted.With().Logits(bin.Stream).ToArray<double>());
        Assert.NotEqual(expected, adapted.Logits(bin.Stream).ToArray<double>());
    }

    [Theory, MemberData(nameof(Cases), false)]
    public void Gradients_of_an_adapter_are_differences_of_the_loss(string network, AdapterKind kind)
    {
        if (AdapterKinds.Config(kind).UseDora)
            Assert.Skip("the norm is a constant in the backward pass, as the paper has it (§4.3)");
        using var model = Tiny.Adapted(network, kind);
        var method = new SupervisedMethod("sft");
        Tiny.MustFollowDifferences(model, method, Tiny.Whole(Tiny.Rows(8, 4), method, 30),
            [.. model.Parameters.Plan.Rules.Where(rule => rule.IsTrained).Select(rule => rule.Spec.Name)], 1e-6, places: 2);
    }

    /// <summary>Biases of the model, of the layers with an adapter or of all; what has magnitudes has constant norms, and is left
    /// out.</summary>
    [Theory, InlineData("gpt2", true), InlineData("gpt2", false), InlineData("gpt_neox", true)]
    public void Gradients_of_biases_beside_an_adapter_are_differences_of_the_loss(string network, bool all)
    {
        var config = AdapterKinds.Config(AdapterKind.Lora) with { Bias = all ? AdapterBias.All : AdapterBias.LoraOnly, Dropout = 0 };
        using var model = Tiny.Adapted(network, config);
        var method = new SupervisedMethod("sft");
        string[] biases = [.. model.Parameters.Adapters[0].Whole.Select(pair => pair.Own.Name)];
        Assert.Equal(all, biases.Contains("final_norm.bias.default"));
        Tiny.MustFollowDifferences(model, method, Tiny.Whole(Tiny.Rows(8, 4), method, 30), biases, 1e-6, places: 2);
        using var plain = Tiny.Model(network);
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var bin = Tiny.Whole(Tiny.Rows(6, 4), method, 4096).Groups[0].Bins[0];
        Assert.Equal(plain.Logits(bin.Stream).ToArray<double>(), model.With().Logits(bin.Stream).ToArray<double>());
    }

    /// <summary>The head of this network is its embedding: its own copy of either, of both, or one for both.</summary>
    [Theory]
    [InlineData("lm_head", false, new[] { "head.weight.default" })]
    [InlineData("wte", false, new[] { "embed.weight.default" })]
    [InlineData("lm_head, wte", false, new[] { "embed.weight.default", "head.weight.default" })]
    [InlineData("lm_head", true, new[] { "embed.weight.default" })]
    [InlineData("lm_head, wte", true, new[] { "embed.weight.default" })]
    public void Gradients_of_a_tied_head_that_is_trained_whole_are_differences_of_the_loss(string saved, bool asOne, string[] own)
    {
        var config = AdapterKinds.Config(AdapterKind.Lora) with { ModulesToSave = [.. saved.Split(", ")], TieWeights = asOne, Dropout = 0 };
        using var model = Tiny.Adapted("gpt2", config);
        var method = new SupervisedMethod("sft");
        Assert.Equal(own, model.Parameters.Adapters[0].Whole.Select(pair => pair.Own.Name).Distinct());
        Tiny.MustFollowDifferences(model, method, Tiny.Whole(Tiny.Rows(8, 4), method, 30), own, 1e-6, places: 6);
        using var plain = Tiny.Model("gpt2");
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var bin = Tiny.Whole(Tiny.Rows(6, 4), method, 4096).Groups[0].Bins[0];
        Assert.Equal(plain.Logits(bin.Stream).ToArray<double>(), model.With().Logits(bin.Stream).ToArray<double>());
    }

    public static TheoryData<bool, double> Groups() => new() { { false, 1 }, { false, 16 }, { true, 16 } };

    [Theory, MemberData(nameof(Groups))]
    public void Number_30_each_parameter_of_an_adapter_has_its_rate_and_decay(bool dora, double ratio)
    {
        var config = AdapterKinds.Config(AdapterKind.Lora) with
        {
            UseDora = dora,
            LoraBias = true,
            ModulesToSave = ["embed_tokens", "norm"]
        };
        using var model = Tiny.Adapted("llama", config, upRate: ratio);
        // published name → rate's factor, whether weight decay applies
        var table = model.Parameters.Buckets.Where(bucket => bucket.Gradients is not null).SelectMany(bucket => bucket.Parameters
            .SelectMany(pair => model.Parameters.Spec(pair.Parameter.Name).Parts.Select(part => part.Published)
                .Select(name => (Name: name, bucket.RateFactor, bucket.Decays)))).DistinctBy(row => row.Name).ToArray();
        Assert.Equal(2 * 7 * (dora ? 4 : 3) + 2, table.Length);
        foreach (var (name, rate, decays) in table)
        {
            var isUp = name.Contains(".lora_B.", StringComparison.Ordinal) || name.EndsWith(".lora_magnitude_vector",
                StringComparison.Ordinal);
            Assert.Equal((name, isUp ? ratio : 1), (name, rate));
            var isVector = name.EndsWith(".lora_B.bias", StringComparison.Ordinal) || name == "base_model.model.model.norm.weight";
            Assert.Equal((name, !isVector), (name, decays));
        }
    }

    [Fact]
    public void Number_30_embeddings_and_heads_of_an_adapter_keep_their_own_rate()
    {
        var options = new TrainingOptions { LearningRate = 0.02, EmbeddingLearningRate = 0.005 };
        var untied = new AdapterConfig { Targets = ModuleNames.Of(["q_proj"]), ModulesToSave = ["embed_tokens", "lm_head"] };
        Assert.Equal(
            [("embed_tokens.weight", 0.25), ("lm_head.weight", 0.25), ("q_proj.lora_A.weight", 1), ("q_proj.lora_B.weight", 16)], Rates(untied));
        Assert.Equal([("q_proj.lora_A.weight", 1), ("q_proj.lora_B.weight", 16), ("token_adapter.trainable_tokens_delta", 0.25)],
            Rates(untied with { ModulesToSave = [], TrainedTokens = new Dictionary<string, ValueList<int>> { ["embed_tokens"] = [3, 5] } }));

        IEnumerable<(string, double)> Rates(AdapterConfig config)
        {
            var model = Tiny.Config("llama");
            var specs = model.Family.Parameters(model.Decoder, fused: true);
            var layout = AdapterLayout.Of("default", config, model.Family, model.Decoder, specs, new NewAdapter(1), "the test", trained: true);
            var plan = ParameterPlan.Resident(specs, DType.Float64, DType.Float64).With([layout], upRate: 16).WithRates(options.RateFactor);
            return plan.Rules.Where(rule => rule.IsTrained).SelectMany(rule => rule.Spec.Parts.Select(part =>
                (string.Join('.', part.Published.Split('.').SkipWhile(word => word is not ("embed_tokens" or "lm_head" or "q_proj" or "token_adapter"))
                    .SkipWhile(word => word == "embed_tokens" && part.Published.Contains("token_adapter"))), rule.RateFactor)))
                .Distinct().OrderBy(pair => pair.Item1, StringComparer.Ordinal);
        }
    }

    [Fact]
    public void Number_30_the_higher_rate_of_B_moves_it_by_as_much()
    {
        var (plain, faster) = (Moves(1), Moves(16));
        foreach (var (name, moved) in plain)
            for (var i = 0; i < moved.Length; i++)
                Assert.Equal(moved[i] * (name.Contains("lora_B", StringComparison.Ordinal) ? 16 : 1), faster[name][i], 1e-9);

        Dictionary<string, double[]> Moves(double ratio)
        {
            using var model = Tiny.Adapted("llama", AdapterKind.Lora, upRate: ratio);
            using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0);
            string[] names = [.. model.Parameters.Plan.Rules.Where(rule => rule.IsTrained).Select(rule => rule.Spec.Name)];
            var before = names.ToDictionary(name => name, name => model.Parameters[name].Value.ToArray<double>());
            var method = new SupervisedMethod("sft");
            Tiny.Step(model, method, Tiny.Whole(Tiny.Rows(9, 4), method, 4096));
            optimizer.Step(0.001, 1);
            return names.ToDictionary(name => name, name => model.Parameters[name].Value.ToArray<double>()
                .Zip(before[name], (now, then) => now - then).ToArray());
        }
    }

    private static ForwardOptions Dropping(TokenBatch batch) => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2) };
}
