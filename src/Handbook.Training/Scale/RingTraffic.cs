using Handbook.Models;
using Handbook.Models.Sharding;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Scale;

/// <summary>What the processes that share the tokens of rows send one another in a layer: keys and values go round, and their gradients
/// come home (<see cref="AttentionRing"/>).</summary>
/// <param name="Forward">On the way forward.</param>
/// <param name="Back">On the way back, the way forward once more included where layers are computed again.</param>
internal readonly record struct RingTraffic(TrafficCost Forward, TrafficCost Back)
{
    /// <param name="config">The model.</param>
    /// <param name="compute">Element type of products.</param>
    /// <param name="tokens">Of all processes together, cut evenly.</param>
    /// <param name="size">How many processes share them.</param>
    /// <param name="recomputes">Whether layers are computed again on the way back.</param>
    public static RingTraffic Of(DecoderConfig config, DType compute, long tokens, int size, bool recomputes)
    {
        if (size == 1)
            return default;
        var elements = (tokens + size - 1) / size * (config.KeyValueSize + config.ValueSize);
        // Keys and values visit all others; sums of their gradients, in float32 at least, go one further.
        var values = Round(elements * compute.Size, size - 1);
        var gradients = Round(elements * (compute == DType.Float64 ? sizeof(double) : sizeof(float)), size);
        return new(values, values + gradients + (recomputes ? values : default));
    }

    private static TrafficCost Round(long bytes, int times) => new(bytes * times, times, times);
}
