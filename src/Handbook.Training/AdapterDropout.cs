using Handbook.Base;
using Handbook.Data;
using Handbook.Torch.Fused;

namespace Handbook.Training;

/// <summary>The random numbers of a step's tokens, from which adapters' dropout follows: those of a row depend on the seed, the step, the row
/// and the place in it alone, so that bins, micro-batches and a resumed run do not change them.</summary>
/// <param name="seed">The recipe's seed.</param>
internal sealed class AdapterDropout(long seed)
{
    private const ulong Stream = 0x6C6F7261;         // other numbers than those of the noise on embeddings

    /// <summary>The numbers of a batch; a prompt's tokens have one each, whatever answers follow it.</summary>
    public TokenNoise For(TokenBatch batch, int step)
    {
        var keys = new long[batch.Count];
        var run = SplitMix.Mix(SplitMix.Mix((ulong)seed + Stream) ^ (ulong)step);
        var streams = new Dictionary<int, SplitMix>();
        foreach (var segment in batch.Segments)
        {
            var random = streams.TryGetValue(segment.Entry, out var running) ? running : new SplitMix(SplitMix.Mix(run ^ (ulong)segment.Row));
            for (var i = segment.Start; i < segment.Start + segment.Length; i++)
                keys[i] = unchecked((long)random.Next());
            streams[segment.Entry] = random;
        }
        return new(keys);
    }
}
