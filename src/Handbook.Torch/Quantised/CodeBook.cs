namespace Handbook.Torch.Quantised;

/// <summary>The numbers that codes stand for, between −1 and 1, and the code that is nearest to a number.</summary>
/// <remarks>
/// The values are those of bitsandbytes 0.50, to the bit. The nearest value is found between the middles of neighbours; a number on a
/// middle belongs to the lower one:
/// <code>code(x) = order[ #{ i : middle(i) &lt; x } ],   middle(i) = ( sorted(i) + sorted(i+1) ) / 2</code>
/// </remarks>
internal sealed class CodeBook
{
    /// <param name="values">What each code stands for. Of equal values the one with the lower code counts as the smaller.</param>
    public CodeBook(float[] values)
    {
        Values = values;
        Order = [.. Enumerable.Range(0, values.Length).OrderBy(code => values[code]).Select(code => (byte)code)];
        Middles = [.. Enumerable.Range(0, values.Length - 1).Select(i => (values[Order[i]] + values[Order[i + 1]]) / 2)];
    }

    /// <summary>What each code stands for.</summary>
    public float[] Values { get; }

    /// <summary>The middles between neighbours, in rising order.</summary>
    internal float[] Middles { get; }

    /// <summary>The codes in the order of their values.</summary>
    internal byte[] Order { get; }

    /// <summary>Quantiles of a normal distribution, with 0 among them; arXiv:2305.14314, appendix E.</summary>
    public static CodeBook Nf4 { get; } = new([-1f, -0.696192801f, -0.525073051f, -0.394917488f, -0.284441382f, -0.18477343f,
        -0.0910500363f, 0f, 0.0795802996f, 0.160930201f, 0.246112302f, 0.337915242f, 0.440709829f, 0.562617004f, 0.722956836f, 1f]);

    /// <summary>Sign, exponent and fraction, divided by 12; the second code is the subnormal 1/16.</summary>
    public static CodeBook Fp4 { get; } = new([0f, 0.00520833349f, 0.666666687f, 1f, 0.333333343f, 0.5f, 0.166666672f, 0.25f,
        0f, -0.00520833349f, -0.666666687f, -1f, -0.333333343f, -0.5f, -0.166666672f, -0.25f]);

    /// <summary>Eight bits with a sign, a movable exponent and the rest as a linear fraction. Dettmers 2016, arXiv:1511.04561.</summary>
    public static CodeBook Dynamic { get; } = new(DynamicValues());

    /// <summary>The code whose value is nearest.</summary>
    public byte Nearest(float x)
    {
        var (low, high) = (0, Middles.Length);         // the first middle that is not below x
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (Middles[middle] < x)
                low = middle + 1;
            else
                high = middle;
        }
        return Order[low];
    }

    /// <summary>For each exponent e from −6 to 0: the middles of 2^(e+6) equal parts of [0.1, 1], times ±10^e; besides, 0 and 1.</summary>
    private static float[] DynamicValues()
    {
        var values = new List<float> { 0, 1 };
        for (var e = 0; e < 7; e++)
        {
            var parts = 1 << e;
            double step = (1f - 0.1f) / parts;
            var power = (float)Math.Pow(10, e - 6);
            for (var i = 0; i < parts; i++)
            {
                var value = power * ((Edge(i) + Edge(i + 1)) / 2);
                values.Add(value);
                values.Add(-value);
            }

            // From the nearer end, each product and sum rounded once.
            float Edge(int i) => i < (parts + 1) / 2 ? (float)(0.1f + step * i) : (float)(1 - step * (parts - i));
        }
        values.Sort();
        return [.. values];
    }
}
