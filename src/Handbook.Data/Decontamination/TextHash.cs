namespace Handbook.Data.Decontamination;

/// <summary>Hashes of any part of a text, each in a few operations once the text was read.</summary>
/// <remarks>
/// <code>
/// h(s) = Σ ( s_i + 1 ) · B^(n-1-i)  mod  2^61 − 1
/// h(s[a..b]) = h(s[..b]) − h(s[..a]) · B^(b-a)
/// </code>
/// The polynomial hash of Karp and Rabin 1987.
/// </remarks>
internal sealed class TextHash
{
    private const ulong Prime = (1UL << 61) - 1;
    private const ulong Base = 0x0B5A_D4EC_EDA1_CE2B;

    private ulong[] _powers = [1];
    private ulong[] _heads = [0];

    /// <summary>Reads a text; what was read before is forgotten.</summary>
    public void Read(ReadOnlySpan<char> text)
    {
        if (_heads.Length <= text.Length)
        {
            _heads = new ulong[Math.Max(text.Length + 1, 2 * _heads.Length)];
            var known = _powers.Length;
            Array.Resize(ref _powers, _heads.Length);
            for (var i = known; i < _powers.Length; i++)
                _powers[i] = Product(_powers[i - 1], Base);
        }
        for (var i = 0; i < text.Length; i++)
            _heads[i + 1] = Sum(Product(_heads[i], Base), text[i] + 1UL);
    }

    /// <summary>The hash of a part of the text.</summary>
    public ulong Of(int start, int length) => Sum(_heads[start + length], Prime - Product(_heads[start], _powers[length]));

    private static ulong Sum(ulong a, ulong b) => a + b is var sum && sum >= Prime ? sum - Prime : sum;

    private static ulong Product(ulong a, ulong b)
    {
        var high = Math.BigMul(a, b, out var low);
        return Sum(low & Prime, (low >> 61) | (high << 3));
    }
}
