using System.Numerics.Tensors;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Bco;

/// <summary>Tells two kinds of points apart by a plane.</summary>
/// <remarks>
/// <code>
/// minimise  ½·|w|² + Σ sᵢ · log( 1 + exp(−yᵢ·(w·xᵢ + b)) ),   yᵢ = ±1,   sᵢ = N / (2 · points of its kind)
/// </code>
/// Both kinds weigh the same, however many points they have, so that the odds are the ratio of their densities. Found by limited-memory
/// BFGS (Nocedal 1980), the same each time.
/// </remarks>
internal sealed class LogisticClassifier
{
    private const int Memory = 10;
    private const int MostSteps = 200;
    private const double Tolerance = 1e-6;

    private readonly double[] _weights;     // [D + 1], the last one is b

    private LogisticClassifier(double[] weights) => _weights = weights;

    /// <param name="points">Points of the same length D.</param>
    /// <param name="isFirst">Whether a point is of the first kind; both kinds occur.</param>
    public static LogisticClassifier Fit(IReadOnlyList<float[]> points, IReadOnlyList<bool> isFirst)
    {
        var firsts = isFirst.Count(first => first);
        if (firsts == 0 || firsts == points.Count)
            throw new ArgumentException("all points are of one kind", nameof(isFirst));
        double[] shares = [points.Count / (2.0 * (points.Count - firsts)), points.Count / (2.0 * firsts)];
        var at = new double[points[0].Length + 1];
        var gradient = new double[at.Length];
        var value = Evaluate(at, gradient);
        var steps = new List<(double[] Move, double[] Change)>();
        for (var step = 0; step < MostSteps && TensorPrimitives.Norm<double>(gradient) > Tolerance * points.Count; step++)
        {
            var direction = Direction(gradient, steps);
            var slope = TensorPrimitives.Dot<double>(direction, gradient);
            var (next, nextGradient) = (new double[at.Length], new double[at.Length]);
            var length = steps.Count == 0 ? 1 / Math.Max(1, TensorPrimitives.Norm<double>(gradient)) : 1.0;
            double nextValue;
            while (true)
            {
                TensorPrimitives.MultiplyAdd(direction, length, at, next);
                nextValue = Evaluate(next, nextGradient);
                if (nextValue <= value + (1e-4 * length * slope) || length < 1e-12)
                    break;
                length /= 2;
            }
            if (nextValue >= value)
                break;          // as low as float64 can tell
            var (move, change) = (new double[at.Length], new double[at.Length]);
            TensorPrimitives.Subtract<double>(next, at, move);
            TensorPrimitives.Subtract<double>(nextGradient, gradient, change);
            if (TensorPrimitives.Dot<double>(move, change) > 0)
                steps.Add((move, change));
            if (steps.Count > Memory)
                steps.RemoveAt(0);
            (at, gradient, value) = (next, nextGradient, nextValue);
        }
        return new(at);

        double Evaluate(double[] weights, double[] into)
        {
            var size = weights.Length - 1;
            weights.AsSpan(0, size).CopyTo(into);
            into[size] = 0;
            var sum = TensorPrimitives.SumOfSquares<double>(weights.AsSpan(0, size)) / 2;
            var point = new double[size];
            for (var i = 0; i < points.Count; i++)
            {
                TensorPrimitives.ConvertChecked<float, double>(points[i], point);
                var sign = isFirst[i] ? 1 : -1;
                var share = shares[isFirst[i] ? 1 : 0];
                var margin = sign * (TensorPrimitives.Dot<double>(weights.AsSpan(0, size), point) + weights[size]);
                sum -= share * Dual.LogSigmoidOf(margin);
                var slope = -share * sign / (1 + Math.Exp(margin));
                TensorPrimitives.MultiplyAdd(point, slope, into.AsSpan(0, size), into.AsSpan(0, size));
                into[size] += slope;
            }
            return sum;
        }
    }

    /// <summary>p(first) / p(second) at a point, where both kinds are as frequent.</summary>
    public double Odds(float[] point)
    {
        var wide = new double[point.Length];
        TensorPrimitives.ConvertChecked<float, double>(point, wide);
        return Math.Exp(TensorPrimitives.Dot<double>(_weights.AsSpan(0, point.Length), wide) + _weights[^1]);
    }

    /// <summary>Where the recent steps say that the lowest point lies.</summary>
    private static double[] Direction(double[] gradient, List<(double[] Move, double[] Change)> steps)
    {
        var direction = Array.ConvertAll(gradient, g => -g);
        var factors = new double[steps.Count];
        for (var i = steps.Count - 1; i >= 0; i--)
        {
            factors[i] = TensorPrimitives.Dot<double>(steps[i].Move, direction) / TensorPrimitives.Dot<double>(steps[i].Move,
                steps[i].Change);
            TensorPrimitives.MultiplyAdd(steps[i].Change, -factors[i], direction, direction);
        }
        if (steps.Count > 0)
            TensorPrimitives.Multiply(direction, TensorPrimitives.Dot<double>(steps[^1].Move,
                steps[^1].Change) / TensorPrimitives.SumOfSquares<double>(steps[^1].Change), direction);
        for (var i = 0; i < steps.Count; i++)
        {
            var other = TensorPrimitives.Dot<double>(steps[i].Change, direction) / TensorPrimitives.Dot<double>(steps[i].Move,
                steps[i].Change);
            TensorPrimitives.MultiplyAdd(steps[i].Move, factors[i] - other, direction, direction);
        }
        return direction;
    }
}
