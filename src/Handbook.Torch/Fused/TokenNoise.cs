using Handbook.Base;

namespace Handbook.Torch.Fused;

/// <summary>Random numbers of the tokens of a batch, from which dropout masks follow: a token's mask depends on its own number, the layer
/// and the column, so it is the same however rows are packed or cut into micro-batches.</summary>
/// <param name="keys">One number per token; [N].</param>
internal sealed class TokenNoise(long[] keys)
{
    private readonly Mirrored<long> _keys = keys;

    /// <summary>How many tokens there are.</summary>
    public int Count => _keys.Count;

    /// <summary>The numbers of one layer's input, independent of those of every other layer.</summary>
    /// <param name="layer">A number that only this layer has.</param>
    public Mirrored<long> For(ulong layer) =>
        Array.ConvertAll(_keys.Host, key => unchecked((long)SplitMix.Mix(SplitMix.Mix((ulong)key) ^ layer)));

    /// <summary>The noise of some of the tokens, in their order.</summary>
    public TokenNoise Select(ReadOnlySpan<int> tokens)
    {
        var some = new long[tokens.Length];
        for (var i = 0; i < some.Length; i++)
            some[i] = _keys.Host[tokens[i]];
        return new(some);
    }
}
