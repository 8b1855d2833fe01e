using Handbook.Data;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Contract;

/// <summary>How rows are cut into batches changes the speed of a step, not its result.</summary>
/// <remarks>1e-10: float64 sums of a few hundred numbers near 1, in another order.</remarks>
[Collection("tensors")]
public sealed class StepContractTests
{
    private const double Rounding = 1e-10;

    [Theory]
    [InlineData("llama"), InlineData("mistral"), InlineData("mixtral"), InlineData("olmo2"), InlineData("gpt2"), InlineData("gpt_neox")]
    public void Number_1_micro_batch_and_accumulation_do_not_change_any_step(string kind)
    {
        var rows = Tiny.Rows(3, 19);         // 8 + 8 + 3: the last step of the epoch is a smaller one
        var reference = Run(8, 1);
        Assert.Equal(3, reference.Count);
        foreach (var (batch, accumulation) in (ReadOnlySpan<(int, int)>)[(4, 2), (2, 4), (1, 8)])
            foreach (var (step, (ours, expected)) in Run(batch, accumulation).Zip(reference).Index())
                ours.MustEqual(expected, Rounding, $"step {step + 1} with {batch} × {accumulation}");

        List<StepResult> Run(int batch, int accumulation)
        {
            using var model = Tiny.Model(kind);
            using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0.1);
            var method = new SupervisedMethod("sft");
            var plan = new StepPlan(rows, new StepPlanOptions { BatchSize = batch, AccumulationSteps = accumulation, Epochs = 1 });
            var results = new List<StepResult>();
            for (var step = 0; step < plan.TotalSteps; step++)
            {
                results.Add(Tiny.Step(model, method, BatchLoader.Lay(rows, plan[step], method, maxTokens: batch * 14)));
                optimizer.Step(0.01, 1);
            }
            return results;
        }
    }

    public static TheoryData<OptimizerKind> Optimizers() => [.. Enum.GetValues<OptimizerKind>()];

    // 1e-8 of float64, as each optimiser multiplies what comes in by up to a rate over the root of a small number. Codes and signs turn a
    // difference in the last place into a whole step now and then: all but a few weights must agree there, and those within some steps.
    [Theory, MemberData(nameof(Optimizers))]
    public void Accumulation_does_not_change_the_steps_of_an_optimiser(OptimizerKind kind)
    {
        using var folder = new TemporaryFolder();
        var traits = OptimizerTraits.Of(kind);
        var options = new TrainingOptions
        {
            Optim = kind,
            OptimArgs = traits.Bits == 8 ? "min_8bit_size=16" : traits.ReadsTargets ? "rank=3,update_proj_gap=2" : null,
            OptimTargetModules = ["all-linear"],
            WeightDecay = 0.1,
            OutputDir = folder.Path,
        };
        // Adafactor is built for float32 alone
        var type = kind == OptimizerKind.Adafactor ? DType.Float32 : DType.Float64;
        var rows = Tiny.Rows(3, 24);
        var (whole, parts) = (Run(8, 1), Run(2, 4));
        var tolerance = type == DType.Float32 ? 1e-4 : 1e-8;
        Assert.InRange(whole.Zip(parts).Count(pair => Math.Abs(pair.First - pair.Second) > tolerance), 0,
            traits.Bits == 8 ? whole.Length / 50 : 0);
        Assert.All(whole.Zip(parts), pair => Assert.Equal(pair.First, pair.Second, 0.05));

        double[] Run(int batch, int accumulation)
        {
            using var model = Tiny.Model("llama", dtype: type);
            using var optimizer = Optimizer.Create(options, model.Parameters);
            var method = new SupervisedMethod("sft");
            var plan = new StepPlan(rows, new StepPlanOptions { BatchSize = batch, AccumulationSteps = accumulation, Epochs = 1 });
            for (var step = 0; step < plan.TotalSteps; step++)
            {
                Tiny.Step(model, method, BatchLoader.Lay(rows, plan[step], method, maxTokens: batch * 14));
                optimizer.Step(0.01, 1);
            }
            return [.. model.Parameters.Specs.SelectMany(spec => model.Parameters[spec.Name].Value.ToArray<double>())];
        }
    }

    [Theory]
    [InlineData("llama"), InlineData("mistral"), InlineData("mixtral"), InlineData("olmo2"), InlineData("gpt2"), InlineData("gpt_neox")]
    public void Bins_of_any_size_give_the_same_gradients(string kind)
    {
        using var model = Tiny.Model(kind);
        var rows = Tiny.Rows(4, 11);
        var method = new SupervisedMethod("sft");
        var together = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096));
        foreach (var maxTokens in (ReadOnlySpan<int>)[1, 15, 17, 40])
            Tiny.Step(model, method, Tiny.Whole(rows, method, maxTokens)).MustEqual(together, Rounding, $"{maxTokens} tokens at once");
    }

    // every fused operation of a network has a backward of its own; the language head of gpt2 and its embedding are one weight, used twice
    [Theory]
    [InlineData("llama"), InlineData("mistral"), InlineData("mixtral"), InlineData("olmo2"), InlineData("gpt2"), InlineData("gpt_neox")]
    public void Number_23_two_micro_batches_of_the_same_rows_give_twice_the_gradient_of_one(string kind)
    {
        using var model = Tiny.Model(kind);
        var method = new SupervisedMethod("sft");
        var work = Tiny.Whole(Tiny.Rows(14, 5), method, 4096);
        var once = Tiny.Step(model, method, work);
        foreach (var group in work.Groups)      // on top of the first
            method.Run(model, group, new LossPass { Training = true, Metrics = new MetricSums() });
        foreach (var spec in model.Parameters.Specs)
            foreach (var (twice, single) in model.Parameters[spec.Name].Gradient!.ToArray<double>().Zip(once.Gradients[spec.Name]))
                Assert.Equal(2 * single, twice, Rounding);
    }

    [Theory]
    [InlineData("llama"), InlineData("mistral"), InlineData("mixtral"), InlineData("olmo2"), InlineData("gpt2"), InlineData("gpt_neox")]
    public void Number_3_packed_rows_give_the_gradients_of_separate_rows(string kind)
    {
        using var model = Tiny.Model(kind);
        var rows = Tiny.Rows(5, 13);
        var packed = Packing.BestFit(rows, 32);
        Assert.True(packed.Count < rows.Count / 2);
        var method = new SupervisedMethod("sft", countFirstTokens: false);
        var separate = Tiny.Whole(rows, method, 1);
        Assert.Equal(rows.Count, separate.Groups[0].Bins.Count);
        Tiny.Step(model, method, Tiny.Whole(packed, method, 4096)).MustEqual(Tiny.Step(model, method, separate), Rounding, "packed");
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void A_sum_of_losses_is_divided_by_the_tokens_that_are_predicted(bool packed)
    {
        using var model = Tiny.Model("llama");
        var separate = Tiny.Rows(5, 13);
        ITokenRows rows = packed ? Packing.BestFit(separate, 32) : separate;
        var (method, older) = (new SupervisedMethod("sft"), new SupervisedMethod("sft", countFirstTokens: true));
        var (work, olderWork) = (Tiny.Whole(rows, method, 4096), Tiny.Whole(rows, older, 4096));
        var (predicted, first) = (work.Groups[0].Bins.Sum(bin => bin.Batch.TargetCount),
            Enumerable.Range(0, separate.Count).Count(i => separate.Read(i).Segments[0].Loss.Span[0] != 0));

        Assert.Equal(13, first);
        Assert.Equal(predicted, work.Groups[0].Totals.Targets);
        Assert.Equal(predicted + first, olderWork.Groups[0].Totals.Targets);
        Assert.Equal((double)predicted / (predicted + first), Tiny.Step(model, older, olderWork).Loss / Tiny.Step(model, method, work).Loss,
            Rounding);
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void Dynamic_fine_tuning_is_its_formula_and_has_its_gradient(bool packed)
    {
        using var model = Tiny.Model("llama");
        ITokenRows rows = packed ? Packing.BestFit(Tiny.Rows(7, 6), 30) : Tiny.Rows(7, 6);
        var method = new SupervisedMethod("sft", dynamic: true);
        var work = Tiny.Whole(rows, method, 4096);
        var batch = work.Groups[0].Bins[0].Batch;
        var probabilities = Probabilities();

        var step = Tiny.Step(model, method, work);

        // −1/M Σ p log p, and its gradient with p a constant: that of −1/M Σ p₀ log p
        Assert.Equal(-probabilities.Sum(p => p * Math.Log(p)) / batch.TargetCount, step.Loss, 1e-10);
        var values = model.Parameters["layers.1.mlp.down.weight"].Value.AsSpan<double>();
        for (var i = 0; i < 4; i++)
        {
            var old = values[i];
            values[i] = old + 1e-5;
            var above = Probabilities();
            values[i] = old - 1e-5;
            var below = Probabilities();
            values[i] = old;
            var difference = -probabilities.Select((p, t) => p * (Math.Log(above[t]) - Math.Log(below[t])))
                .Sum() / batch.TargetCount / 2e-5;
            Assert.Equal(difference, step.Gradients["layers.1.mlp.down.weight"][i], 1e-8);      // 1e-5 squared, where the loss is curved
        }

        double[] Probabilities()
        {
            using var scope = TensorScope.Enter();
            using var mode = GradMode.Disabled();
            var logits = model.Logits(work.Groups[0].Bins[0].Stream).ToArray<double>().Chunk(Tiny.Vocabulary).ToArray();
            return [.. Enumerable.Range(0, batch.Count).Where(i => batch.Targets[i] >= 0)
                .Select(i => Math.Exp(logits[i][batch.Targets[i]]) / logits[i].Sum(Math.Exp))];
        }
    }

    [Theory]
    [InlineData("llama"), InlineData("mistral"), InlineData("mixtral"), InlineData("olmo2"), InlineData("gpt2"), InlineData("gpt_neox")]
    public void Gradient_checkpointing_changes_no_bit(string kind)
    {
        using var model = Tiny.Model(kind, dtype: DType.Float32);
        var rows = Tiny.Rows(6, 9);
        var method = new SupervisedMethod("sft");
        var work = Tiny.Whole(rows, method, 60);
        var noise = new EmbeddingNoise(5, 1);
        var plain = Tiny.Step(model, method, work, batch => new ForwardOptions { EmbeddingNoise = noise.For(batch, 2) });
        Tiny.Step(model, method, work, batch => new ForwardOptions { EmbeddingNoise = noise.For(batch, 2), Recompute = true })
            .MustEqual(plain, 0, "recomputed");
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void Label_smoothing_is_its_formula(bool packed)
    {
        const double Epsilon = 0.15;
        using var model = Tiny.Model("llama");
        ITokenRows rows = packed ? Packing.BestFit(Tiny.Rows(7, 6), 30) : Tiny.Rows(7, 6);
        var method = new SupervisedMethod("sft", labelSmoothing: Epsilon);
        var work = Tiny.Whole(rows, method, 4096);
        var batch = Assert.Single(Assert.Single(work.Groups).Bins).Batch;

        using var scope = TensorScope.Enter();
        var logits = model.Logits(work.Groups[0].Bins[0].Stream).ToArray<double>().Chunk(Tiny.Vocabulary).ToArray();
        var expected = 0.0;
        for (var i = 0; i < batch.Count; i++)
        {
            if (batch.Targets[i] < 0)
                continue;
            var logSum = Math.Log(logits[i].Sum(Math.Exp));
            // loss = (1 − ε) · −log p(target) + ε · mean over the vocabulary of −log p
            expected += (1 - Epsilon) * (logSum - logits[i][batch.Targets[i]]) + Epsilon * (logSum - logits[i].Average());
        }
        Assert.Equal(expected / work.Groups[0].Totals.Targets, Tiny.Step(model, method, work).Loss, 1e-10);
    }

    [Fact]
    public void Embedding_noise_belongs_to_the_row_and_the_step_not_to_the_bin()
    {
        using var model = Tiny.Model("llama");
        var rows = Tiny.Rows(8, 9);
        var method = new SupervisedMethod("sft");
        var noise = new EmbeddingNoise(alpha: 5, seed: 17);
        var together = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096), Noisy);
        Tiny.Step(model, method, Tiny.Whole(rows, method, 20), Noisy).MustEqual(together, Rounding, "20 tokens at once");
        Assert.NotEqual(together.Loss, Tiny.Step(model, method, Tiny.Whole(rows, method, 4096)).Loss);

        var first = Of(step: 3);
        Assert.Equal(first, Of(step: 3));
        Assert.NotEqual(first, Of(step: 4));
        var limit = 5 / Math.Sqrt(rows.Length(0) * 12.0);       // α / √(L·D)
        Assert.All(first, x => Assert.InRange(x, -limit, limit));
        Assert.InRange(first.Max(), limit * 0.8, limit);
        Assert.InRange(first.Average(), -limit / 3, limit / 3);

        ForwardOptions Noisy(TokenBatch batch) => new() { EmbeddingNoise = noise.For(batch, 3) };

        double[] Of(int step)
        {
            using var scope = TensorScope.Enter();
            var batch = BatchBuilder.Build(rows, [0]);
            return noise.For(batch, step)(Tensor.Zeros(DType.Float32, batch.Count, 12), batch.Stream()).ToArray<double>();
        }
    }

    [Theory]
    [InlineData("llama"), InlineData("gpt2")]
    public void Held_out_loss_does_not_depend_on_packing_or_batches(string kind)
    {
        using var model = Tiny.Model(kind);
        var rows = Tiny.Rows(9, 70);        // more than one group of the evaluator
        var method = new SupervisedMethod("sft");
        var reference = Loss(rows, batchSize: 8, maxTokens: 4096);
        Assert.Equal(reference, Loss(rows, batchSize: 1, maxTokens: 4096));
        Assert.Equal(reference, Loss(rows, batchSize: 64, maxTokens: 20), 1e-12);
        Assert.Equal(reference, Loss(Packing.BestFit(rows, 32), batchSize: 8, maxTokens: 4096), 1e-12);

        double Loss(ITokenRows held, int batchSize, int maxTokens) =>
            new Evaluator(held, method, batchSize, maxTokens).Run(model).Number("eval_loss")!.Value;
    }
}
