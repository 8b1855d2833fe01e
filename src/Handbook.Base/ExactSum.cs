namespace Handbook.Base;

/// <summary>A sum of float64 numbers without rounding until it is read: the same whatever the order and the grouping of what was added.
/// </summary>
/// <remarks>Keeps parts that do not overlap and whose exact sum is that of all numbers so far. Shewchuk 1997, Adaptive Precision
/// Floating-Point Arithmetic, Grow-Expansion; the last rounding as in Python's <c>math.fsum</c>.</remarks>
public sealed class ExactSum
{
    private double[] _parts = new double[4];
    private int _count;
    private double _notFinite;          // sum of what is no number, or too large

    /// <summary>A sum of these numbers.</summary>
    public static ExactSum Of(params ReadOnlySpan<double> numbers)
    {
        var sum = new ExactSum();
        foreach (var number in numbers)
            sum.Add(number);
        return sum;
    }

    /// <summary>Numbers whose exact sum it is, smallest first; few, and enough to go on from.</summary>
    public double[] Parts => _notFinite != 0 ? [_notFinite] : _parts[.._count];

    /// <summary>The sum, rounded once.</summary>
    public double Value
    {
        get
        {
            if (_notFinite != 0)
                return _notFinite;
            var next = _count;
            if (next == 0)
                return 0;
            var (high, low) = (_parts[--next], 0.0);
            while (next > 0 && low == 0)
                (high, low) = TwoSum(high, _parts[--next]);
            // A tie that the parts below decide: away from the even neighbour where they lie on its far side.
            if (next > 0 && (low < 0 && _parts[next - 1] < 0 || low > 0 && _parts[next - 1] > 0))
            {
                var (twice, other) = (2 * low, high + 2 * low);
                if (other - high == twice)
                    return other;
            }
            return high;
        }
    }

    /// <summary>Adds a number.</summary>
    public void Add(double number)
    {
        var kept = 0;
        for (var i = 0; i < _count && double.IsFinite(number); i++)
        {
            (number, var low) = TwoSum(number, _parts[i]);
            if (low != 0)
                _parts[kept++] = low;
        }
        if (!double.IsFinite(number))
        {
            _notFinite += number;
            return;
        }
        if (kept == _parts.Length)
            Array.Resize(ref _parts, 2 * kept);
        _count = kept;
        if (number != 0)
            _parts[_count++] = number;
    }

    /// <summary>Adds another sum.</summary>
    public void Add(ExactSum other)
    {
        foreach (var part in other.Parts)
            Add(part);
    }

    // a + b as its rounded value and what the rounding left. Knuth 1969.
    private static (double High, double Low) TwoSum(double a, double b)
    {
        var sum = a + b;
        var bb = sum - a;
        return (sum, (a - (sum - bb)) + (b - bb));
    }
}
