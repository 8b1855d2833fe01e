using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Kernels;

/// <summary>Optimisers with states in eight bits a number, against the definition in float64.</summary>
public sealed unsafe class CodedStateKernelTests
{
    private const int Block = CodedStateKernel.Block;

    [Theory, InlineData(true), InlineData(false)]
    public void Every_number_gets_the_code_of_the_nearest_value(bool signed)
    {
        var code = signed ? DynamicCode.Signed : DynamicCode.Unsigned;
        var values = code.Values.ToArray();
        Assert.Equal(256, values.Distinct().Count());
        Assert.Equal((signed ? -0.99296874f : 0f, 1f), (values[0], values[^1]));
        // around every border, and at random over all magnitudes
        var tried = new List<float>();
        for (var i = 0; i < 255; i++)
        {
            var border = 0.5f * (values[i] + values[i + 1]);
            tried.AddRange([values[i], border, MathF.BitDecrement(border), MathF.BitIncrement(border)]);
        }
        var random = new Random(3);
        for (var i = 0; i < 100_000; i++)
            tried.Add((float)(Math.Pow(10, -9 * random.NextDouble()) * (random.Next(2) * 2 - 1)));
        tried.AddRange([0f, -0f, 1f, -1f, MathF.BitIncrement(1f), float.Epsilon, -float.Epsilon]);
        while (tried.Count % Lanes.Width != 0)
            tried.Add(0);

        using var codes = new Rows<byte>(tried.Count);
        fixed (float* x = tried.ToArray())
            for (var i = 0; i < tried.Count; i += Lanes.Width)
                code.Encode(System.Runtime.Intrinsics.Vector512.Load(x + i), codes.Pointer + i);

        for (var i = 0; i < tried.Count; i++)
        {
            var nearest = values.Min(value => Math.Abs((double)value - tried[i]));
            // 2e-7: a border is rounded to float32
            Assert.Equal(nearest, Math.Abs((double)values[codes.Pointer[i]] - tried[i]), 2e-7 * Math.Abs(tried[i]));
            Assert.Equal(code.Nearest(tried[i]), codes.Pointer[i]);
        }
        var decoded = code.Decode(codes.Pointer);
        for (var i = 0; i < Lanes.Width; i++)
            Assert.Equal(values[codes.Pointer[i]], decoded[i]);
    }

    [Theory] // whole pieces, a part of a block, less than a vector
    [InlineData(2 * 64 * Block + 3 * Block + 37), InlineData(Block), InlineData(11)]
    public void Vectors_follow_the_definition_of_every_rule(int count)
    {
        Compare(count, t => new AdamRule(1e-2, 0.9, 0.999, 1e-8, 0.1, t), 2);
        Compare(count, _ => new LionRule(1e-2, 0.9, 0.99, 0.1), 1);
        Compare(count, _ => new RmsPropRule(1e-2, 0.99, 1e-8, 0.01), 1);
    }

    private static void Compare<TRule>(int count, Func<long, TRule> rule, int states) where TRule : struct, IOptimizerRule
    {
        var (exact, vectors) = (Run<TRule, double>(rule, count, states), Run<TRule, float>(rule, count, states));
        // A number next to a border may get the neighbouring code, 4 % away at worst in the finest decades, and moves on from there.
        var apart = exact.Parameters.Zip(vectors.Parameters).Count(pair => Math.Abs(pair.First - pair.Second) > 2e-6);
        Assert.InRange(apart, 0, count / 200);
        Some.Close(exact.Parameters, vectors.Parameters, 2e-2);
        Assert.InRange(exact.Codes.Zip(vectors.Codes).Count(pair => pair.First != pair.Second), 0, 2 + exact.Codes.Length / 200);
        Some.Close(exact.Scales, vectors.Scales, 1e-6, 0.02);
        Assert.InRange(exact.Scales.Zip(vectors.Scales).Count(pair => Math.Abs(pair.First / pair.Second - 1) > 1e-5), 0,
            exact.Scales.Length / 20);
        Some.Close(Some.Rounded<BFloat16>(vectors.Parameters), vectors.Copied, 0);
    }

    private sealed record Outcome(double[] Parameters, double[] Copied, byte[] Codes, double[] Scales);

    private static Outcome Run<TRule, T>(Func<long, TRule> rule, int count, int states) where TRule : struct, IOptimizerRule
        where T : unmanaged
    {
        var blocks = (count + Block - 1) / Block;
        using Rows<T> p = new(Some.Rounded<BFloat16>(Some.Normal(1, count)));
        using Rows<byte> codes1 = new(blocks * Block), codes2 = new(blocks * Block);
        using Rows<float> scales1 = new(blocks), scales2 = new(blocks);
        using var copy = new Rows<BFloat16>(count);
        for (var t = 1; t <= 4; t++)
        {
            using var g = new Rows<T>(Some.Rounded<BFloat16>([.. Some.Normal(1 + t, count).Select(x => x + Math.CopySign(0.3, x))]));
            CodedStateKernel.Step(rule(t), p.Pointer, g.Pointer, new((nint)codes1.Pointer, (nint)scales1.Pointer, DynamicCode.Signed),
                states == 1 ? default : new((nint)codes2.Pointer, (nint)scales2.Pointer, DynamicCode.Unsigned), copy.Pointer, count, 0.5);
        }
        return new(p.ToArray(), copy.ToArray(), [.. codes1.Span[..count], .. states == 1 ? [] : codes2.Span[..count]],
            [.. scales1.ToArray(), .. scales2.ToArray()]);
    }

    [Fact]
    public void The_number_of_threads_changes_no_bit()
    {
        var threads = ThreadTeam.Threads;
        try
        {
            ThreadTeam.Threads = 1;
            var one = Run<AdamRule, float>(t => new(1e-2, 0.9, 0.999, 1e-8, 0.1, t), 300 * Block + 5, 2);
            ThreadTeam.Threads = 5;
            var five = Run<AdamRule, float>(t => new(1e-2, 0.9, 0.999, 1e-8, 0.1, t), 300 * Block + 5, 2);
            Assert.Equal(one.Parameters, five.Parameters);
            Assert.Equal(one.Codes, five.Codes);
        }
        finally
        {
            ThreadTeam.Threads = threads;
        }
    }

    [Fact]
    public void What_stands_behind_the_last_element_changes_nothing()
    {
        const int count = 21;
        using Rows<byte> clean = new(Block), filled = new(Block);
        filled.Span.Fill(7);
        filled.Span[..count].Clear();
        Assert.Equal(Step(clean), Step(filled));
        Assert.Equal(clean.Span[..count].ToArray(), filled.Span[..count].ToArray());

        static double[] Step(Rows<byte> codes)
        {
            using Rows<float> p = new(count), g = new(Some.Normal(1, count)), scales = new([1000]);
            CodedStateKernel.Step(new LionRule(1e-2, 0.9, 0.99, 0), p.Pointer, g.Pointer,
                new((nint)codes.Pointer, (nint)scales.Pointer, DynamicCode.Signed), default, null, count);
            return [.. p.ToArray(), .. scales.ToArray()];
        }
    }

    [Fact]
    public void A_nan_gradient_reaches_the_parameter()
    {
        using Rows<float> p = new([1, 1]), g = new([double.NaN, 1]), scales1 = new(1), scales2 = new(1);
        using Rows<byte> codes1 = new(Block), codes2 = new(Block);
        CodedStateKernel.Step(new AdamRule(0.1, 0.9, 0.999, 1e-8, 0, 1), p.Pointer, g.Pointer,
            new((nint)codes1.Pointer, (nint)scales1.Pointer, DynamicCode.Signed),
            new((nint)codes2.Pointer, (nint)scales2.Pointer, DynamicCode.Unsigned), null, 2);
        Assert.True(double.IsNaN(p[0]));
    }
}
