using System.Globalization;
using System.Text.Json;

namespace Handbook.Bench;

/// <summary>What optimisers cost in memory, measured in processes of their own.</summary>
internal static class MemoryRows
{
    /// <summary>State of 8-bit AdamW beside that of AdamW in 32 bits, and the most memory of a run with each.</summary>
    public static BenchRow Coded(string name, bool quick)
    {
        var shape = quick ? "15m" : "135m";
        var (ours, peer) = (Run(shape, "f32", "adamw_bnb_8bit:embedding_bits=8"), Run(shape, "f32", "adamw_torch"));
        if (ours is null || peer is null)
            return new(name, null, null, null, "bytes of state/weight", "a run failed");
        return new(name, PerWeight(ours), PerWeight(peer), PerWeight(ours) / PerWeight(peer), "bytes of state/weight",
            $"8-bit AdamW, embedding_bits=8, beside AdamW in 32 bits, {shape} in float32; peak memory {ours.PeakBytes / 1e6:f0} against "
            + $"{peer.PeakBytes / 1e6:f0} MB, {(double)ours.PeakBytes / ours.Weights:f1} against "
            + $"{(double)peer.PeakBytes / peer.Weights:f1} bytes a weight");
    }

    /// <summary>Paged AdamW in less memory than its state has bytes, where AdamW itself does not fit.</summary>
    public static BenchRow Paged(string name)
    {
        // 360 million weights in mixed precision: 6 bytes each stay in memory (gradient and copy), 12 lie in the file (masters and state).
        const string shape = "360m";
        const long limit = 2_850_000_000;
        var ours = Run(shape, "bf16", "paged_adamw_32bit", limit);
        if (ours is null)
            return new(name, null, null, null, "MB", $"a paged run in {limit / 1e6:f0} MB failed");
        var fits = Run(shape, "bf16", "adamw_torch", limit) is not null;
        return new(name, limit / 1e6, ours.StateBytes / 1e6, (double)limit / ours.StateBytes, "MB",
            $"{shape} in bfloat16 trains in that much memory of its own (RLIMIT_DATA) beside the size of its state; peak with pages of "
            + $"files {ours.PeakBytes / 1e6:f0} MB, {(double)ours.PeakBytes / ours.Weights:f1} bytes a weight; without paging it "
            + (fits ? "fits as well" : "ends there, out of memory"));
    }

    private static double PerWeight(MemoryResult result) => (double)result.StateBytes / result.Weights;

    private static MemoryResult? Run(string shape, string dtype, string optim, long limit = 0) =>
        Comparison.JsonOf(Environment.ProcessPath!, null,
            ["memory", shape, dtype, optim, "2", limit.ToString(CultureInfo.InvariantCulture)])?.Deserialize<MemoryResult>();
}
