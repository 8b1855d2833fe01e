using System.Globalization;
using System.Text.Json;

namespace Handbook.Bench;

/// <summary>What adapters cost in time and in memory, measured in processes of their own.</summary>
internal static class AdapterRows
{
    /// <summary>The step of all weights beside that of an adapter.</summary>
    public static BenchRow Step(string name, bool quick) => Pairs(name, quick, "f32", "lora", "full",
        $"LoRA of rank {AdapterBench.Rank} on every linear layer beside training all weights, 135m in float32");

    /// <summary>An adapter over codes beside one over values.</summary>
    public static BenchRow Quantised(string name, bool quick) => Pairs(name, quick, "f32", "qlora", "lora",
        $"QLoRA (NF4, double) beside LoRA, rank {AdapterBench.Rank}, 135m in float32");

    private static BenchRow Pairs(string name, bool quick, string dtype, string kind, string other, string note)
    {
        var (ours, others) = (new List<double>(), new List<double>());
        for (var i = 0; i < (quick ? 1 : 3); i++)
        {
            if (Run("135m", dtype, 4, kind) is not { } mine || Run("135m", dtype, 4, other) is not { } its)
                return new(name, null, null, null, "tokens/s", "a run failed");
            ours.Add(mine.Step.TokensPerSecond);
            others.Add(its.Step.TokensPerSecond);
        }
        return new(name, Comparison.Median(ours), Comparison.Median(others), Comparison.Median(ours.Zip(others, (a, b) => a / b)),
            "tokens/s", note);
    }

    /// <summary>LoRA beside PyTorch eager with each layer wrapped by hand.</summary>
    public static BenchRow Peer(string name, string root, string? python, bool quick)
    {
        var (ours, peers) = (new List<double>(), new List<double>());
        for (var i = 0; i < (quick ? 1 : 3); i++)
        {
            if (Run("135m", "f32", 4, "lora") is not { } mine)
                return new(name, null, null, null, "tokens/s", "a run failed");
            ours.Add(mine.Step.TokensPerSecond);
            if (python is not null && Comparison.JsonOf(python, root, ["bench/peers/train_step.py", "--shape", "135m", "--dtype", "f32",
                "--steps", "3", "--lora", AdapterBench.Rank.ToString(CultureInfo.InvariantCulture)]) is { } peer)
                peers.Add(peer.GetProperty("useful_tokens_per_second").GetDouble());
        }
        var compared = peers.Count == ours.Count;
        return new(name, Comparison.Median(ours), compared ? Comparison.Median(peers) : null,
            compared ? Comparison.Median(ours.Zip(peers, (a, b) => a / b)) : null, "tokens/s",
            compared ? $"LoRA of rank {AdapterBench.Rank} on every linear layer, beside PyTorch eager with each layer wrapped" : "no PyTorch to compare with");
    }

    /// <summary>Bytes of memory per weight of the base: all told for LoRA, of the weights kept as codes for QLoRA.</summary>
    /// <param name="shape">The model, whose file is in bfloat16.</param>
    public static BenchRow Memory(string name, string shape, string kind)
    {
        const int rank = 8;
        var width = rank.ToString(CultureInfo.InvariantCulture);
        // The first run makes the model's file and its codes, which takes memory of its own.
        if (Run(shape, "bf16", 2, kind, "bf16", width) is not { } whole || Run(shape, "bf16", 2, kind, "bf16", width, "short") is not { } run)
            return new(name, null, null, null, "bytes/weight", "a run failed");
        var codes = kind == "qlora";
        // master, gradient, two moments, and the copy that products read
        const double adapter = 4 + 4 + 8 + 2;
        var rest = codes ? 2.0 * (run.Weights - run.Coded) + adapter * run.Trained : 0;
        var (bytes, weights, most) = (run.KeptBytes - rest, codes ? run.Coded : run.Weights, codes ? 0.55 : 2.2);
        return new(name, bytes / weights, most, bytes / weights / most, "bytes/weight",
            $"{kind} of rank {rank} on every linear layer of {shape} in bfloat16, beside what it may be; {run.KeptBytes / 1e6:f0} MB are resident for "
            + $"{run.Weights / 1e6:f0} million weights{(codes ? $", of which {run.Coded / 1e6:f0} million are codes, the others and the adapter counted apart" : "")}"
            + $" and {run.Trained / 1e6:f1} million trained numbers; steps of 2 rows of 256 tokens need {whole.Step.PeakBytes / 1e6:f0} MB at most");
    }

    private static AdapterResult? Run(string shape, string dtype, int steps, string kind, params string[] more) =>
        Comparison.JsonOf(Environment.ProcessPath!, null, ["adapter", shape, dtype, steps.ToString(CultureInfo.InvariantCulture), kind, .. more])
            ?.Deserialize<AdapterResult>();
}
