using System.Numerics;

namespace Handbook.Data.RandomNumbers;

/// <summary>Python's <c>random.Random(seed)</c>, as far as <c>shuffle</c> needs it.</summary>
internal sealed class PythonRandom
{
    private readonly MersenneTwister _generator;

    /// <param name="seed">Python seeds with the absolute value.</param>
    public PythonRandom(long seed)
    {
        var size = seed < 0 ? (ulong)-(Int128)seed : (ulong)seed;
        _generator = size <= uint.MaxValue
            ? new MersenneTwister([(uint)size])
            : new MersenneTwister([(uint)size, (uint)(size >> 32)]);
    }

    /// <summary><c>random.shuffle</c>.</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (var i = items.Length - 1; i > 0; i--)
        {
            var j = Below(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }

    private int Below(int n)
    {
        var bits = 32 - BitOperations.LeadingZeroCount((uint)n);
        uint draw;
        do
            draw = _generator.NextUInt32() >> (32 - bits);
        while (draw >= (uint)n);
        return (int)draw;
    }
}
