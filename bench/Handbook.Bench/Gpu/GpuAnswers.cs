using Handbook.Models;
using Handbook.Models.Generation;
using Handbook.Torch;

namespace Handbook.Bench.Gpu;

/// <summary>Answers on a GPU beside those of the CPU: the tokens that are drawn, and how likely each was.</summary>
internal static class GpuAnswers
{
    /// <summary>By so much log p may differ: sums of float32 in another order.</summary>
    private const double Tolerance = 1e-3;

    /// <summary>Every kind of layer, with the likeliest tokens and with drawn ones, in company and alone.</summary>
    public static void Compare(StageRun run)
    {
        foreach (var kind in run.IsRehearsal ? GpuChecks.Rehearsed : FamilyBench.Kinds)
            if (run.HasTimeFor(4))
                GpuChecks.Guarded(run, kind, () => Compare(run, kind));
            else
                run.Check(kind, false, note: "no time was left");
    }

    private static void Compare(StageRun run, string kind)
    {
        var published = FamilyBench.Config(kind, layers: 2);
        var plan = ParameterPlan.Trained(published.Family.Parameters(published.Decoder, fused: true), DType.Float32, DType.Float32);
        using var reference = StepBench.Model(published.Decoder, plan);
        using var model = GpuModels.Like(reference, plan.On(run.Device.Device));
        var random = new Random(17);
        var longest = run.IsRehearsal ? 6 : 90;
        SampleRequest[] requests = [.. Enumerable.Range(0, 3).Select(i => new SampleRequest(
            [.. Enumerable.Range(0, longest - 2 * i).Select(_ => random.Next(3, published.Decoder.VocabularySize))], [2 * i, 2 * i + 1]))];
        foreach (var temperature in (ReadOnlySpan<double>)[0, 0.9])
        {
            var options = new SamplingOptions { MaxNewTokens = run.IsRehearsal ? 3 : 24, Temperature = temperature, Seed = 17 };
            Answer[] wanted = Sampled(reference, requests, options), found = Sampled(model, requests, options);
            var (common, all, off) = (0, 0, 0.0);
            foreach (var (here, there) in wanted.Zip(found))
            {
                // two tokens may be as likely as rounding can tell: behind the first that differs the texts are others
                var alike = here.Tokens.AsSpan().CommonPrefixLength(there.Tokens);
                (common, all) = (common + alike, all + here.Tokens.Length);
                for (var i = 0; i < alike; i++)
                    off = Math.Max(off, Math.Abs(here.LogProbs[i] - there.LogProbs[i]));
            }
            var name = $"{kind} {(temperature == 0 ? "likeliest" : "drawn")}";
            run.Check(name, off <= Tolerance && common >= 0.8 * all, off, "of log p", $"{common} of {all} tokens as on the CPU");
            var alone = Sampled(model, [requests[1]], options);
            run.Check($"{name} alone", alone.Zip(found[2..4]).All(pair => pair.First.Tokens.SequenceEqual(pair.Second.Tokens)
                && pair.First.LogProbs.SequenceEqual(pair.Second.LogProbs)), note: "the same bits as in company");
        }
    }

    private static Answer[] Sampled(Decoder model, SampleRequest[] requests, SamplingOptions options) =>
        [.. new Generator(model).Sample(requests, options).SelectMany(group => group)];
}
