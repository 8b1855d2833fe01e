using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>Attention over caches gives what attention over whole sequences gives for their last tokens.</summary>
public sealed unsafe class AttentionDecodeTests
{
    [Theory]
    [InlineData(1, 1, 8, 0, 0), InlineData(4, 4, 48, 0, 0), InlineData(6, 2, 64, 0, 0), InlineData(9, 3, 16, 20, 0),
        InlineData(8, 1, 3, 7, 2.5), InlineData(2, 1, 80, 1, 0), InlineData(2, 2, 17, 0, 1)]
    public void Agrees_with_attention_by_its_definition(int heads, int keyHeads, int size, int window, double cap)
    {
        int[] lengths = [1, 5, 64, 100, 33, 17], queries = [1, 1, 1, 3, 33, 2];
        var batch = AttentionCase.Flat(AttentionCase.Sized(heads, keyHeads, size, window, cap), seed: size, lengths);
        var plain = batch.Plain().Output;
        // As in AttentionTests, but bfloat16 keeps 8 bits of the result only: 4e-3.
        Check<double>(batch, queries, plain, 1e-12);
        Check<float>(batch, queries, plain, 1e-5);
        Check<BFloat16>(batch, queries, plain, 4e-3);
    }

    [Theory]
    [InlineData(6, 2, 8, 0, 0, 0, true, false), InlineData(8, 1, 16, 20, 0, 0, false, true), InlineData(3, 3, 24, 0, 2.5, 16, true, true),
        InlineData(2, 1, 5, 7, 0, 80, true, true)]
    public void Agrees_where_scores_fall_with_the_distance_and_heads_have_sinks(int heads, int keyHeads, int size, int window, double cap,
        int valueSize, bool slopes, bool sinks)
    {
        int[] lengths = [1, 5, 64, 100, 33, 17], queries = [1, 1, 1, 3, 33, 2];
        var batch = AttentionCase.Tree(AttentionCase.Sized(AttentionCase.Sized(heads, keyHeads, size, window, cap), slopes, valueSize),
            seed: size, lengths, [.. lengths.Select(_ => -1)], sinks: sinks);
        var plain = batch.Plain().Output;
        Check<double>(batch, queries, plain, 1e-12);
        Check<float>(batch, queries, plain, 1e-5);
        Check<BFloat16>(batch, queries, plain, 4e-3);
    }

    [Fact]
    public void Refuses_more_new_tokens_than_the_cache_holds() =>
        Assert.Contains("part of the cache",
            Assert.Throws<ArgumentException>(() => AttentionKernel.Decode([new CachedSequence<float>(default, default, 3, 0, 4)],
            AttentionCase.Sized(1, 1, 4), default, default)).Message);

    [Theory, InlineData(1, 1, 8, 0), InlineData(6, 2, 64, 0), InlineData(9, 3, 16, 20), InlineData(2, 2, 17, 5)]
    public void A_shared_prefix_changes_no_bit(int heads, int keyHeads, int size, int window)
    {
        Split<float>(heads, keyHeads, size, window);
        Split<BFloat16>(heads, keyHeads, size, window);
        Split<double>(heads, keyHeads, size, window);
    }

    // One cache of 100 tokens, whole and in parts of 70, 3 and 27; the last two tokens ask, together and one by one.
    private static void Split<T>(int heads, int keyHeads, int size, int window) where T : unmanaged
    {
        var shape = AttentionCase.Sized(heads, keyHeads, size, window, 0);
        int wide = heads * size, narrow = keyHeads * size;
        T[] key = Random<T>(100 * narrow, 1), value = Random<T>(100 * narrow, 2), query = Random<T>(2 * wide, 3);
        T[] whole = new T[2 * wide], parts = new T[2 * wide], single = new T[2 * wide];
        fixed (T* k = key, v = value, q = query, y = whole, z = parts, u = single)
        {
            var prefix = stackalloc CachedSegment<T>[2] { new(new(k, narrow, size), new(v, narrow, size), 70),
                new(new(k + 70 * narrow, narrow, size), new(v + 70 * narrow, narrow, size), 3) };
            HeadRows<T> ownKey = new(k + 73 * narrow, narrow, size), ownValue = new(v + 73 * narrow, narrow, size);
            AttentionKernel.Decode([new CachedSequence<T>(new(k, narrow, size), new(v, narrow, size), 100, 0, 2)], shape, new(q, wide),
                new TokenRows<T>(y, wide));
            AttentionKernel.Decode([new CachedSequence<T>(ownKey, ownValue, 27, 0, 2, prefix, 2)], shape, new(q, wide),
                new TokenRows<T>(z, wide));
            AttentionKernel.Decode([new CachedSequence<T>(ownKey, ownValue, 26, 0, 1, prefix, 2),
                new CachedSequence<T>(ownKey, ownValue, 27, 1, 1, prefix, 2)], shape, new(q, wide), new TokenRows<T>(u, wide));
        }
        Assert.Equal(whole, parts);
        Assert.Equal(whole, single);
    }

    private static T[] Random<T>(int count, int seed) where T : unmanaged
    {
        var random = new Random(seed);
        var values = new T[count];
        fixed (T* target = values)
            for (var i = 0; i < count; i++)
                Lanes.Set(target, i, 2 * random.NextDouble() - 1);
        return values;
    }

    private static void Check<T>(AttentionCase batch, int[] queries, double[] plain, double relative) where T : unmanaged
    {
        int size = batch.Shape.HeadSize, valueSize = batch.Shape.ValueSize, wide = batch.Shape.Heads * size, rows = queries.Sum();
        int mixed = batch.Shape.Heads * valueSize, headRoom = batch.Tokens * size + 5, valueRoom = batch.Tokens * valueSize + 5;
        T[] key = ByHead(batch.Key, size, headRoom), value = ByHead(batch.Value, valueSize, valueRoom), all = Convert(batch.Query);
        T[] query = new T[rows * (wide + 1)], output = new T[rows * (mixed + 2)];
        double[] doubles = batch.Sinks ?? [0];
        float[] singles = Array.ConvertAll(doubles, sink => (float)sink);
        var sequences = new CachedSequence<T>[queries.Length];
        fixed (T* k = key, v = value, q = query, y = output)
        fixed (double* inDouble = doubles)
        fixed (float* inSingle = singles)
        {
            var sinks = batch.Sinks is null ? null : typeof(T) == typeof(double) ? inDouble : (void*)inSingle;
            for (int s = 0, row = 0; s < queries.Length; row += queries[s++])
            {
                sequences[s] = new(new(k + batch.Start[s] * size, size, headRoom),
                    new(v + batch.Start[s] * valueSize, valueSize, valueRoom), batch.Length[s], row, queries[s]);
                for (var i = 0; i < queries[s]; i++)
                    Array.Copy(all, Token(s, i) * wide, query, (row + i) * (wide + 1), wide);
            }
            AttentionKernel.Decode<T>(sequences, batch.Shape, new(q, wide + 1), new(y, mixed + 2), sinks);
            var bound = relative * plain.Max(Math.Abs);
            for (int s = 0, row = 0; s < queries.Length; row += queries[s++])
                for (var i = 0; i < queries[s] * mixed; i++)
                {
                    var actual = Lanes.Get(y, (row + i / mixed) * (mixed + 2) + i % mixed);
                    var wanted = plain[Token(s, i / mixed) * mixed + i % mixed];
                    Assert.True(Math.Abs(actual - wanted) <= bound,
                        $"{typeof(T).Name} sequence {s}, element {i} is {actual:R}, should be {wanted:R} within {bound:E1}");
                }
        }

        int Token(int s, int i) => batch.Start[s] + batch.Length[s] - queries[s] + i;

        // [N, K, E] → [K, N, E] with gaps between the heads.
        T[] ByHead(double[] values, int each, int room)
        {
            var moved = new double[batch.Shape.KeyHeads * room];
            for (var i = 0; i < values.Length; i++)
                moved[i / each % batch.Shape.KeyHeads * room + i / (batch.Shape.KeyHeads * each) * each + i % each] = values[i];
            return Convert(moved);
        }

        static T[] Convert(double[] values)
        {
            var converted = new T[values.Length];
            fixed (T* target = converted)
                for (var i = 0; i < values.Length; i++)
                    Lanes.Set(target, i, values[i]);
            return converted;
        }
    }
}
