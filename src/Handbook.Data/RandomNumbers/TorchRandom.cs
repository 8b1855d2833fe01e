namespace Handbook.Data.RandomNumbers;

/// <summary>The orders that <c>torch.randperm</c> draws on the CPU, so that a run sees its rows in the
/// order of the Python trainer.</summary>
internal static class TorchRandom
{
    // Below this, torch draws 32 bits for each place; from here on 64, because the remainder of 32 bits would be visibly uneven.
    private const long Small = uint.MaxValue / 20;

    /// <summary><c>torch.randperm(n, generator=torch.Generator().manual_seed(seed))</c>.</summary>
    public static int[] Permutation(int n, long seed)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(n);
        var generator = new MersenneTwister((uint)seed);        // torch keeps the low 32 bits of the seed
        var order = new int[n];
        for (var i = 0; i < n; i++)
            order[i] = i;
        for (var i = 0; i < n - 1; i++)
        {
            var rest = (ulong)(n - i);
            var draw = n < Small ? generator.NextUInt32() : ((ulong)generator.NextUInt32() << 32) | generator.NextUInt32();
            var j = i + (int)(draw % rest);
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order;
    }
}
