using System.Globalization;
using System.Text.Json;

namespace Handbook.Bench;

/// <summary>What optimisers cost in memory, measured in processes of their own.</summary>
internal static class MemoryRows
{
    /// <summary>State of 8-bit AdamW per weight whose state is kept in 8 bits, beside what it may be, and the most memory of a run. The
    /// embedding's state stays in 32 bits unless it is asked for in 8, as in the reference, so that the bytes over all weights depend on the
    /// embedding's share of the model; they are in the note.</summary>
    public static BenchRow Coded(string name, bool quick)
    {
        const double most = 2.2, wide = 8;      // two moments of four bytes
        var shape = Shape.Of(quick ? "15m" : "135m");
        var (ours, peer) = (Run(shape.Name, "f32", "adamw_bnb_8bit"), Run(shape.Name, "f32", "adamw_torch"));
        var all = Run(shape.Name, "f32", "adamw_bnb_8bit:embedding_bits=8");
        if (ours is null || peer is null || all is null)
            return new(name, null, null, null, "bytes of state/weight", "a run failed");
        var embedding = (double)shape.Vocabulary * shape.Hidden;
        var coded = (ours.StateBytes - wide * embedding) / (ours.Weights - embedding);
        return new(name, coded, most, coded / most, "bytes of state/weight",
            $"8-bit AdamW, {shape.Name} in float32, per weight whose state is in 8 bits, beside what it may be; the state of the embedding is in "
            + $"32 bits, as in the reference: {PerWeight(ours):f2} bytes over all weights, with embedding_bits=8 {PerWeight(all):f2}, AdamW in 32 "
            + $"bits {PerWeight(peer):f2}; peak memory {ours.PeakBytes / 1e6:f0} MB ({all.PeakBytes / 1e6:f0} with embedding_bits=8) against "
            + $"{peer.PeakBytes / 1e6:f0}, {(double)ours.PeakBytes / ours.Weights:f1} ({(double)all.PeakBytes / all.Weights:f1}) against "
            + $"{(double)peer.PeakBytes / peer.Weights:f1} bytes a weight");
    }

    /// <summary>Paged AdamW in less memory than its state has bytes, where AdamW itself does not fit.</summary>
    public static BenchRow Paged(string name)
    {
        // 1.1 billion weights in mixed precision: 6 bytes each stay in memory (gradient and copy), 12 lie in the file (masters and state). The
        // program and its libraries take up to 0.9 GB beside them, more where bfloat16 is widened.
        const string shape = "1.1b";
        const long limit = 7_800_000_000;
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
