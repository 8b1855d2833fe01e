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
        var alike = new Dictionary<(int Entry, SegmentRole Role), int>();
        foreach (var segment in batch.Segments)
        {
            // Documents of a packed row and answers of a group begin at the same positions; a prompt is one, however often it is written.
            var (row, before) = segment.PartOf ?? (segment.Row, 0);
            var number = 0;
            if (segment.Role is SegmentRole.Row or SegmentRole.Sample)
            {
                number = before + alike.GetValueOrDefault((segment.Entry, segment.Role));
                alike[(segment.Entry, segment.Role)] = number - before + 1;
            }
            var own = SplitMix.Mix(SplitMix.Mix(run ^ (ulong)row) ^ (ulong)segment.Role ^ (ulong)number << 8);
            for (var i = segment.Start; i < segment.Start + segment.Length; i++)
                keys[i] = unchecked((long)SplitMix.Mix(own ^ (ulong)batch.Positions[i]));
        }
        return new(keys);
    }
}
