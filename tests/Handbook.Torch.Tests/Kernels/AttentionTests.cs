using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>The attention kernels against attention by its definition, and the laws that hold whatever the numbers.</summary>
/// <remarks>
/// Tolerances, of the largest value of a tensor: 1e-12 for float64 (sums of some hundred terms); 1e-5 for float32 (the same, with 6e-8
/// each, and weights good to 2e-7); 1e-2 for bfloat16, whose inputs are exact here but whose results keep 8 bits (4e-3), the output rounded
/// before backward reads it.
/// </remarks>
public sealed class AttentionTests
{
    private const double Double = 1e-12, Single = 1e-5, Brain = 1e-2;

    public static TheoryData<string, int[], int[]> Forms => new()
    {
        { "one token", [1], [-1] },
        { "short rows", [1, 2, 3, 5, 8, 13, 20], [-1, -1, -1, -1, -1, -1, -1] },
        { "a whole block and one more", [64, 65], [-1, -1] },
        { "longer rows", [150, 37, 200], [-1, -1, -1] },
        { "a pair", [30, 17, 40], [-1, 0, 0] },
        { "depth 3", [21, 9, 70, 5, 1, 66, 12, 33], [-1, 0, 0, 1, 1, 2, 2, -1] },
        { "two trees interleaved", [10, 20, 7, 3, 68], [-1, -1, 0, 1, 2] },
    };

    [Theory, MemberData(nameof(Forms))]
    public void Agrees_with_the_definition_for_every_form_of_batch(string form, int[] lengths, int[] parents)
    {
        foreach (var (heads, keyHeads) in new[] { (1, 1), (4, 2) })
            foreach (var (window, cap) in new[] { (0, 0.0), (7, 0.0), (70, 0.0), (0, 3.0), (5, 2.0) })
                CheckAll(AttentionCase.Tree(AttentionCase.Sized(heads, keyHeads, 8, window, cap), seed: 3, lengths, parents, gap: heads),
                    $"{form}, {heads} over {keyHeads}, window {window}, cap {cap}:");
    }

    [Theory]
    [InlineData(1), InlineData(2), InlineData(3), InlineData(8), InlineData(16), InlineData(48), InlineData(64), InlineData(80),
        InlineData(96), InlineData(128), InlineData(256)]
    public void Agrees_with_the_definition_for_every_head_size(int size) =>
        CheckAll(AttentionCase.Tree(AttentionCase.Sized(2, 1, size), seed: size, [70, 11, 19], [-1, 0, -1], gap: 1), $"E = {size}:");

    [Theory]
    [InlineData(1), InlineData(2), InlineData(7), InlineData(16), InlineData(17), InlineData(64), InlineData(100), InlineData(1000)]
    public void Agrees_with_the_definition_for_every_window(int window) =>
        CheckAll(AttentionCase.Tree(AttentionCase.Sized(2, 2, 16, window), seed: window, [140, 30, 90], [-1, 0, 0]), $"window {window}:");

    [Theory, MemberData(nameof(Forms))]
    public void Agrees_with_the_definition_where_scores_fall_with_the_distance_and_heads_have_sinks(string form, int[] lengths,
        int[] parents)
    {
        foreach (var (slopes, sinks, valueSize) in new[] { (true, false, 0), (false, true, 0), (false, false, 5), (true, true, 24) })
            foreach (var (window, cap) in new[] { (0, 0.0), (7, 0.0), (70, 2.0) })
                CheckAll(AttentionCase.Tree(AttentionCase.Sized(AttentionCase.Sized(6, 2, 8, window, cap), slopes, valueSize), seed: 5,
                    lengths, parents, gap: 2, sinks: sinks),
                    $"{form}, slopes {slopes}, sinks {sinks}, values {valueSize}, window {window}, cap {cap}:",
                    brain: 2e-2);      // one token and a sink: nothing averages out how the output was rounded
    }

    [Theory]
    [InlineData(16, 48), InlineData(48, 16), InlineData(192, 128), InlineData(3, 1)]
    public void Agrees_with_the_definition_for_values_of_another_size(int size, int valueSize) =>
        CheckAll(AttentionCase.Tree(AttentionCase.Sized(AttentionCase.Sized(2, 1, size), false, valueSize), seed: size, [70, 11, 19],
            [-1, 0, -1], gap: 1), $"E = {size}, V = {valueSize}:");

    [Fact]
    public void Agrees_with_the_definition_for_random_batches()
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var random = new Random(seed);
            var lengths = Enumerable.Range(0, random.Next(1, 9)).Select(_ => random.Next(1, random.Next(2, 50))).ToArray();
            var parents = lengths.Select((_, i) => random.Next(-1, i)).ToArray();
            var keyHeads = random.Next(1, 4);
            var shape = AttentionCase.Sized(keyHeads * random.Next(1, 7), keyHeads, random.Next(1, 40),
                random.Next(3) == 0 ? random.Next(1, 60) : 0, random.Next(3) == 0 ? 4 : 0);
            shape = AttentionCase.Sized(shape, random.Next(3) == 0, random.Next(3) == 0 ? random.Next(1, 40) : 0);
            CheckAll(AttentionCase.Tree(shape, seed, lengths, parents, gap: random.Next(4), sinks: random.Next(3) == 0), $"seed {seed}:");
        }
    }

    [Theory]
    [InlineData(0, 1), InlineData(100, 1), InlineData(0, 3)]
    public void Agrees_with_the_plain_version_where_the_keys_of_a_tree_are_cut_into_chunks(int window, int keyHeads)
    {
        foreach (var (slopes, sinks, valueSize) in new[] { (false, false, 0), (true, true, 20) })
        {
            var batch = AttentionCase.Tree(AttentionCase.Sized(AttentionCase.Sized(3, keyHeads, 4, window), slopes, valueSize), seed: 5,
                [530, 20, 500, 30], [-1, 0, 0, -1], sinks: sinks);
            batch.Run<float>().AssertClose(batch.Run<double>(), Single);
        }
    }

    [Fact]
    public void Gives_nothing_for_an_empty_batch() =>
        Assert.Empty(AttentionCase.Flat(AttentionCase.Sized(2, 1, 8), seed: 1).Run<float>().Output);

    [Theory]
    [InlineData(0, 0, false), InlineData(4, 0, false), InlineData(0, 1.5, false), InlineData(0, 0, true), InlineData(4, 1.5, true)]
    public void Gradients_are_those_of_finite_differences(int window, double cap, bool more)
    {
        var batch = AttentionCase.Tree(AttentionCase.Sized(AttentionCase.Sized(2, 1, 3, window, cap), more, more ? 2 : 0), seed: 9,
            [5, 3, 2, 2], [-1, 0, 0, -1], sinks: more);
        var gradients = batch.Run<double>();
        foreach (var (input, gradient) in new[] { (batch.Query, gradients.Query), (batch.Key, gradients.Key),
            (batch.Value, gradients.Value), (batch.Sinks ?? [], gradients.Sinks) })
            for (var i = 0; i < input.Length; i++)
            {
                const double step = 1e-5;
                var kept = input[i];
                input[i] = kept + step;
                var above = Loss();
                input[i] = kept - step;
                var below = Loss();
                input[i] = kept;
                // 1e-8: the error of central differences is step² and 1e-16 / step, here 1e-10 and 1e-11 times some tens.
                Assert.Equal((above - below) / (2 * step), gradient[i], 1e-8);
            }

        double Loss() => batch.Run<double>().Output.Zip(batch.OutputGradient, (y, dy) => y * dy).Sum();
    }

    [Fact]
    public void A_tree_does_not_notice_what_stands_in_another()
    {
        int[] lengths = [40, 70, 33, 90, 8], parents = [-1, 0, -1, 2, 2];
        var batch = AttentionCase.Tree(AttentionCase.Sized(4, 2, 16), seed: 2, lengths, parents);
        var before = batch.Run<float>();
        foreach (var values in new[] { batch.Query, batch.Key, batch.Value, batch.OutputGradient })
            for (var i = 0; i < values.Length * 110 / 241; i++)             // the first tree: 110 of 241 tokens
                values[i] = -values[i] + 1;
        var after = batch.Run<float>();
        foreach (var ((name, first), (_, second)) in before.All.Zip(after.All)
            .Where(p => p.First.Name is not ("log-sum-exp" or "sink gradient")))
        {
            var cut = first.Length * 110 / 241;
            Assert.True(first.AsSpan(cut).SequenceEqual(second.AsSpan(cut)), $"{name} of the second tree changed");
            Assert.False(first.AsSpan(0, cut).SequenceEqual(second.AsSpan(0, cut)));
        }
    }

    [Fact]
    public void A_tree_gives_the_same_bits_alone_and_in_a_batch()
    {
        var shape = AttentionCase.Sized(4, 2, 16);
        var both = AttentionCase.Flat(shape, seed: 4, 100, 77);
        var alone = AttentionCase.Flat(shape, seed: 4, 100);
        foreach (var (small, large) in new[] { (alone.Query, both.Query), (alone.Key, both.Key), (alone.Value, both.Value),
            (alone.OutputGradient, both.OutputGradient) })
            Array.Copy(large, small, small.Length);
        Assert.Equal(both.Run<float>().Key[..(100 * 2 * 16)], alone.Run<float>().Key);
    }

    [Fact]
    public void The_bits_do_not_depend_on_threads_or_repetition()
    {
        var batch = AttentionCase.Tree(AttentionCase.Sized(4, 2, 8, window: 400), seed: 8, [520, 30, 60, 50, 9], [-1, 0, 0, -1, -1]);
        var threads = ThreadTeam.Threads;
        try
        {
            ThreadTeam.Threads = 1;
            var one = batch.Run<float>();
            ThreadTeam.Threads = 2;
            for (var i = 0; i < 3; i++)
                batch.Run<float>().AssertSameBits(one);
            ThreadTeam.Threads = 5;
            batch.Run<float>().AssertSameBits(one);
        }
        finally
        {
            ThreadTeam.Threads = threads;
        }
    }

    [Theory]
    [InlineData(0), InlineData(50)]
    public void Extreme_scores_stay_finite(double cap)
    {
        var shape = AttentionCase.Sized(2, 1, 16, softCap: cap) with { Scale = 1 };
        var batch = AttentionCase.Tree(shape, seed: 6, [90, 20], [-1, 0], spread: 400);                  // scores up to ±1e4
        foreach (var (name, values) in batch.Run<float>().All.Concat(batch.Run<BFloat16>().All))
            Assert.True(values.All(double.IsFinite), name);
        // 1e-2: a score of 1e4 is good to 6e-4 in float32, and so is the logarithm of its weight.
        batch.Run<float>().AssertClose(batch.Plain(), 1e-2);
    }

    [Fact]
    public void A_broken_number_is_not_hidden()
    {
        var batch = AttentionCase.Flat(AttentionCase.Sized(1, 1, 16), seed: 6, 40);
        batch.Query[20 * 16] = double.NaN;
        Assert.True(batch.Run<float>().Output[(20 * 16)..(21 * 16)].All(double.IsNaN));
    }

    [Fact]
    public void A_second_run_allocates_nothing()
    {
        var threads = ThreadTeam.Threads;
        try
        {
            ThreadTeam.Threads = 1;     // without the native loop, .NET's own pool allocates
            Assert.Equal(0, AttentionAllocation.OfSecondRun());
        }
        finally
        {
            ThreadTeam.Threads = threads;
        }
    }

    [Fact]
    public void Wrong_segments_and_shapes_are_refused()
    {
        Assert.Contains("at least 1", Assert.Throws<ArgumentException>(() => SegmentTable.Create([0], [0], [-1])).Message);
        Assert.Contains("parents stand before",
            Assert.Throws<ArgumentException>(() => SegmentTable.Create([0, 2], [2, 2], [1, -1])).Message);
        Assert.Contains("starts at token 3", Assert.Throws<ArgumentException>(() => SegmentTable.Create([0, 3], [2, 2], [-1, -1])).Message);
        Assert.Contains("3 slopes", Assert.Throws<ArgumentException>(() => AttentionCase.Flat(AttentionCase.Sized(2, 1, 4) with
        {
            DistanceSlopes = [1, 2, 3]
        }, 1, 2).Run<float>()).Message);
        Assert.Contains("multiple of key heads",
            Assert.Throws<ArgumentException>(() => AttentionCase.Flat(AttentionCase.Sized(3, 2, 4), 1, 2).Run<float>()).Message);
        var jump = SegmentTable.Create([0], [2], [-1], [0, 5]);
        Assert.Contains("grow by one",
            Assert.Throws<ArgumentException>(() => AttentionAllocation.Forward(jump, AttentionCase.Sized(1, 1, 4, window: 2))).Message);
    }

    [Fact]
    public void The_weights_exponential_is_as_exact_as_it_says()
    {
        var worst = 0.0;
        for (var x = -103.9; x < 3; x += 1.7e-4)
        {
            var value = AttentionScores.Exp2(System.Runtime.Intrinsics.Vector512.Create((float)x))[0];
            worst = Math.Max(worst, Math.Abs(value / Math.Pow(2, (float)x) - 1));
        }
        Assert.InRange(worst, 0, 2e-7);
        Assert.Equal(1, AttentionScores.Exp2(System.Runtime.Intrinsics.Vector512<float>.Zero)[5]);
        Assert.Equal(0, AttentionScores.Exp2(System.Runtime.Intrinsics.Vector512.Create(float.NegativeInfinity))[5]);
        Assert.Equal(0, AttentionScores.Exp2(System.Runtime.Intrinsics.Vector512.Create(-1e30f))[5]);
    }

    private static void CheckAll(AttentionCase batch, string what, double brain = Brain)
    {
        var plain = batch.Plain();
        batch.Run<double>().AssertClose(plain, Double, what + " float64");
        batch.Run<float>().AssertClose(plain, Single, what + " float32");
        batch.Run<BFloat16>().AssertClose(plain, brain, what + " bfloat16");
    }
}
