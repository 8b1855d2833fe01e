using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Training;

/// <summary>NEFTune: uniform noise on the embeddings while training. Jain et al. 2023, arXiv:2310.05914.</summary>
/// <remarks>
/// <code>
/// x' = x + u · α / √(L·D),   u uniform in (−1, 1)        L the row's tokens, D the hidden size
/// </code>
/// The numbers of a row follow from the seed, the step and the row alone, so packing and micro-batches do not change them. (The reference
/// implementation takes L of the padded batch; here it is the row's own, as in the paper.)
/// </remarks>
/// <param name="alpha">α.</param>
/// <param name="seed">The recipe's seed.</param>
internal sealed class EmbeddingNoise(double alpha, long seed)
{
    /// <summary>The function that adds the noise of a step's rows.</summary>
    public Func<Tensor, StreamLayout, Tensor> For(TokenBatch batch, int step) => (embeddings, stream) =>
    {
        using var scope = TensorScope.Enter();
        return scope.Keep(embeddings + Noise(batch, step, (int)embeddings.Size(1), stream).To(embeddings.DType).To(embeddings.Device));
    };

    private Tensor Noise(TokenBatch batch, int step, int width, StreamLayout stream)
    {
        var lengths = new Dictionary<int, int>();
        foreach (var segment in batch.Segments)
            lengths[segment.Entry] = lengths.GetValueOrDefault(segment.Entry) + segment.Length;
        var noise = Tensor.Empty(DType.Float32, Device.Cpu, stream.Count, width);
        var values = noise.AsSpan<float>();
        var streams = new Dictionary<int, SplitMix>();
        var rows = new int[batch.Count];        // of each token, where this process computes it
        Array.Fill(rows, -1);
        for (var row = 0; row < stream.Count; row++)
            rows[stream.Cut?.Places[row] ?? row] = row;
        foreach (var segment in batch.Segments)
        {
            var scale = (float)(alpha / Math.Sqrt((double)lengths[segment.Entry] * width));
            var random = streams.TryGetValue(segment.Entry, out var running) ? running
                : new SplitMix(SplitMix.Mix(SplitMix.Mix(SplitMix.Mix((ulong)seed) ^ (ulong)step) ^ (ulong)segment.Row));
            for (var token = segment.Start; token < segment.Start + segment.Length; token++)
            {
                if (rows[token] < 0)
                {
                    random.Skip(width);
                    continue;
                }
                foreach (ref var value in values.Slice(rows[token] * width, width))
                    value = ((random.Next() >> 40) * (1f / (1 << 23)) - 1f) * scale;
            }
            streams[segment.Entry] = random;
        }
        return noise;
    }
}
