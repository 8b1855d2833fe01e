using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>cos and sin of a model's rotary positions, made once and grown when a longer row comes. Layers of one base share a
/// table.</summary>
/// <remarks>Frequencies and angles are rounded to float32 as in the reference library, so that long rows agree with it.</remarks>
internal sealed class RotaryTables
{
    private readonly DecoderConfig _config;
    private readonly RopeBase[] _bases;
    private readonly int[] _baseOf;
    private readonly RotaryTable?[] _tables;
    private readonly int[] _lengths;

    public RotaryTables(DecoderConfig config)
    {
        _config = config;
        RopeBase?[] ofLayers = [.. Enumerable.Range(0, config.Layers).Select(layer => config.HasRope(layer) ? config.Rope(layer) : null)];
        _bases = [.. ofLayers.OfType<RopeBase>().Distinct()];
        _baseOf = Array.ConvertAll(ofLayers, rope => rope is null ? -1 : Array.IndexOf(_bases, rope));
        (_tables, _lengths) = (new RotaryTable?[_bases.Length], new int[_bases.Length]);
    }

    /// <summary>The rotation of each layer for positions below <paramref name="length"/>; null for one that does not rotate.</summary>
    public LayerRotations For(int length)
    {
        var tables = new RotaryTable[_bases.Length];
        for (var i = 0; i < tables.Length; i++)
            tables[i] = For(i, length);
        return new(_baseOf, tables);
    }

    private RotaryTable For(int which, int length)
    {
        if (RopeFrequencies.DependOnLength(_bases[which].Scaling))
            return Make(_bases[which], length, length);
        if (_tables[which] is not { } table || length > _lengths[which])
        {
            _lengths[which] = Math.Max(256, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)length));
            _tables[which] = table = Make(_bases[which], _lengths[which], length);
        }
        return table;
    }

    private RotaryTable Make(RopeBase rope, int positions, int sequenceLength)
    {
        var frequencies = RopeFrequencies.Compute(_config, rope, sequenceLength);
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
        return new(cos, sin, 2 * half, _config.InterleavedRope, _config.RotaryStart);
    }
}

/// <summary>The rotation of each layer.</summary>
internal readonly struct LayerRotations(int[] tableOf, RotaryTable[] tables)
{
    /// <summary>Null where the layer does not rotate.</summary>
    public RotaryTable? Of(int layer) => tableOf[layer] < 0 ? null : tables[tableOf[layer]];
}
