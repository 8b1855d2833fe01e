using System.Buffers.Binary;

namespace Handbook.Torch.Distributed;

/// <summary>What every process of a group brings, of any length each.</summary>
internal static class GatheredBytes
{
    // What is usual fits in one message: its length, and as many bytes.
    private const int Frame = 512;

    /// <param name="mine">This process's part.</param>
    /// <param name="wait">Waits for an operation of the group.</param>
    /// <returns>The parts, by rank.</returns>
    public static IReadOnlyList<byte[]> Of(ProcessGroup group, byte[] mine, Action<Func<Work>> wait)
    {
        var first = new byte[Frame];
        BinaryPrimitives.WriteInt32LittleEndian(first, mine.Length);
        mine.AsSpan(0, Math.Min(mine.Length, Frame - 4)).CopyTo(first.AsSpan(4));
        var frames = All(group, first, Frame, wait);
        var lengths = new int[group.Size];
        for (var rank = 0; rank < lengths.Length; rank++)
            lengths[rank] = BinaryPrimitives.ReadInt32LittleEndian(frames.AsSpan(rank * Frame));
        var parts = new byte[lengths.Length][];
        var longest = lengths.Max() - (Frame - 4);
        var rest = longest > 0 ? All(group, mine.AsSpan(Math.Min(mine.Length, Frame - 4)), longest, wait) : [];
        for (var rank = 0; rank < parts.Length; rank++)
        {
            parts[rank] = new byte[lengths[rank]];
            var inFrame = Math.Min(lengths[rank], Frame - 4);
            frames.AsSpan(rank * Frame + 4, inFrame).CopyTo(parts[rank]);
            if (lengths[rank] > inFrame)
                rest.AsSpan(rank * longest, lengths[rank] - inFrame).CopyTo(parts[rank].AsSpan(inFrame));
        }
        return parts;
    }

    // Everyone's bytes, each in a place of the same length.
    private static byte[] All(ProcessGroup group, ReadOnlySpan<byte> mine, int length, Action<Func<Work>> wait)
    {
        using var scope = TensorScope.Enter();
        var place = Tensor.Zeros(DType.UInt8, Device.Cpu, length);
        mine.CopyTo(place.AsSpan<byte>());
        var all = Tensor.Zeros(DType.UInt8, Device.Cpu, checked(length * group.Size));
        wait(() => group.AllGather(all, place));
        return all.AsSpan<byte>().ToArray();
    }
}
