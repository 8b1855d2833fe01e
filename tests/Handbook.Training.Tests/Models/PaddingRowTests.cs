using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Tests;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>The embedding row of <c>pad_token_id</c>: look-ups leave it as it is where the published code has a
/// <c>padding_idx</c>.</summary>
[Collection("tensors")]
public sealed class PaddingRowTests
{
    [Theory]
    [InlineData("llama", 5, 5)]
    [InlineData("llama", -1, 18)]       // counted from the end, as in the first published models
    [InlineData("llama", null, null)]
    [InlineData("llama", 19, null)]
    [InlineData("mistral", 5, 5)]
    [InlineData("mixtral", 5, 5)]
    [InlineData("olmo2", 5, 5)]
    [InlineData("gpt2", 5, null)]
    [InlineData("gpt_neox", 5, null)]
    [InlineData("qwen3", 5, 5)]
    [InlineData("gemma3_text", 5, 5)]
    [InlineData("cohere", 5, 5)]
    [InlineData("phi", 5, 5)]
    [InlineData("opt", 5, 5)]
    [InlineData("gpt_bigcode", 5, null)]
    [InlineData("gptj", 5, null)]
    [InlineData("falcon", 5, null)]
    [InlineData("bloom", 5, null)]
    public void The_config_names_the_row_in_families_that_have_one(string kind, int? token, int? row) =>
        Assert.Equal(row, Tiny.Config(kind).With(("pad_token_id", token)).Decoder.PaddingRow);

    [Theory] // where the file lacks the key, the published library takes these
    [InlineData("gemma", 0)]
    [InlineData("olmo2", 1)]
    [InlineData("opt", 1)]
    [InlineData("cohere", 0)]
    [InlineData("ernie4_5", 0)]
    [InlineData("qwen3", null)]
    [InlineData("llama", null)]
    public void A_file_without_the_key_means_what_the_library_takes(string kind, int? row) =>
        Assert.Equal(row, Some.Llama(("model_type", kind), ("head_dim", 4)).Decoder.PaddingRow);

    [Theory, InlineData(false), InlineData(true)]
    public void Look_ups_give_it_no_gradient_and_a_shared_head_does(bool tied)
    {
        var (with, without) = (Gradient(5, tied, out var loss), Gradient(null, tied, out var plainLoss));

        Assert.Equal(plainLoss, loss);
        for (var row = 0; row < Tiny.Vocabulary; row++)
            Assert.Equal(row == 5, !with.AsSpan(row * 12, 12).SequenceEqual(without.AsSpan(row * 12, 12)));
        Assert.Equal(tied, with[60..72].Any(value => value != 0));
    }

    private static double[] Gradient(int? padding, bool tied, out double loss)
    {
        var config = Some.Llama(("pad_token_id", padding), ("tie_word_embeddings", tied)).Decoder;
        var parameters = ModelParameters.Allocate(ParameterPlan.Trained(Some.Llama(("tie_word_embeddings", tied)).Family.Parameters(config,
            fused: true), DType.Float64, DType.Float64));
        using var model = new Decoder(config, parameters);
        var random = new Random(1);
        foreach (var spec in parameters.Specs)
            foreach (ref var value in parameters[spec.Name].Value.AsSpan<double>())
                value = random.NextDouble() - 0.5;
        var method = new SupervisedMethod("sft");
        ITokenRows rows = new TokenRowList([TokenRow.Single([5, 1, 5, 2], [0, 1, 1, 1]),
            TokenRow.Single([3, 5, 4, .. Enumerable.Range(0, Tiny.Vocabulary)], [0, .. Enumerable.Repeat((byte)1, Tiny.Vocabulary + 2)])]);
        var step = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096));
        loss = step.Loss;
        return step.Gradients["embed.weight"];
    }
}
