using System.Numerics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Handbook.Data.Decontamination;

/// <summary>A text that must not be trained on, as fingerprints: what it says is not kept.</summary>
/// <param name="Name">The text in words, e.g. <c>HumanEval/0 docstring</c>, or its place and column.</param>
/// <param name="Length">Characters of its normal form; 0 where the whole text is not looked for.</param>
/// <param name="Start">Hash of the first <see cref="Window"/> characters.</param>
/// <param name="Digest">SHA-256 of the whole in hexadecimal digits, shortened to 128 bits; empty where it is not looked for.</param>
/// <param name="Grams">Hashes of its runs of words, each once; none where they are not looked for.</param>
internal sealed record ReferenceText(string Name, int Length, ulong Start, string Digest, ulong[] Grams)
{
    /// <summary>Most characters whose hash is looked for at every place of a text.</summary>
    private const int LongestWindow = 32;

    /// <summary>How many of a text's first characters are looked for before the whole is: a power of two, so that few lengths are.</summary>
    public static int Window(int length) => Math.Min(LongestWindow, 1 << BitOperations.Log2((uint)length));

    /// <summary>The fingerprints of a text.</summary>
    /// <param name="name">The text in words.</param>
    /// <param name="text">What it says.</param>
    /// <param name="minLength">The fewest characters of a text that is looked for as a whole.</param>
    /// <param name="words">Words in a run; 0 for no runs.</param>
    /// <returns>Null where nothing of it can be looked for.</returns>
    public static ReferenceText? Of(string name, string text, int minLength, int words)
    {
        var (normal, hash) = (NormalText.Of(text), new TextHash());
        var isWhole = normal.Length >= minLength && normal.Length > 0;
        var start = 0UL;
        if (isWhole)
        {
            hash.Read(normal);
            start = hash.Of(0, Window(normal.Length));
        }
        var starts = new List<int>();
        var spelled = words > 0 ? NormalText.Words(text, starts) : "";
        ulong[] grams = [];
        if (words > 0 && starts.Count >= words)
        {
            hash.Read(spelled);
            grams = [.. Enumerable.Range(0, starts.Count - words + 1).Select(i => Gram(hash, spelled, starts, i, words)).Distinct()];
        }
        return !isWhole && grams.Length == 0 ? null
            : new(name, isWhole ? normal.Length : 0, start, isWhole ? DigestOf(normal) : "", grams);
    }

    /// <summary>The hash of so many words from one on.</summary>
    public static ulong Gram(TextHash hash, string spelled, List<int> starts, int first, int words)
    {
        var end = first + words < starts.Count ? starts[first + words] - 1 : spelled.Length;
        return hash.Of(starts[first], end - starts[first]);
    }

    public static string DigestOf(ReadOnlySpan<char> normal) =>
        Convert.ToHexStringLower(SHA256.HashData(MemoryMarshal.AsBytes(normal)).AsSpan(0, 16));
}
