namespace Handbook.Models.Sharding;

/// <summary>What operations among processes cost one of them; as many bytes and messages come to it.</summary>
/// <param name="Bytes">Bytes that it sends.</param>
/// <param name="Messages">Messages that it sends to one other.</param>
/// <param name="Turns">Messages that have to follow one another: each waits for the one before.</param>
/// <remarks>
/// As the shim has them (decision 16), on Gloo: a gather hands parts on around a ring; an exchange of everyone's parts goes to all at once.
/// </remarks>
internal readonly record struct TrafficCost(long Bytes, long Messages, long Turns)
{
    private const long Small = 16 << 10;        // below, sums are taken of everyone's values in one exchange
    private const long Piece = 8 << 20;         // longer ones go in pieces

    /// <summary>Everyone's part of some values comes to all.</summary>
    /// <param name="own">Bytes of one part.</param>
    public static TrafficCost Gather(long own, int count) => new(own * (count - 1), count - 1, count - 1);

    /// <summary>Each gets its part of the sum.</summary>
    /// <param name="whole">Bytes of all parts.</param>
    public static TrafficCost SumParts(long whole, int count) => new(whole / count * (count - 1), count - 1, 1);

    /// <summary>Everyone gets the whole sum.</summary>
    /// <param name="whole">Its bytes.</param>
    public static TrafficCost Sum(long whole, int count)
    {
        if (whole <= Small)
            return Gather(whole, count);
        var pieces = (whole + Piece - 1) / Piece;
        return new(2 * (whole / count * (count - 1)), pieces * 2 * (count - 1), pieces * count);
    }

    /// <summary>Each says what it wants next: a number.</summary>
    public static TrafficCost Wish(int count) => Gather(sizeof(long), count);

    public static TrafficCost operator +(TrafficCost a, TrafficCost b) =>
        new(a.Bytes + b.Bytes, a.Messages + b.Messages, a.Turns + b.Turns);
}
