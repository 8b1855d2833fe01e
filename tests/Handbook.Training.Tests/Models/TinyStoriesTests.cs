using System.Runtime.InteropServices;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Testing;
using Handbook.Text.Tokenizers;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Tests.Models;

/// <summary>A real trained model: ids, logits, greedy texts, held-out losses and gradients as its golden files state.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class TinyStoriesTests
{
    [Fact]
    public void Texts_have_the_ids_of_the_reference()
    {
        using var stories = TinyStories.Load(DType.Float32);
        var tokenizer = Tokenizer.Load(SharedFiles.Need("models", "tinystories-656k"));
        foreach (var each in stories.Golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            // A prompt that is written with the start token does not get another one.
            var prompt = each.GetProperty("prompt").GetString()!;
            Assert.Equal(TinyStories.Ints(each.GetProperty("ids")),
                tokenizer.Encode(prompt, addSpecialTokens: !prompt.StartsWith("<|start_story|>", StringComparison.Ordinal)));
        }
        foreach (var row in stories.Golden.RootElement.GetProperty("eval").GetProperty("rows").EnumerateArray())
            Assert.Equal(TinyStories.Ints(row.GetProperty("ids")),
                tokenizer.Encode(row.GetProperty("text").GetString()!, addSpecialTokens: false));
    }

    // 1e-4 in float32: its golden.json says so; in float64 the golden file's own float32 (logits to 20: 1e-6) and our float32 rotation stay
    [Theory]
    [InlineData("", false, 1e-4)]
    [InlineData("float32", false, 1e-4)]
    [InlineData("", true, 1e-5)]
    public void Prompts_have_the_logits_of_the_reference(string weights, bool inFloat64, double absolute)
    {
        using var stories = TinyStories.Load(inFloat64 ? DType.Float64 : DType.Float32, weights: weights);
        var expected = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(SharedFiles.Need("models", "tinystories-656k",
            "golden-logits.f32"))).ToArray();
        var compared = 0;
        foreach (var each in stories.Golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            using var scope = TensorScope.Enter();
            var place = each.GetProperty("logits");
            var logits = stories.Model.Logits(StreamLayout.Of([TinyStories.Ints(each.GetProperty("ids"))]));
            Assert.Equal(TinyStories.Ints(place.GetProperty("shape")), logits.Shape.Select(s => (int)s));
            var ours = logits.ToArray<double>();
            var worst = Enumerable.Range(0, ours.Length)
                .Max(i => Math.Abs(ours[i] - expected[place.GetProperty("offset_floats").GetInt32() + i]));
            Assert.True(worst <= absolute,
                $"{each.GetProperty("prompt").GetString()}: logits differ by {worst:g3}, more than {absolute:g3}");
            compared += ours.Length;
        }
        Assert.Equal(expected.Length, compared);
    }

    [Fact] // the smallest gap between the two best logits is 1.4e-3, far above the 1e-4 of float32
    public void Greedy_answers_and_their_log_probabilities_are_the_reference_s()
    {
        using var stories = TinyStories.Load(DType.Float32);
        var tokenizer = Tokenizer.Load(SharedFiles.Need("models", "tinystories-656k"));
        var generator = new Generator(stories.Model);
        var end = stories.Model.Config.EosIds[0];
        var cases = stories.Golden.RootElement.GetProperty("cases").EnumerateArray().ToArray();
        var options = new SamplingOptions { Temperature = 0, MaxNewTokens = 96, StopIds = [end] };
        var answers = generator.Generate([.. cases.Select(c => TinyStories.Ints(c.GetProperty("ids")))], options);
        foreach (var (golden, answer) in cases.Zip(answers))
        {
            var expected = TinyStories.Ints(golden.GetProperty("greedy_ids"));
            var ended = expected[^1] == end;
            Assert.Equal(ended ? FinishReason.Stop : FinishReason.Length, answer.Finish);
            Assert.Equal(ended ? expected[..Array.IndexOf(expected, end)] : expected, answer.Tokens);
            Assert.Equal(golden.GetProperty("greedy_text").GetString()!, tokenizer.Decode(expected));
            var logProbs = TinyStories.Numbers(golden.GetProperty("greedy_logprobs"));
            for (var i = 0; i < answer.Tokens.Length; i++)
                Assert.Equal(logProbs[i], answer.LogProbs[i], 1e-4);
        }
    }

    [Theory] // golden values are printed with ten digits; our rotation is float32 (6e-8); float32: sums of 170 logs
    [InlineData(true, 1e-6)]
    [InlineData(false, 2e-6)]
    public void Held_out_stories_have_their_losses_alone_and_together(bool inFloat64, double absolute)
    {
        using var stories = TinyStories.Load(inFloat64 ? DType.Float64 : DType.Float32);
        var eval = stories.Golden.RootElement.GetProperty("eval");
        var rows = stories.Stories(int.MaxValue);
        var method = new SupervisedMethod("cpt");
        foreach (var (golden, r) in eval.GetProperty("rows").EnumerateArray().Select((row, r) => (row, r)))
            Assert.Equal(golden.GetProperty("mean_nll").GetDouble(), Loss(stories.Model, new TokenRowList([rows.Read(r)])), absolute);
        Assert.Equal(eval.GetProperty("token_mean_nll").GetDouble(), Loss(stories.Model, rows), absolute);

        double Loss(Decoder model, TokenRowList held) => new Evaluator(held, method, 8, 4096).Run(model).Number("eval_loss")!.Value;
    }

    [Theory]
    [InlineData(true, 1e-6)] // ten digits, and a float32 rotation
    [InlineData(false, 1e-5)] // float32 sums over 700 tokens; measured 3.3e-6
    public void Every_tensor_has_the_gradient_norm_of_the_reference(bool inFloat64, double relative)
    {
        using var stories = TinyStories.Load(inFloat64 ? DType.Float64 : DType.Float32, trainable: true);
        using var scope = TensorScope.Enter();
        var golden = stories.Golden.RootElement.GetProperty("gradient");
        var batch = BatchBuilder.Build(stories.Stories(4), [0, 1, 2, 3]);
        var loss = new SupervisedMethod("cpt").Loss(stories.Model, new(batch, batch.Stream()), ForwardOptions.Plain, batch.TargetCount,
            new MetricSums())!;
        loss.Backward();
        Assert.Equal(golden.GetProperty("loss").GetDouble(), loss.ToScalar(), relative * 3);
        Assert.Equal(1, GradientNorm.Of(stories.Model.Parameters) / golden.GetProperty("total_norm").GetDouble(), relative);
        var gradients = stories.Published(p => p.Gradient!);
        var norms = golden.GetProperty("norms").EnumerateObject().ToArray();
        Assert.Equal(norms.Select(n => n.Name).Order(), gradients.Keys.Order());
        foreach (var norm in norms)
            Assert.Equal(1, Math.Sqrt(gradients[norm.Name].Sum(g => g * g)) / norm.Value.GetDouble(), relative);
    }
}
