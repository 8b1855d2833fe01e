using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Tests.Models;

/// <summary>What must hold for every model of the shared folder, whatever its family.</summary>
[Collection("tensors")]
public sealed class EveryFamilyTests
{
    public static TheoryData<string> Folders() => [.. SharedFiles.Folders("golden", "models").Select(f => Path.GetFileName(f)!)];

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void What_is_saved_is_the_published_file_again(string name)
    {
        var (folder, config) = Open(name);
        using var weights = ModelWeights.Open(folder, config, fused: true);
        using var temporary = new TemporaryFolder();
        WeightFilesWriter.Save(temporary.Path, PublishedTensors.Of(weights.Parameters, Ours, DType.Float32));
        using var first = WeightFiles.Open(folder);
        using var second = WeightFiles.Open(temporary.Path);
        Assert.Equal(first.Names.Order(StringComparer.Ordinal), second.Names.Order(StringComparer.Ordinal));
        Assert.All(first.Names, tensor => Assert.True(first.Read(tensor).Bytes.SequenceEqual(second.Read(tensor).Bytes), tensor));

        TensorData Ours(string parameter)
        {
            var spec = weights.Spec(parameter);
            var buffer = new NativeBuffer(spec.Count * sizeof(float));
            weights.Read(parameter, DType.Float32, buffer.DangerousGetHandle());
            return new(new(parameter, DType.Float32, spec.Shape), buffer.DangerousGetHandle(), buffer);
        }
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void An_answer_has_the_probabilities_of_the_whole_forward_pass(string name)
    {
        var (folder, config) = Open(name);
        using var weights = ModelWeights.Open(folder, config, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float64));
        int[] prompt = [.. Enumerable.Range(0, 14).Select(i => 3 + 7 * i % (config.Decoder.VocabularySize - 3))];
        var answer = new Generator(model) { TokensAtOnce = 5 }.Generate([prompt],
            new SamplingOptions { Temperature = 0, MaxNewTokens = 12 })[0];

        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var logits = model.Logits(StreamLayout.Of([[.. prompt, .. answer.Tokens]])).ToArray<double>().Chunk(config.Decoder.VocabularySize)
            .ToArray();
        for (var t = 0; t < answer.Tokens.Length; t++)
        {
            var row = logits[prompt.Length + t - 1];
            Assert.Equal(Array.IndexOf(row, row.Max()), answer.Tokens[t]);
            // log-probabilities are kept in float32
            Assert.Equal(row[answer.Tokens[t]] - Math.Log(row.Sum(Math.Exp)), answer.LogProbs[t], 1e-5);
        }
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void A_step_in_bfloat16_is_near_that_in_float32_and_recomputing_changes_no_bit(string name)
    {
        Garbage.Settle();
        var (exact, _) = Step(DType.Float32, recompute: false);
        var (loss, gradients) = Step(DType.BFloat16, recompute: false);
        var (again, recomputed) = Step(DType.BFloat16, recompute: true);
        Assert.Equal(exact, loss, 0.05);        // a loss of about 5 over products of 8 bits
        Assert.Equal(loss, again);
        Assert.Equal(gradients, recomputed);

        (double Loss, double[] Gradients) Step(DType compute, bool recompute)
        {
            var (folder, config) = Open(name);
            using var weights = ModelWeights.Open(folder, config, fused: true);
            using var model = Decoder.Load(weights, ParameterPlan.Trained(weights.Parameters, DType.Float32, compute));
            var before = Tensor.LiveCount;
            ITrainingMethod method = new SupervisedMethod("sft");
            if (config.Decoder.Experts is not null)
                method = new BalancedMethod(method, 0.1);
            var random = new Random(3);
            var rows = new TokenRowList([.. Enumerable.Range(0, 5)
                .Select(i => TokenRow.Single([.. Enumerable.Range(0, 6 + 5 * i).Select(_ => random.Next(3, config.Decoder.VocabularySize))],
                [.. Enumerable.Repeat((byte)1, 6 + 5 * i)]))]);
            var pass = new LossPass
            {
                Training = true,
                Metrics = new MetricSums(),
                Options = _ => new ForwardOptions { Recompute = recompute }
            };
            method.Run(model, BatchLoader.Group(rows, [0, 1, 2, 3, 4], method, 40), pass);
            model.Parameters.SettleGradients();         // an expert without tokens has none
            Assert.True(double.IsFinite(GradientNorm.Of(model.Parameters)));
            Assert.Equal(before, Tensor.LiveCount);
            return (pass.Loss, [.. model.Parameters.Buckets.SelectMany(bucket => bucket.Gradients!.ToArray<double>())]);
        }
    }

    private static (string Folder, PublishedConfig Config) Open(string name)
    {
        var folder = SharedFiles.Need("golden", "models", name);
        return (folder, GoldenModel.Load(folder, "config.json"));
    }
}
