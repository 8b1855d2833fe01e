using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>cos and sin of a model's rotary positions, made once and grown when a longer row comes.</summary>
/// <remarks>Frequencies and angles are rounded to float32 as in the reference library, so that long rows agree with it.</remarks>
internal sealed class RotaryTables(DecoderConfig config)
{
    private RotaryTable? _table;
    private int _length;

    /// <summary>The rotation for positions below <paramref name="length"/>; null where the model does not rotate.</summary>
    public RotaryTable? For(int length)
    {
        if (config.Positions != PositionKind.Rope)
            return null;
        if (RopeFrequencies.DependOnLength(config))
            return Make(length, length);
        if (_table is null || length > _length)
        {
            _length = Math.Max(256, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)length));
            _table = Make(_length, length);
        }
        return _table;
    }

    private RotaryTable Make(int positions, int sequenceLength)
    {
        var frequencies = RopeFrequencies.Compute(config, sequenceLength);
        var half = frequencies.Inverse.Length;
        var (cos, sin) = (GC.AllocateUninitializedArray<float>(positions * half, pinned: true),
            GC.AllocateUninitializedArray<float>(positions * half, pinned: true));
        for (var p = 0; p < positions; p++)
        {
            for (var i = 0; i < half; i++)
            {
                var angle = p * (float)frequencies.Inverse[i];
                cos[p * half + i] = (float)(Math.Cos(angle) * frequencies.AttentionFactor);
                sin[p * half + i] = (float)(Math.Sin(angle) * frequencies.AttentionFactor);
            }
        }
        return new(cos, sin, 2 * half);
    }
}
