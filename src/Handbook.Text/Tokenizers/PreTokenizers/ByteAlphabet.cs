namespace Handbook.Text.Tokenizers.PreTokenizers;

/// <summary>The printable character that stands for each byte in byte-level tokenizers, and back.</summary>
/// <remarks>Bytes that are printable Latin-1 stand for themselves; the other 68 follow from U+0100 on.
/// Radford et al. 2019 (GPT-2).</remarks>
internal static class ByteAlphabet
{
    private static readonly int[] Points = Build();
    private static readonly short[] Bytes = Invert(Points);

    public static int PointOf(byte value) => Points[value];

    /// <summary>The byte that a character stands for; −1 where it stands for none.</summary>
    public static int ByteOf(int point) => (uint)point < (uint)Bytes.Length ? Bytes[point] : -1;

    public static void Append(TextBuffer from, int start, int end, TextBuffer to)
    {
        Span<byte> bytes = stackalloc byte[4];
        if (!to.Tracked)
        {
            AppendUntracked(from.Points.AsSpan(start, end - start), to);
            return;
        }
        for (var i = start; i < end; i++)
        {
            var point = from.Points[i];
            if (point < 0x80)
            {
                to.AppendAligned(Points[point], from, i);
                continue;
            }
            foreach (var value in bytes[..CodePoints.ToUtf8(point, bytes)])
                to.AppendAligned(Points[value], from, i);
        }
    }

    private static void AppendUntracked(ReadOnlySpan<int> points, TextBuffer to)
    {
        to.Reserve(to.Count + points.Length * 4);
        var target = to.Points;
        var count = to.Count;
        Span<byte> bytes = stackalloc byte[4];
        foreach (var point in points)
            if (point < 0x80)
                target[count++] = Points[point];
            else
                foreach (var value in bytes[..CodePoints.ToUtf8(point, bytes)])
                    target[count++] = Points[value];
        to.Count = count;
    }

    private static int[] Build()
    {
        var points = new int[256];
        var next = 0x100;
        for (var value = 0; value < 256; value++)
            points[value] = value is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or >= 0xAE ? value : next++;
        return points;
    }

    private static short[] Invert(int[] points)
    {
        var bytes = new short[0x144];
        Array.Fill<short>(bytes, -1);
        for (var value = 0; value < 256; value++)
            bytes[points[value]] = (short)value;
        return bytes;
    }
}
