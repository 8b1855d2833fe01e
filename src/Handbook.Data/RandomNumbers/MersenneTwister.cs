namespace Handbook.Data.RandomNumbers;

/// <summary>MT19937, the generator under Python's <c>random</c> and torch's CPU generator. Matsumoto and Nishimura 1998.</summary>
internal sealed class MersenneTwister
{
    private const int Size = 624;
    private const int Middle = 397;

    private readonly uint[] _state = new uint[Size];
    private int _next = Size;

    /// <summary>Seeds as torch does: one 32-bit word.</summary>
    public MersenneTwister(uint seed) => Fill(seed);

    /// <summary>Seeds as Python does: an array of 32-bit words, least significant first.</summary>
    public MersenneTwister(ReadOnlySpan<uint> key)
    {
        Fill(19650218);
        int i = 1, j = 0;
        for (var k = Math.Max(Size, key.Length); k > 0; k--)
        {
            _state[i] = (_state[i] ^ ((_state[i - 1] ^ (_state[i - 1] >> 30)) * 1664525)) + key[j] + (uint)j;
            if (++i >= Size)
                (_state[0], i) = (_state[Size - 1], 1);
            if (++j >= key.Length)
                j = 0;
        }
        for (var k = Size - 1; k > 0; k--)
        {
            _state[i] = (_state[i] ^ ((_state[i - 1] ^ (_state[i - 1] >> 30)) * 1566083941)) - (uint)i;
            if (++i >= Size)
                (_state[0], i) = (_state[Size - 1], 1);
        }
        _state[0] = 0x80000000;
    }

    public uint NextUInt32()
    {
        if (_next == Size)
            Twist();
        var y = _state[_next++];
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c5680;
        y ^= (y << 15) & 0xefc60000;
        return y ^ (y >> 18);
    }

    private void Fill(uint seed)
    {
        _state[0] = seed;
        for (var i = 1; i < Size; i++)
            _state[i] = (1812433253 * (_state[i - 1] ^ (_state[i - 1] >> 30))) + (uint)i;
    }

    private void Twist()
    {
        for (var i = 0; i < Size; i++)
        {
            var y = (_state[i] & 0x80000000) | (_state[(i + 1) % Size] & 0x7fffffff);
            _state[i] = _state[(i + Middle) % Size] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0df : 0);
        }
        _next = 0;
    }
}
