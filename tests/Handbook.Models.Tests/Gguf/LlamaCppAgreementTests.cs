using Handbook.Models.Generation;
using Handbook.Models.Gguf;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Gguf;

/// <summary>Files that we write, opened by llama.cpp.</summary>
[Collection("tensors")]
public sealed class LlamaCppAgreementTests
{
    [Theory] // f32: sums in another order; others: about the step of the format times the size of the logits
    [InlineData("f32", 1e-3)]
    [InlineData("f16", 2e-2)]
    [InlineData("bf16", 0.15)]
    [InlineData("q8_0", 0.5)]
    [InlineData("q4_0", 4)]
    public void A_trained_model_has_the_same_logits_there(string precision, double tolerance)
    {
        var stories = SharedFiles.Need("models", "tinystories-656k");
        using var folder = new TemporaryFolder();
        var file = folder["model.gguf"];
        GgufExport.Write(stories, GgufPrecision.All.Single(one => one.Name == precision), file);
        using var theirs = new LlamaCpp(file);
        using var ours = LanguageModel.Open(stories);
        var ids = ours.EncodeText("Once upon a time there was a little dog named Tim. He");
        Assert.Equal(ids, theirs.Encode("Once upon a time there was a little dog named Tim. He"));
        Assert.True(Largest(Logits(ours, ids), theirs.Logits(ids)) < tolerance, $"{Largest(Logits(ours, ids), theirs.Logits(ids))}");
        if (precision == "f32")
            Assert.Equal(new Generator(ours.Network).Generate([ids], new SamplingOptions { Temperature = 0, MaxNewTokens = 24 })[0].Tokens,
                theirs.Greedy(ids, 24));
    }

    internal static float[][] Logits(LanguageModel model, int[] ids) => Logits(model.Network, ids);

    internal static float[][] Logits(Decoder network, int[] ids)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var logits = network.Logits(StreamLayout.Of(ids, [.. Enumerable.Range(0, ids.Length)], [(0, ids.Length, -1)])).ToArray<float>();
        return [.. logits.Chunk(logits.Length / ids.Length)];
    }

    internal static double Largest(float[][] a, float[][] b) =>
        a.Zip(b).Max(rows => rows.First.Zip(rows.Second).Max(pair => Math.Abs((double)pair.First - pair.Second)));
}
