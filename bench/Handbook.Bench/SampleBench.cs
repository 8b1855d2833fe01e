using System.Diagnostics;
using Handbook.Models.Generation;
using Handbook.Training;
using Handbook.Training.Sampling;

namespace Handbook.Bench;

/// <summary>What <see cref="SampleBench"/> found; tokens of a second of all cores together tell more where others use the
/// machine.</summary>
internal sealed record SampleResult(double TokensPerSecond, double TokensPerCpuSecond, long PeakBytes);

/// <summary>Sampling sixteen rows at a time.</summary>
internal static class SampleBench
{
    private const int Rows = 16, Prompt = 64, New = 128, Rounds = 3;

    public static SampleResult Measure(Shape shape, bool bf16)
    {
        using var model = StepBench.Model(shape, bf16, trainable: false);
        var generator = new Generator(model);
        var random = new Random(17);
        Round();
        var (clock, cpu) = (Stopwatch.StartNew(), Environment.CpuUsage.TotalTime);
        for (var i = 0; i < Rounds; i++)
            Round();
        var used = Environment.CpuUsage.TotalTime - cpu;
        return new(Rounds * Rows * New / clock.Elapsed.TotalSeconds, Rounds * Rows * New / used.TotalSeconds, ProcessMemory.Peak() ?? 0);

        void Round()
        {
            int[][] prompts = [.. Enumerable.Range(0, Rows)
                .Select(_ => Enumerable.Range(0, Prompt).Select(_ => random.Next(3, shape.Vocabulary)).ToArray())];
            var answers = generator.Generate(prompts, new SamplingOptions { MaxNewTokens = New, BatchSize = Rows });
            if (answers.Sum(a => a.Tokens.Length) != Rows * New)
                throw new InvalidOperationException("an answer ended early");
        }
    }
}
