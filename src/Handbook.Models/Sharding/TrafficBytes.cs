namespace Handbook.Models.Sharding;

/// <summary>Bytes that one of several processes sends in an operation among all; as many come to it.</summary>
internal static class TrafficBytes
{
    private const long Small = 16 << 10;        // below, sums are taken of everyone's values in one exchange

    /// <summary>Everyone's part of some values comes to all.</summary>
    /// <param name="own">Bytes of one part.</param>
    public static long Gather(long own, int count) => own * (count - 1);

    /// <summary>Each gets its part of the sum.</summary>
    /// <param name="whole">Bytes of all parts.</param>
    public static long SumParts(long whole, int count) => whole / count * (count - 1);

    /// <summary>Everyone gets the whole sum.</summary>
    /// <param name="whole">Its bytes.</param>
    public static long Sum(long whole, int count) => whole <= Small ? whole * (count - 1) : 2 * SumParts(whole, count);
}
