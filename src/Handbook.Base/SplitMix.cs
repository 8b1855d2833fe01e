namespace Handbook.Base;

/// <summary>SplitMix64: random numbers that follow from their seed alone. Steele, Lea and Flood 2014, "Fast splittable pseudorandom
/// number generators".</summary>
/// <param name="state">The seed; streams of different seeds are independent.</param>
internal struct SplitMix(ulong state)
{
    private const ulong Stride = 0x9E3779B97F4A7C15;

    private ulong _state = state;

    /// <summary>The next 64 bits.</summary>
    public ulong Next() => Mix(_state += Stride);

    /// <summary>Goes on as if so many had been taken.</summary>
    public void Skip(long count) => _state += unchecked((ulong)count * Stride);

    /// <summary>Scrambles a number; chained, it makes one seed out of several.</summary>
    public static ulong Mix(ulong z)
    {
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }
}
