using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests;

[Collection("tensors")]
public sealed class ParameterPlanTests
{
    public static TheoryData<string, DType> Stored => new()
    {
        { "llama", DType.Float32 }, { "llama", DType.BFloat16 }, { "llama", DType.Float16 },
        { "gpt2", DType.Float32 }, { "gpt2", DType.BFloat16 }, { "gpt2", DType.Float16 },
        { "mixtral", DType.BFloat16 }, { "mixtral", DType.Float32 }, { "untied", DType.Float32 }, { "untied", DType.BFloat16 },
    };

    [Theory, MemberData(nameof(Stored))]
    public void A_frozen_model_gives_the_bits_of_one_that_was_widened(string family, DType stored)
    {
        using var folder = new TemporaryFolder();
        var config = Save(folder.Path, family, stored);
        using var weights = ModelWeights.Open(folder.Path, config, fused: true);
        foreach (var compute in (DType[])[DType.Float32, DType.BFloat16])
            Assert.Equal(Logits(weights, ParameterPlan.Resident(weights.Parameters, DType.Float32, compute)),
                Logits(weights, ParameterPlan.Frozen(weights, compute)));
    }

    [Theory, MemberData(nameof(Stored))]
    public void A_frozen_model_costs_no_more_than_its_file(string family, DType stored)
    {
        using var folder = new TemporaryFolder();
        var config = Save(folder.Path, family, stored);
        using var weights = ModelWeights.Open(folder.Path, config, fused: true);
        var plan = ParameterPlan.Frozen(weights, DType.Float32);

        Assert.All(plan.Rules.Where(rule => rule.Spec is { Kind: ParameterKind.Weight, IsExact: false }),
            rule => Assert.Equal((stored, (DType?)null), (rule.Type, rule.Copy)));
        var large = plan.Rules.Where(rule => rule.Spec.Shape.Count > 1 && !rule.Spec.IsExact).ToArray();
        Assert.True(large.Sum(rule => rule.ResidentBytes) <= large.Sum(rule => rule.Spec.Count) * stored.Size);
        Assert.Contains(plan.Rules, rule => rule is { Storage: ParameterStorage.Mapped, ResidentBytes: 0 });
    }

    [Fact]
    public void A_mapped_model_outlives_the_checkpoint_it_was_opened_from()
    {
        using var folder = new TemporaryFolder();
        var config = Save(folder.Path, "llama", DType.BFloat16);
        float[] before;
        Decoder model;
        using (var weights = ModelWeights.Open(folder.Path, config, fused: true))
        {
            before = Logits(weights, ParameterPlan.Frozen(weights, DType.Float32));
            model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        }
        Garbage.Settle();
        using (model)
            Assert.Equal(before, Logits(model));
    }

    [Fact]
    public void Of_a_partly_trained_model_only_what_is_trained_has_a_gradient_and_a_master()
    {
        using var folder = new TemporaryFolder();
        var config = Save(folder.Path, "llama", DType.BFloat16);
        using var weights = ModelWeights.Open(folder.Path, config, fused: true);
        var plan = ParameterPlan.Partly(weights, DType.Float32, DType.BFloat16,
            spec => spec.Name.Contains("mlp.", StringComparison.Ordinal));
        using var model = Decoder.Load(weights, plan);

        Assert.All(plan.Rules,
            rule => Assert.Equal(rule.Spec.Name.Contains("mlp.", StringComparison.Ordinal), model.Parameters[rule.Spec.Name].IsTrainable));
        Assert.Equal(plan.TrainedCount, model.Parameters.Trained.SelectMany(bucket => bucket.Parameters).Sum(p => p.Parameter.Value.Count));
        Assert.Equal(Logits(weights, ParameterPlan.Trained(weights.Parameters, DType.Float32, DType.BFloat16)), Logits(model));
    }

    private static PublishedConfig Save(string folder, string family, DType stored)
    {
        var config = family switch
        {
            "gpt2" => Some.Gpt2(),
            "mixtral" => Some.Mixtral(),
            "untied" => Some.Llama(),
            _ => Some.Llama(("tie_word_embeddings", true))
        };
        WeightFilesWriter.Save(folder, NewModel.Tensors(config, 3, stored));
        return config;
    }

    private static float[] Logits(ModelWeights weights, ParameterPlan plan)
    {
        using var model = Decoder.Load(weights, plan);
        return Logits(model);
    }

    private static float[] Logits(Decoder model)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        return model.Logits(StreamLayout.Of([[1, 5, 3, 2, 9], [4, 4, 7]])).ToArray<float>();
    }
}
