using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;

namespace Handbook.Bench.Gpu;

/// <summary>Models of random weights on either side, and what a step makes of them.</summary>
internal static class GpuModels
{
    /// <summary>A model with another one's weights, kept as a plan says.</summary>
    public static Decoder Like(Decoder model, ParameterPlan plan)
    {
        var made = new Decoder(model.Config, ModelParameters.Allocate(plan));
        using (GradMode.Disabled())
            foreach (var spec in model.Parameters.Specs)
                made.Parameters[spec.Name].Value.Detach().CopyFrom(model.Parameters[spec.Name].Value.Detach());
        made.Parameters.RefreshCompute();
        return made;
    }

    /// <summary>Fills a model with random numbers without a look at each of them: a block that is drawn once, over and over.</summary>
    public static void Fill(Decoder model, int seed)
    {
        const int Block = 1 << 20;
        var random = new Random(seed);
        using var mode = GradMode.Disabled();
        foreach (var spec in model.Parameters.Specs)
        {
            using var scope = TensorScope.Enter();
            var flat = model.Parameters[spec.Name].Value.Detach().View(-1);
            if (spec.InitStd <= 0)
            {
                if (spec.Kind == ParameterKind.NormWeight)
                    flat.FillInPlace(1);
                continue;
            }
            var numbers = new float[Math.Min(Block, flat.Count)];
            for (var i = 0; i < numbers.Length; i++)
                numbers[i] = (float)((random.NextDouble() - 0.5) * Math.Sqrt(12) * spec.InitStd);
            var block = Tensor.From(numbers).To(flat.Device);
            for (var at = 0L; at < flat.Count; at += numbers.Length)
            {
                var count = Math.Min(numbers.Length, flat.Count - at);
                flat.Narrow(0, at, count).CopyFrom(block.Narrow(0, 0, count));
            }
        }
        model.Parameters.RefreshCompute();
    }

    /// <summary>Rows of a prompt with two answers each.</summary>
    public static TokenRowList Pairs(int count, int vocabulary, int prompt, int answer, int seed = 17)
    {
        var random = new Random(seed);
        return new([.. Enumerable.Range(0, count).Select(i => new TokenRow
        {
            Segments =
            [
                new(SegmentRole.Prompt, -1, Tokens(prompt), new byte[prompt]),
                Answer(SegmentRole.Chosen, answer + i % 3),
                Answer(SegmentRole.Rejected, answer - i % 2),
            ],
        })]);

        TokenSegment Answer(SegmentRole role, int length) => new(role, 0, Tokens(length), Enumerable.Repeat((byte)1, length).ToArray());

        int[] Tokens(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(3, vocabulary))];
    }

    /// <summary>Loss and gradients of some rows; gradients by bucket.</summary>
    public static (double Loss, float[][] Gradients) Pass(Decoder model, ITokenRows rows, ITrainingMethod method, int maxTokens)
    {
        using var scope = TensorScope.Enter();
        model.Parameters.ClearGradients();
        var pass = new LossPass { Training = true, Metrics = new MetricSums() };
        method.Run(model, BatchLoader.Group(rows, [.. Enumerable.Range(0, rows.Count)], method, maxTokens), pass);
        model.Parameters.SettleGradients();
        return (pass.Loss, [.. model.Parameters.Trained.Select(bucket => bucket.Gradients!.ToArray<float>())]);
    }

    /// <summary>‖a − b‖ / ‖b‖, the largest over the lists.</summary>
    public static double Apart(float[][] a, float[][] b)
    {
        var most = 0.0;
        foreach (var (mine, theirs) in a.Zip(b))
        {
            double off = 0, all = 0;
            for (var i = 0; i < mine.Length; i++)
            {
                off += Math.Pow((double)mine[i] - theirs[i], 2);
                all += Math.Pow(theirs[i], 2);
            }
            most = Math.Max(most, double.IsNaN(off) ? double.PositiveInfinity : Math.Sqrt(off / Math.Max(all, 1e-30)));
        }
        return most;
    }
}
