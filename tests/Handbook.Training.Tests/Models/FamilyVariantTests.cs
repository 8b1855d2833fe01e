using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Checkpoints;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>What must hold for every family, in every form that its config can choose: against the network written down plainly, and
/// against itself.</summary>
[Collection("tensors")]
public sealed class FamilyVariantTests
{
    private static readonly int[][] s_rows = [[3, 1, 4, 1, 5, 9, 2, 6, 5], [3, 5, 8], [9, 7, 9, 3, 2, 3]];

    public static TheoryData<string> Names() => [.. FamilyVariants.Names];

    [Theory, MemberData(nameof(Names))]
    public void Packed_rows_have_loss_and_gradients_of_the_plain_network_row_by_row(string name)
    {
        var before = Tensor.LiveCount;
        var (loss, gradients) = Fused(name, recompute: false);
        var (expected, plain) = ByPlainOperators(name);
        Assert.Equal(expected, loss, 1e-10);
        Assert.All(plain, pair => Assert.True(Distance(pair.Value, gradients[pair.Key]) < 1e-10, $"gradient of {pair.Key}"));
        Assert.Contains(plain, pair => pair.Key.EndsWith("norm.weight", StringComparison.Ordinal));
        Assert.All(plain.Where(pair => IsReached(pair.Key)), pair => Assert.Contains(pair.Value, value => value != 0));
        var (again, recomputed) = Fused(name, recompute: true);
        Assert.Equal(loss, again);
        Assert.All(gradients, pair => Assert.Equal(pair.Value, recomputed[pair.Key]));
        Assert.Equal(before, Tensor.LiveCount);
    }

    [Theory, MemberData(nameof(Names))]
    public void A_tree_has_the_logits_of_its_rows(string name)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        using var model = Tiny.Model(name);
        int[] prompt = [3, 1, 4, 1, 5], first = [9, 2, 6], second = [5, 3, 5, 8];
        var tree = model.Logits(StreamLayout.Of([.. prompt, .. first, .. second], [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8],
            [(0, 5, -1), (5, 3, 0), (8, 4, 0)]));
        var plain = new PlainDecoder(model);
        Close(plain.Logits([.. prompt, .. first]), tree.Narrow(0, 0, 8));
        Close(plain.Logits([.. prompt, .. second]).Narrow(0, 5, 4), tree.Narrow(0, 8, 4));
    }

    [Theory, MemberData(nameof(Names))]
    public void Answers_out_of_a_cache_have_the_probabilities_of_the_whole_row(string name)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        using var model = Tiny.Model(name);
        int[][] prompts = [[3, 1, 4, 1, 5, 9, 2], [2, 7, 1]];
        var answers = new Generator(model) { TokensAtOnce = 3 }.Generate(prompts,
            new SamplingOptions { Temperature = 0, MaxNewTokens = 9 });
        for (var i = 0; i < prompts.Length; i++)
        {
            var rows = new PlainDecoder(model).Logits([.. prompts[i], .. answers[i].Tokens]).ToArray<double>().Chunk(Tiny.Vocabulary)
                .ToArray();
            for (var t = 0; t < answers[i].Tokens.Length; t++)
            {
                var row = rows[prompts[i].Length + t - 1];
                Assert.Equal(Array.IndexOf(row, row.Max()), answers[i].Tokens[t]);
                // log-probabilities are kept in float32
                Assert.Equal(row[answers[i].Tokens[t]] - Math.Log(row.Sum(Math.Exp)), answers[i].LogProbs[t], 1e-5);
            }
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Products_in_bfloat16_are_near(string name)
    {
        using var scope = TensorScope.Enter();
        using var exact = Tiny.Model(name, dtype: DType.Float32);
        using var rounded = Tiny.Model(name, dtype: DType.Float32, compute: DType.BFloat16);
        var (first, second) = (exact.Logits(StreamLayout.Of(s_rows)).ToArray<float>(), rounded.Logits(StreamLayout.Of(s_rows))
            .ToArray<float>());
        var size = Math.Sqrt(first.Average(x => x * (double)x));
        Assert.True(Math.Sqrt(first.Zip(second).Average(p => Math.Pow(p.First - p.Second, 2))) < 0.05 * size);
    }

    [Theory, MemberData(nameof(Names))]
    public void What_is_saved_has_the_published_names_and_is_the_same_model_again(string name)
    {
        using var files = new TemporaryFolder();
        foreach (var head in Enum.GetValues<ModelHead>())
        {
            var config = head == ModelHead.Score ? Tiny.Config(name).WithScoreHead() : Tiny.Config(name);
            using var model = Tiny.Model(name, dtype: DType.Float32, head: head);
            var folder = files[head.ToString()];
            Directory.CreateDirectory(folder);
            config.Save(folder);
            Tiny.Save(model, folder);
            var opened = PublishedConfig.Load(folder);
            Assert.Equal(config.Decoder, opened.Decoder);
            using var weights = ModelWeights.Open(folder, opened, fused: true);
            Assert.Empty(weights.Unused);
            using (var published = WeightFiles.Open(folder))
            {
                Assert.Equal(config.Family.Parameters(config.Decoder).SelectMany(spec => spec.Parts).Select(part => part.Published)
                    .Distinct().Order(StringComparer.Ordinal), published.Names.Order(StringComparer.Ordinal));
                Assert.Equal(head == ModelHead.Score, published.Names.Contains("score.weight"));
            }
            using var again = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
            Assert.Equal(Says(model), Says(again));
        }

        static float[] Says(Decoder model)
        {
            using var scope = TensorScope.Enter();
            using var mode = GradMode.Disabled();
            return (model.Config.Head == ModelHead.Score ? model.Scores(StreamLayout.Of(s_rows), [8, 11, 17])
                : model.Logits(StreamLayout.Of(s_rows))).ToArray<float>();
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void A_score_reads_the_hidden_states_and_its_gradient_reaches_every_parameter(string name)
    {
        using var scope = TensorScope.Enter();
        using var model = Tiny.Model(name, head: ModelHead.Score);
        model.Parameters.ClearGradients();
        var scores = model.Scores(StreamLayout.Of(s_rows), [8, 11, 17]);
        using (GradMode.Disabled())
        {
            var plain = new PlainDecoder(model);
            Close(Tensor.Cat([.. s_rows.Select(row => plain.Hidden(row).Narrow(0, row.Length - 1, 1))], 0)
                .Linear(model.Parameters["score.weight"].Value).Squeeze(1), scores.Detach());
        }
        (scores * Tensor.From([1.0, -2, 3])).Sum().Backward();
        model.Parameters.SettleGradients();
        Assert.All(model.Parameters.Specs.Where(spec => IsReached(spec.Name)), spec =>
            Assert.Contains(model.Parameters[spec.Name].Gradient!.ToArray<double>(), value => value != 0));
    }

    [Theory, MemberData(nameof(Names))]
    public void An_adapter_on_every_linear_layer_trains_over_numbers_and_over_codes(string name)
    {
        foreach (var kind in (AdapterKind[])[AdapterKind.Lora, AdapterKind.Qlora])
        {
            using var scope = TensorScope.Enter();
            using var model = Tiny.Adapted(name, kind);
            using var values = Tiny.Adapted(name, kind, asValues: true);
            var (loss, gradients) = Step(model);
            var (same, other) = Step(values);
            // codes and their values: the same numbers, multiplied in tiles or whole
            Assert.Equal(same, loss, 1e-9);
            Assert.All(gradients, pair => Assert.True(Distance(other[pair.Key], pair.Value) < 1e-7, $"{kind}: gradient of {pair.Key}"));
            string[] adapted = [.. model.Parameters.Plan.Adapters.SelectMany(adapter => adapter.Layers).SelectMany(layer =>
                layer.Targets.Select(target => target.Module))];
            var linear = model.Parameters.Plan.Rules.Where(rule => rule.Adapter is null
                && rule.Spec is { Kind: ParameterKind.Weight, IsExact: false, IsStacked: false })
                .SelectMany(rule => rule.Spec.Parts).Select(part => AdapterModules.PathOf(part.Published)).Distinct();
            Assert.Equal(linear.Order(StringComparer.Ordinal), adapted.Order(StringComparer.Ordinal));
            Assert.All(gradients.Where(pair => IsReached(pair.Key)), pair => Assert.Contains(pair.Value, value => value != 0));
        }
    }

    [Theory, MemberData(nameof(Names))]
    public void Two_processes_that_share_out_everything_train_as_one(string name)
    {
        using TemporaryFolder alone = new(), shared = new();
        var options = new TrainingOptions
        {
            OutputDir = "",
            LearningRate = 0.02,
            PerDeviceTrainBatchSize = 4,
            MaxSteps = 2,
            SaveStrategy = SaveStrategy.No,
            ZeroStage = 3,
        };
        var expected = LoopRun.Run(alone.Path, options, dtype: DType.Float64, network: name);
        foreach (var weights in WorkerPair.Run(2, its => LoopRun.Run(shared.Path, options, dtype: DType.Float64, network: name,
            workers: its)))
            Assert.All(expected.Zip(weights), pair => Assert.Equal(pair.First, pair.Second, 1e-9));
    }

    // which experts are asked depends on the tokens, and nothing trains what corrects the choice
    private static bool IsReached(string name) => !name.Contains(".experts.", StringComparison.Ordinal)
        && !name.EndsWith(".correction", StringComparison.Ordinal);

    private static (double Loss, Dictionary<string, double[]> Gradients) Fused(string name, bool recompute)
    {
        using var model = Tiny.Model(name);
        return Step(model, recompute);
    }

    /// <summary>The mean loss over all rows, packed.</summary>
    private static (double Loss, Dictionary<string, double[]> Gradients) Step(Decoder model, bool recompute = false)
    {
        using var scope = TensorScope.Enter();
        model.Parameters.ClearGradients();
        int[] tokens = [.. s_rows.SelectMany(row => row)], places = Predicting(), targets = [.. places.Select(place => tokens[place + 1])];
        var hidden = model.Hidden(StreamLayout.Of(s_rows), new ForwardOptions { Recompute = recompute });
        var loss = LinearLogProb.WeightedLoss(RowSelect.Forward(hidden, places), model.Head, targets,
            [.. places.Select(_ => 1.0 / places.Length)], model.HeadOptions);
        loss.Backward();
        model.Parameters.SettleGradients();
        return (loss.ToScalar(), Tiny.Gradients(model));
    }

    private static (double Loss, Dictionary<string, double[]> Gradients) ByPlainOperators(string name)
    {
        using var scope = TensorScope.Enter();
        using var model = Tiny.Model(name);
        foreach (var spec in model.Parameters.Specs.Where(spec => spec.Kind != ParameterKind.Buffer))
            model.Parameters[spec.Name].ShareGradient();
        var plain = new PlainDecoder(model);
        var sum = s_rows.Select(row => -plain.Logits(row).Narrow(0, 0, row.Length - 1).LogSoftmax(-1)
            .Gather(-1, Tensor.From(row[1..].Select(id => (long)id).ToArray()).Unsqueeze(1)).Sum()).Aggregate((a, b) => a + b);
        var loss = sum / Predicting().Length;
        loss.Backward();
        return (loss.ToScalar(), Tiny.Gradients(model));
    }

    /// <summary>Places in the stream whose next token is of the same row.</summary>
    private static int[] Predicting()
    {
        var (places, start) = (new List<int>(), 0);
        foreach (var row in s_rows)
        {
            places.AddRange(Enumerable.Range(start, row.Length - 1));
            start += row.Length;
        }
        return [.. places];
    }

    private static void Close(Tensor expected, Tensor actual) =>
        Assert.All(expected.Detach().ToArray<double>().Zip(actual.ToArray<double>()), pair => Assert.Equal(pair.First, pair.Second, 1e-9));

    /// <summary>Of two lists, relative to the first; what is below 1e-3 is compared as it is.</summary>
    private static double Distance(double[] expected, double[] actual) => Math.Sqrt(
        expected.Zip(actual).Sum(p => Math.Pow(p.First - p.Second, 2)) / Math.Max(expected.Sum(x => x * x), 1e-6));
}
