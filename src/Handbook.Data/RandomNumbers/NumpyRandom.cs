using Handbook.Base;

namespace Handbook.Data.RandomNumbers;

/// <summary>The permutations of <c>numpy.random.default_rng(seed)</c>, with which data sets are shuffled and split.</summary>
internal static class NumpyRandom
{
    /// <summary><c>numpy.random.default_rng(seed).permutation(n)</c>.</summary>
    public static int[] Permutation(int n, long seed)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(n);
        var generator = new Pcg64(seed);
        var order = new int[n];
        for (var i = 0; i < n; i++)
            order[i] = i;
        for (var i = n - 1; i > 0; i--)
        {
            var j = generator.NextInterval((uint)i);
            (order[i], order[j]) = (order[j], order[i]);
        }
        return order;
    }

    /// <summary>The first doubles of <c>default_rng(seed).random()</c>: the values by which the generator is known.</summary>
    public static double[] Doubles(int n, long seed)
    {
        var generator = new Pcg64(seed);
        var values = new double[n];
        for (var i = 0; i < n; i++)
            values[i] = (generator.NextUInt64() >> 11) * (1.0 / (1L << 53));
        return values;
    }

    /// <summary>PCG64 (XSL-RR 128/64), seeded through NumPy's SeedSequence. O'Neill 2014.</summary>
    private sealed class Pcg64
    {
        private static readonly UInt128 Multiplier = new(0x2360ED051FC65DA4, 0x4385DF649FCCF645);

        private readonly UInt128 _increment;
        private UInt128 _state;
        private uint? _upperHalf;

        public Pcg64(long seed)
        {
            if (seed < 0)
                throw new InputException($"seed is {seed}, but must be 0 or more", fix: "use a seed from 0 to 9223372036854775807");
            var words = SeedSequence((ulong)seed);
            _increment = (new UInt128(words[2], words[3]) << 1) | 1;
            Step();
            _state += new UInt128(words[0], words[1]);
            Step();
        }

        public ulong NextUInt64()
        {
            Step();
            var folded = (ulong)(_state >> 64) ^ (ulong)_state;
            return ulong.RotateRight(folded, (int)(_state >> 122));
        }

        /// <summary>A number in [0, <paramref name="max"/>] by masked rejection on 32-bit halves, the lower half of
        /// each 64 bits first.</summary>
        public uint NextInterval(uint max)
        {
            var mask = uint.MaxValue >> (int)uint.LeadingZeroCount(max);
            uint draw;
            do
                draw = NextUInt32() & mask;
            while (draw > max);
            return draw;
        }

        private uint NextUInt32()
        {
            if (_upperHalf is { } kept)
            {
                _upperHalf = null;
                return kept;
            }
            var word = NextUInt64();
            _upperHalf = (uint)(word >> 32);
            return (uint)word;
        }

        private void Step() => _state = (_state * Multiplier) + _increment;

        /// <summary>NumPy's SeedSequence with a pool of four words, as four 64-bit words.</summary>
        private static ulong[] SeedSequence(ulong seed)
        {
            ReadOnlySpan<uint> entropy = seed <= uint.MaxValue ? [(uint)seed] : [(uint)seed, (uint)(seed >> 32)];
            var pool = new uint[4];
            var hashConstant = 0x43b0d7e5u;
            for (var i = 0; i < 4; i++)
                pool[i] = Hash(i < entropy.Length ? entropy[i] : 0, ref hashConstant);
            for (var source = 0; source < 4; source++)
                for (var target = 0; target < 4; target++)
                    if (source != target)
                        pool[target] = Mix(pool[target], Hash(pool[source], ref hashConstant));

            var words = new uint[8];
            hashConstant = 0x8b51f9dd;
            for (var i = 0; i < 8; i++)
            {
                var value = pool[i % 4] ^ hashConstant;
                hashConstant *= 0x58f38ded;
                value *= hashConstant;
                words[i] = value ^ (value >> 16);
            }
            return [Word(0), Word(2), Word(4), Word(6)];

            ulong Word(int i) => words[i] | ((ulong)words[i + 1] << 32);
        }

        private static uint Hash(uint value, ref uint constant)
        {
            value ^= constant;
            constant *= 0x931e8875;
            value *= constant;
            return value ^ (value >> 16);
        }

        private static uint Mix(uint x, uint y)
        {
            var mixed = (0xca01f9dd * x) - (0x4973f715 * y);
            return mixed ^ (mixed >> 16);
        }
    }
}
