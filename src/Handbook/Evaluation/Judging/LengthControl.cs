using Handbook.Base;

namespace Handbook.Evaluation.Judging;

/// <summary>A pair as the regression sees it.</summary>
/// <param name="Preference">How sure the measured model is the better one, 0 to 1; NaN where nobody says.</param>
/// <param name="Length">Length of the first answer minus that of the second, in standard deviations.</param>
/// <param name="Difficulty">The instruction's difficulty for the model that is compared with.</param>
/// <param name="IsGamed">Whether it is a pair of the model that is compared with, told to be long or short.</param>
/// <param name="Weight">What it counts.</param>
internal readonly record struct LengthRow(double Preference, double Length, double Difficulty, bool IsGamed, double Weight);

/// <summary>
/// The win rate that a model would have if its answers were as long as the others: a logistic regression of the preference on length,
/// difficulty and model, evaluated at equal lengths. Dubois et al. 2024, arXiv:2404.04475, eq. 2; the fit is that of AlpacaEval's
/// <c>length_controlled_v1</c> (and <c>length_controlled_minimal</c>, where difficulties are not known).
/// </summary>
/// <remarks>
/// <code>
/// P(better) = σ( w₁ tanh(Δ length / std) + w₂ difficulty + w₃ )
/// min  ‖w‖₁ + C Σ s ( −p log P − (1−p) log(1−P) )          C of 10⁻⁴ … 10⁴ in ten steps, by five-fold cross-validation
/// </code>
/// Pairs of the model that is compared with, told to be long or short, hold w₁ and w₂ back; each of the two counts λ/2 = 0.1.
/// </remarks>
internal static class LengthControl
{
    private const int Folds = 5, Steps = 10;

    /// <summary>Of pairs of the model that is compared with, told to be long or short: <c>regularize_to_baseline_lambda</c> over two.</summary>
    public const double GamedWeight = 0.2 / 2;

    /// <summary>What came of the regression.</summary>
    /// <param name="Mean">The mean probability, 0 to 1.</param>
    /// <param name="StandardError">Its standard error over the instructions.</param>
    /// <param name="Weights">w: of the length, of the difficulty, of the model.</param>
    /// <param name="C">The strength that was chosen.</param>
    internal sealed record Fit(double Mean, double StandardError, double[] Weights, double C);

    /// <summary>Fits and predicts.</summary>
    /// <param name="rows">The pairs of the model; those without a preference are predicted, too.</param>
    /// <param name="gamed">Pairs that hold the fit back; empty for none.</param>
    /// <param name="hasDifficulty">Whether w₂ is fitted.</param>
    public static Fit Of(IReadOnlyList<LengthRow> rows, IReadOnlyList<LengthRow> gamed, bool hasDifficulty)
    {
        LengthRow[] known = [.. gamed.Concat(rows).Where(row => !double.IsNaN(row.Preference))];
        if (rows.All(row => double.IsNaN(row.Preference)))        // nobody preferred anything
            return new(double.NaN, double.NaN, new double[3], double.NaN);
        // As scikit-learn's GroupKFold deals out groups of one size: the last one first.
        int[] folds = [.. Enumerable.Range(0, known.Length).Select(i => (known.Length - 1 - i) % Folds)];
        var strengths = Enumerable.Range(0, Steps).Select(i => Math.Pow(10, -4 + 8.0 * i / (Steps - 1))).ToArray();
        var losses = new double[Steps];
        for (var fold = 0; fold < Folds; fold++)
        {
            LengthRow[] kept = [.. known.Where((_, i) => folds[i] != fold)], held = [.. known.Where((_, i) => folds[i] == fold)];
            var w = new double[3];
            for (var c = 0; c < Steps; c++)
            {
                Minimise(kept, strengths[c], hasDifficulty, w);
                losses[c] += held.Length == 0 ? 0 : held.Sum(row => row.Weight * Loss(row.Preference, Score(row, w))) / held.Length / Folds;
            }
        }
        var best = Array.IndexOf(losses, losses.Min());
        var weights = new double[3];
        Minimise(known, strengths[best], hasDifficulty, weights);
        double[] predicted = [.. rows.Select(row => Sigmoid(weights[1] * row.Difficulty + weights[2]))];
        var mean = predicted.Average();
        return new(mean, StandardErrorOf(predicted), weights, strengths[best]);
    }

    /// <summary>The standard error of a mean.</summary>
    internal static double StandardErrorOf(IReadOnlyList<double> values)
    {
        if (values.Count < 2)
            return double.NaN;
        var mean = values.Average();
        return Math.Sqrt(values.Sum(value => (value - mean) * (value - mean)) / (values.Count - 1) / values.Count);
    }

    /// <summary>Minimises ‖w‖₁ + C Σ s ℓ one weight at a time: a Newton step of the smooth part, cut by the norm, halved until the sum
    /// falls (Yuan et al. 2010, JMLR 11:3183, §4, which liblinear follows); until no step is worth taking.</summary>
    /// <param name="w">The start, and the result.</param>
    internal static void Minimise(IReadOnlyList<LengthRow> rows, double strength, bool hasDifficulty, double[] w)
    {
        double[] scores = [.. rows.Select(row => Score(row, w))];
        for (var round = 0; round < 2000; round++)
        {
            var moved = 0.0;
            for (var k = 0; k < 3; k++)
            {
                if (k == 1 && !hasDifficulty)
                    continue;
                var (gradient, curvature) = (0.0, 1e-12);
                for (var i = 0; i < rows.Count; i++)
                {
                    var (x, p) = (Feature(rows[i], k), Sigmoid(scores[i]));
                    gradient += strength * rows[i].Weight * (p - rows[i].Preference) * x;
                    curvature += strength * rows[i].Weight * p * (1 - p) * x * x;
                }
                var step = gradient + 1 <= curvature * w[k] ? -(gradient + 1) / curvature
                    : gradient - 1 >= curvature * w[k] ? -(gradient - 1) / curvature : -w[k];
                // The model of second order knows nothing of what lies far: no step goes further than it can see.
                step = Math.Clamp(step, -10, 10);
                var before = Objective(rows, scores, strength, 0, k, w);
                for (var halvings = 0; halvings < 60 && step != 0; halvings++, step /= 2)
                    if (Objective(rows, scores, strength, step, k, w) < before)
                        break;
                    else if (halvings == 59)
                        step = 0;
                if (step == 0)
                    continue;
                w[k] += step;
                for (var i = 0; i < rows.Count; i++)
                    scores[i] += step * Feature(rows[i], k);
                moved = Math.Max(moved, Math.Abs(step) / (1 + Math.Abs(w[k])));
            }
            if (moved < 1e-10)
                return;
        }
        throw new InvalidOperationException("the regression of lengths does not come to an end");
    }

    // The sum with weight k moved.
    private static double Objective(IReadOnlyList<LengthRow> rows, double[] scores, double strength, double step, int k, double[] w)
    {
        var sum = 0.0;
        for (var i = 0; i < rows.Count; i++)
            sum += rows[i].Weight * Loss(rows[i].Preference, scores[i] + step * Feature(rows[i], k));
        return strength * sum + Math.Abs(w[k] + step);
    }

    private static double Feature(LengthRow row, int k) =>
        k switch { 0 => Math.Tanh(row.Length), 1 => row.Difficulty, _ => row.IsGamed ? 0 : 1 };

    private static double Score(LengthRow row, double[] w) => w[0] * Feature(row, 0) + w[1] * Feature(row, 1) + w[2] * Feature(row, 2);

    // −p log σ(z) − (1−p) log σ(−z) = p log1p(e^−z) + (1−p) log1p(e^z), in the form that cannot overflow.
    private static double Loss(double p, double z) => Math.Max(z, 0) - p * z + Log1P(Math.Exp(-Math.Abs(z)));

    private static double Log1P(double x) => x < 1e-5 ? x - x * x / 2 : Math.Log(1 + x);

    private static double Sigmoid(double z) => z >= 0 ? 1 / (1 + Math.Exp(-z)) : Math.Exp(z) / (1 + Math.Exp(z));

    /// <summary>The pairs of a model, by instruction.</summary>
    /// <param name="annotations">In the order of the evaluation set.</param>
    /// <param name="difficulty">Of each; empty where they are not known.</param>
    public static IReadOnlyList<LengthRow> Rows(IReadOnlyList<AlpacaAnnotation> annotations, IReadOnlyList<double> difficulty)
    {
        double[] lengths = [.. annotations.Select(annotation =>
            (double)(CodePoints(annotation.First.Output) - CodePoints(annotation.Second.Output)))];
        var deviation = StandardErrorOf(lengths) * Math.Sqrt(lengths.Length);
        return [.. annotations.Select((annotation, i) => new LengthRow(annotation.Preference - 1,
            deviation > 0 ? lengths[i] / deviation : 0, difficulty.Count > 0 ? difficulty[i] : 0, IsGamed: false, Weight: 1))];
    }

    /// <summary>A text's length as Python counts it.</summary>
    internal static int CodePoints(string text)
    {
        var count = 0;
        foreach (var letter in text)
            if (!char.IsLowSurrogate(letter))
                count++;
        return count;
    }

    /// <summary>The published pairs of the model that is compared with (<c>df_gamed.csv</c> of the data set <c>tatsu-lab/alpaca_eval</c>), and
    /// each instruction's difficulty.</summary>
    /// <exception cref="InputException">The file has another form.</exception>
    public static (IReadOnlyList<LengthRow> Gamed, IReadOnlyList<double> Difficulty) ReadGamed(string path)
    {
        var (gamed, difficulty) = (new List<LengthRow>(), new SortedDictionary<int, double>());
        foreach (var row in BenchRow.Read(path, "--length-control"))
        {
            var (index, hardness) = ((int)row.Number("index"), row.Number("instruction_difficulty"));
            difficulty.TryAdd(index, hardness);
            gamed.Add(new(row.Number("preference"), row.Number("std_delta_len"), hardness, IsGamed: true, GamedWeight));
        }
        if (difficulty.Keys.Where((index, i) => index != i).Any() || difficulty.Values.Any(double.IsNaN))
            throw new InputException($"--length-control {path} does not number its instructions from 0 on, each with its difficulty",
                fix: "name df_gamed.csv as it was published");
        return (gamed, [.. difficulty.Values]);
    }
}
