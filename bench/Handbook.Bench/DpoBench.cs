using System.Diagnostics;
using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Optimizers;

namespace Handbook.Bench;

/// <summary>What <see cref="DpoBench"/> found.</summary>
/// <param name="PairsPerSecond">Over the epoch, with the reference pass.</param>
/// <param name="ReferenceShare">Share of the time that the reference pass took.</param>
internal sealed record DpoResult(double PairsPerSecond, double ReferenceShare, long PeakBytes, double LastLoss);

/// <summary>An epoch of DPO as a run does it: the reference's scores once, then the steps.</summary>
internal static class DpoBench
{
    private const int BatchSize = 8, MaxLength = 1024, MaxTokens = 4096;

    /// <summary>The first batch warms up; the others are measured.</summary>
    /// <param name="pairsFile">JSON list of [prompt, chosen, rejected] lengths.</param>
    /// <param name="shared">Whether a prompt is computed once for both answers.</param>
    public static DpoResult Measure(Shape shape, bool bf16, string pairsFile, bool shared)
    {
        var lengths = JsonSerializer.Deserialize<int[][]>(File.ReadAllText(pairsFile))!;
        using var model = StepBench.Model(shape, bf16, trainable: true);
        using var optimizer = new AdamW(model.Parameters, 0.9, 0.999, 1e-8, 0);
        var objective = PreferenceObjective.Create(new MethodOptions { Method = TrainingMethod.Dpo });
        var method = new PreferenceMethod("dpo", objective);
        var random = new Random(17);
        var together = new TokenRowList([.. lengths.Select(l => Row(l, shape.Vocabulary, random))]);
        ITokenRows rows = shared ? together : new SeparatePrompts(together);
        Epoch(model, optimizer, method, objective, rows, 0, BatchSize);
        var clock = Stopwatch.StartNew();
        var (reference, loss) = Epoch(model, optimizer, method, objective, rows, BatchSize, rows.Count);
        var seconds = clock.Elapsed.TotalSeconds;
        if (!double.IsFinite(loss))
            throw new InvalidOperationException("the loss is not finite");
        return new((rows.Count - BatchSize) / seconds, reference / seconds, ProcessMemory.Peak() ?? 0, loss);
    }

    private static (double ReferenceSeconds, double LastLoss) Epoch(Decoder model, AdamW optimizer, PreferenceMethod method,
        IPreferenceObjective objective, ITokenRows rows, int first, int end)
    {
        var clock = Stopwatch.StartNew();
        var scores = new ReferenceScore?[rows.Count];
        for (var start = first; start < end; start += 64)
            foreach (var bin in BatchLoader.Bins(rows, [.. Enumerable.Range(start, Math.Min(64, end - start))], MaxTokens))
                foreach (var (row, score) in LiveReference.Score(model, bin, objective, rows.Read))
                    scores[row] = score;
        var reference = clock.Elapsed.TotalSeconds;
        var known = new ReferencedRows(rows, scores);
        var loss = 0.0;
        for (var start = first; start < end; start += BatchSize)
        {
            using var scope = TensorScope.Enter();
            model.Parameters.ClearGradients();
            var pass = new LossPass { Training = true, Metrics = new MetricSums() };
            method.Run(model, BatchLoader.Group(known, [.. Enumerable.Range(start, Math.Min(BatchSize, end - start))], method, MaxTokens),
                pass);
            loss = pass.Loss;
            optimizer.Step(1e-6, GradientNorm.ClipFactor(GradientNorm.Of(model.Parameters), 1.0));
        }
        return (reference, loss);
    }

    private static TokenRow Row(int[] lengths, int vocabulary, Random random)
    {
        var prompt = Math.Min(lengths[0], MaxLength - 1);
        return new TokenRow
        {
            Segments =
            [
                new(SegmentRole.Prompt, -1, Tokens(prompt), new byte[prompt]),
                Answer(SegmentRole.Chosen, Math.Min(lengths[1], MaxLength - prompt)),
                Answer(SegmentRole.Rejected, Math.Min(lengths[2], MaxLength - prompt)),
            ],
        };

        TokenSegment Answer(SegmentRole role, int length) => new(role, 0, Tokens(length), Enumerable.Repeat((byte)1, length).ToArray());

        int[] Tokens(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(3, vocabulary))];
    }
}
