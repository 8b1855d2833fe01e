using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Normalizers;

/// <summary>Sentencepiece's compiled replacements: a double-array trie from byte sequences to their normal forms.</summary>
/// <remarks>Whole grapheme clusters below six bytes are looked up first, then single code points, as in the Rust reference.</remarks>
internal sealed class PrecompiledNormalizer : Normalizer
{
    private readonly uint[] _trie;
    private readonly byte[] _replacements;

    /// <param name="charsmap">Size of the trie in bytes, the trie, then the replacements, each ended by 0; little endian.</param>
    public PrecompiledNormalizer(byte[] charsmap)
    {
        var size = charsmap.Length >= 4 ? BitConverter.ToUInt32(charsmap) : 0;
        if (size == 0 || size % 4 != 0 || size > charsmap.Length - 4)
            throw new FormatException($"the charsmap says its trie has {size} bytes, but {Math.Max(0, charsmap.Length - 4)} follow");
        _trie = new uint[size / 4];
        Buffer.BlockCopy(charsmap, 4, _trie, 0, (int)size);
        _replacements = charsmap[(4 + (int)size)..];
    }

    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        var items = new List<(int Point, int Change)>(text.Count + 16);
        var modified = false;
        for (var at = 0; at < text.Count;)
        {
            var points = GraphemeClusters.Next(text.Text, at) - at;
            var cluster = text.Text.Slice(at, points);
            if (Replacement(cluster) is { } all)
            {
                modified = true;
                Replace(items, points, all);
            }
            else
                for (var i = 0; i < points; i++)
                    if (Replacement(cluster.Slice(i, 1)) is { } one)
                    {
                        modified = true;
                        Replace(items, 1, one);
                    }
                    else
                        items.Add((cluster[i], 0));
            at += points;
        }
        if (!modified)
            return text;
        spare.BeginFrom(text);
        foreach (var (point, change) in items)
            spare.Emit(text, point, change);
        return spare;
    }

    private static void Replace(List<(int Point, int Change)> items, int oldCount, int[] points)
    {
        var extra = points.Length - oldCount;
        for (var i = 0; i < points.Length; i++)
            items.Add((points[i], i >= oldCount ? 1 : 0));
        if (extra < 0 && items.Count > 0)
            items[^1] = (items[^1].Point, items[^1].Change + extra);
    }

    /// <summary>What the shortest known prefix of the text becomes; null where none is known.</summary>
    private int[]? Replacement(ReadOnlySpan<int> cluster)
    {
        Span<byte> bytes = stackalloc byte[8];
        var count = 0;
        foreach (var point in cluster)
        {
            if (count + CodePoints.Utf8Length(point) > 5)
                return null;
            count += CodePoints.ToUtf8(point, bytes[count..]);
        }
        uint node = 0;
        var unit = _trie[0];
        node ^= Offset(unit);
        foreach (var value in bytes[..count])
        {
            if (value == 0)
                break;
            node ^= value;
            if (node >= _trie.Length)
                return null;
            unit = _trie[node];
            if ((unit & (0x80000000u | 0xFF)) != value)
                return null;
            node ^= Offset(unit);
            if ((unit >> 8 & 1) == 0)
                continue;
            var start = (int)(_trie[node] & 0x7FFFFFFF);
            var end = Array.IndexOf(_replacements, (byte)0, start);
            return CodePoints.Of(System.Text.Encoding.UTF8.GetString(_replacements, start, (end < 0 ? _replacements.Length : end) - start));
        }
        return null;
    }

    private static uint Offset(uint unit) => (unit >> 10) << (int)((unit & (1 << 9)) >> 6);
}
