using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Families;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Metrics;
using Handbook.Training.Scale;

namespace Handbook.Training.Tests.Scale;

/// <summary>What a pass is said to need beside what the allocator counts while it runs.</summary>
public sealed class ActivationMemoryTests
{
    private const string Sizes = """
        "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32,
        "vocab_size": 4096, "max_position_embeddings": 1024, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": null
        """;

    [Theory]
    [InlineData("llama", "", false, false)]
    [InlineData("llama", "", false, true)]
    [InlineData("llama", "", true, false)]
    [InlineData("llama", "", true, true)]
    [InlineData("qwen3", "", false, false)]
    [InlineData("gemma2", "", true, false)]
    [InlineData("phi", "", false, false)]
    [InlineData("gpt_neox", "", false, false)]
    [InlineData("mixtral", ", \"num_local_experts\": 4, \"num_experts_per_tok\": 2", false, false)]
    [InlineData("qwen2_moe", ", \"num_experts\": 8, \"num_experts_per_tok\": 2, \"moe_intermediate_size\": 192, \"shared_expert_intermediate_size\": 384", true, false)]
    [InlineData("deepseek_v3", ", \"q_lora_rank\": 96, \"kv_lora_rank\": 64, \"qk_nope_head_dim\": 32, \"qk_rope_head_dim\": 16, \"v_head_dim\": 32, \"n_routed_experts\": 4, \"num_experts_per_tok\": 2, \"n_group\": 2, \"topk_group\": 1, \"moe_intermediate_size\": 256, \"first_k_dense_replace\": 1", false, false)]
    public void A_pass_needs_what_is_forecast(string family, string more, bool bf16, bool recomputes)
    {
        var published = PublishedConfig.Parse(System.Text.Encoding.UTF8.GetBytes($$"""{"model_type": "{{family}}", {{Sizes}}{{more}}}"""), "test");
        var compute = bf16 ? DType.BFloat16 : DType.Float32;
        var plan = ParameterPlan.Trained(published.Family.Parameters(published.Decoder, fused: true), DType.Float32, compute);
        using var model = new Decoder(published.Decoder, ModelParameters.Allocate(plan));
        foreach (var spec in model.Parameters.Specs)
            model.Parameters[spec.Name].Value.Detach().FillInPlace(spec.Kind == ParameterKind.NormWeight ? 1 : 0.01);
        model.Parameters.TakeOwn(adapters: false);
        const int length = 512;
        var random = new Random(5);
        var rows = new TokenRowList([.. Enumerable.Range(0, 4).Select(_ => TokenRow.Single(
            [.. Enumerable.Range(0, length).Select(_ => random.Next(3, 4096))], [.. Enumerable.Repeat((byte)1, length)]))]);
        var method = new SupervisedMethod("sft");
        using var loader = new BatchLoader(rows, new StepPlan(rows, new StepPlanOptions { BatchSize = 2, Epochs = 1, Sequential = true }), method,
            maxTokens: 4096, 0, 2);
        var measured = 0L;
        Garbage.Settle();
        for (var step = 0; step < 2; step++)
        {
            var work = loader.Next();
            using var scope = TensorScope.Enter();
            model.Parameters.ClearGradients();
            var before = TorchRuntime.Memory.Used;
            TorchRuntime.ResetPeakMemory();
            foreach (var group in work.Groups)
                method.Run(model, group, new LossPass { Training = true, Metrics = new MetricSums(), Options = _ => new ForwardOptions { Recompute = recomputes } });
            measured = TorchRuntime.Memory.Peak - before;
        }
        var forecast = ActivationMemory.Of(published.Decoder, plan, new(2 * length, 2 * length - 2), recomputes, keepsLogits: false);
        // Within 5 %, and the small blocks that the allocator leaves to others.
        Assert.True(Math.Abs(forecast.Total - measured) < 0.05 * measured, $"measured {measured:N0}, but forecast {forecast.Total:N0}: {forecast}");
    }
}
