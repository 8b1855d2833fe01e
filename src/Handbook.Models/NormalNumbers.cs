using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;

namespace Handbook.Models;

/// <summary>Normally distributed numbers of which the i-th depends on nothing but seed, name and i: any thread may make any part.</summary>
/// <remarks>
/// Philox 4×32 with ten rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") under the key SHA-256(seed as eight
/// little-endian bytes, then the name in UTF-8), first eight bytes. Counter b gives the words w0 … w3, and these,
/// by Box and Muller in float64,
/// <code>
/// u = (w + ½) / 2³²
/// x(4b) , x(4b+1) = √(−2 ln u0) · cos, sin (2π u1)
/// x(4b+2), x(4b+3) = √(−2 ln u2) · cos, sin (2π u3)
/// </code>
/// The stream is part of what <c>handbook init</c> promises: the same seed gives the same model in every version.
/// </remarks>
internal sealed class NormalNumbers
{
    private readonly uint _key0;
    private readonly uint _key1;

    public NormalNumbers(long seed, string name)
    {
        var text = new byte[8 + Encoding.UTF8.GetByteCount(name)];
        BinaryPrimitives.WriteInt64LittleEndian(text, seed);
        Encoding.UTF8.GetBytes(name, text.AsSpan(8));
        var hash = SHA256.HashData(text);
        _key0 = BinaryPrimitives.ReadUInt32LittleEndian(hash);
        _key1 = BinaryPrimitives.ReadUInt32LittleEndian(hash.AsSpan(4));
    }

    /// <summary>The numbers from <paramref name="start"/> on, times <paramref name="std"/>.</summary>
    /// <param name="start">A multiple of 4.</param>
    public void Fill(long start, Span<float> destination, double std)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(start % 4, 0);
        Span<double> four = stackalloc double[4];
        for (var i = 0; i < destination.Length; i += 4)
        {
            Block((ulong)(start + i) / 4, four);
            for (var k = 0; k < 4 && i + k < destination.Length; k++)
                destination[i + k] = (float)(std * four[k]);
        }
    }

    /// <summary>Four words of the generator; public so that its published test values can be checked.</summary>
    public static (uint W0, uint W1, uint W2, uint W3) Philox(uint c0, uint c1, uint c2, uint c3, uint key0, uint key1)
    {
        for (var round = 0; round < 10; round++)
        {
            var left = (ulong)c0 * 0xD2511F53;
            var right = (ulong)c2 * 0xCD9E8D57;
            (c0, c1, c2, c3) = ((uint)(right >> 32) ^ c1 ^ key0, (uint)right, (uint)(left >> 32) ^ c3 ^ key1, (uint)left);
            key0 += 0x9E3779B9;
            key1 += 0xBB67AE85;
        }
        return (c0, c1, c2, c3);
    }

    private void Block(ulong counter, Span<double> four)
    {
        var (w0, w1, w2, w3) = Philox((uint)counter, (uint)(counter >> 32), 0, 0, _key0, _key1);
        (four[0], four[1]) = Pair(w0, w1);
        (four[2], four[3]) = Pair(w2, w3);
    }

    private static (double, double) Pair(uint a, uint b)
    {
        const double unit = 1.0 / (1L << 32);
        var radius = Math.Sqrt(-2 * Math.Log((a + 0.5) * unit));
        var (sin, cos) = Math.SinCos(2 * Math.PI * ((b + 0.5) * unit));
        return (radius * cos, radius * sin);
    }
}
