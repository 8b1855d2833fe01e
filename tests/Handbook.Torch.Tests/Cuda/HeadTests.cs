using Handbook.Testing;
using Handbook.Torch.Cuda;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>head.cu</c> on the CPU against the plain version in float64.</summary>
public sealed unsafe class HeadTests
{
    private sealed record Case(int Vocabulary, int TileWidth, double Scale = 1, double Cap = 0, double Smoothing = 0);

    private static readonly int[] s_targets = [3, -1, 0, 12];
    private static readonly double[] s_weights = [1, 2, 0, -0.5];

    private static int Rows => s_targets.Length;

    [Theory]
    [InlineData(13, 13, 1, 0, 0), InlineData(40, 16, 0.5, 0, 0.1), InlineData(333, 100, 1, 2, 0), InlineData(2500, 2500, 1, 30, 0.1),
        InlineData(2500, 2400, 2, 0, 0)]
    public void Statistics_and_gradient_agree_with_the_plain_version(int vocabulary, int tile, double scale, double cap, double smoothing)
    {
        Compare<float>(new(vocabulary, tile, scale, cap, smoothing));
        Compare<BFloat16>(new(vocabulary, tile, scale, cap, smoothing));
        Compare<Half>(new(vocabulary, tile, scale, cap, smoothing));
    }

    private static void Compare<T>(Case of) where T : unmanaged
    {
        var logits = Some.Rounded<T>(Some.Normal(1, Rows * of.Vocabulary, 3));
        for (var i = 0; i < of.Vocabulary; i += 5)
            logits[2 * of.Vocabulary + i] = double.NegativeInfinity;        // a probability of 0, the target's among them
        Array.Fill(logits, double.NegativeInfinity, 3 * of.Vocabulary, of.Vocabulary > of.TileWidth ? of.TileWidth / 2 : 2);
        var expected = Plain(of, logits);
        var actual = Emulated.Everywhere(() => Emulate<T>(of, logits), allBarriers: of.Vocabulary == 2500);
        for (var i = 0; i < 5; i++)
            Finite(expected[i], actual[i], 3e-6, 3e-6);
        Assert.Equal(expected[5], actual[5]);
        Finite(expected[6], actual[6], 2e-6, Math.Max(4e-6, Some.Step<T>()));
    }

    private static void Finite(double[] expected, double[] actual, double absolute, double relative)
    {
        for (var i = 0; i < expected.Length; i++)
            Lazily.True(expected[i].Equals(actual[i]) || Math.Abs(expected[i] - actual[i]) <= absolute + relative * Math.Abs(expected[i]),
                $"[{i}]: expected {expected[i]:R}, was {actual[i]:R}");
    }

    private static double[][] Emulate<T>(Case of, double[] logits) where T : unmanaged
    {
        var tiles = (of.Vocabulary + of.TileWidth - 1) / of.TileWidth;
        using Rows<T> x = new(logits);
        using Rows<double> states = new(Rows * CudaHead.StateSize), logProb = new(Rows), lse = new(Rows), entropy = new(Rows), mean = new(Rows),
            squares = new(Rows), weights = new(s_weights);
        var best = new int[Rows];
        fixed (int* targets = s_targets, places = best)
        {
            Emulated.Run(CudaHead.Begin(states.Pointer, Rows));
            for (var tile = 0; tile < tiles; tile++)
                Emulated.Run(CudaHead.Tile(x.Pointer + First(tile), of.Vocabulary, targets, states.Pointer, First(tile), Rows, Width(tile),
                    (float)of.Scale, (float)of.Cap));
            Emulated.Run(CudaHead.Finish(states.Pointer, targets, logProb.Pointer, lse.Pointer, entropy.Pointer, mean.Pointer, squares.Pointer,
                places, Rows, of.Vocabulary));
            for (var tile = 0; tile < tiles; tile++)
                Emulated.Run(CudaHead.Gradient(x.Pointer + First(tile), of.Vocabulary, targets, weights.Pointer, lse.Pointer, First(tile), Rows,
                    Width(tile), of.Vocabulary, (float)of.Scale, (float)of.Cap, (float)of.Smoothing));
        }
        return [logProb.ToArray(), lse.ToArray(), entropy.ToArray(), mean.ToArray(), squares.ToArray(), [.. best.Select(i => (double)i)],
            x.ToArray()];

        int First(int tile) => tile * of.TileWidth;

        int Width(int tile) => Math.Min(of.TileWidth, of.Vocabulary - First(tile));
    }

    private static double[][] Plain(Case of, double[] logits)
    {
        using Rows<double> x = new(logits), logProb = new(Rows), lse = new(Rows), entropy = new(Rows), mean = new(Rows), squares = new(Rows),
            weights = new(s_weights);
        var best = new int[Rows];
        fixed (int* targets = s_targets, places = best)
        {
            var statistics = new CrossEntropyRows<double>
            {
                Logits = x.Pointer,
                RowStride = of.Vocabulary,
                Rows = Rows,
                Vocabulary = of.Vocabulary,
                Targets = targets,
                Scale = of.Scale,
                SoftCap = of.Cap,
                LogProb = logProb.Pointer,
                LogSumExp = lse.Pointer,
                Entropy = entropy.Pointer,
                MeanLogit = mean.Pointer,
                LogSquares = squares.Pointer,
                ArgMax = places,
            };
            var gradient = new CrossEntropyRows<double>
            {
                Logits = x.Pointer,
                RowStride = of.Vocabulary,
                Rows = Rows,
                Vocabulary = of.Vocabulary,
                Targets = targets,
                Weights = weights.Pointer,
                Gradient = true,
                Scale = of.Scale,
                SoftCap = of.Cap,
                LabelSmoothing = of.Smoothing,
            };
            for (var row = 0; row < Rows; row++)
            {
                CrossEntropyPlain.Row(statistics, row);
                CrossEntropyPlain.Row(gradient, row);
            }
        }
        return [logProb.ToArray(), lse.ToArray(), entropy.ToArray(), mean.ToArray(), squares.ToArray(), [.. best.Select(i => (double)i)],
            x.ToArray()];
    }

    [Theory, InlineData(double.NaN), InlineData(double.PositiveInfinity)]
    public void A_logit_that_is_no_number_makes_its_row_none(double value)
    {
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<float> x = new([1, 2, value, 0, 1, 2, 3, 0]);
            using Rows<double> states = new(2 * CudaHead.StateSize), logProb = new(2), lse = new(2);
            int[] targets = [0, 0];
            fixed (int* at = targets)
            {
                Emulated.Run(CudaHead.Begin(states.Pointer, 2));
                Emulated.Run(CudaHead.Tile(x.Pointer, 4, at, states.Pointer, 0, 2, 4, 1, 0));
                Emulated.Run(CudaHead.Finish(states.Pointer, at, logProb.Pointer, lse.Pointer, null, null, null, null, 2, 4));
            }
            return [logProb.ToArray(), lse.ToArray()];
        }, allBarriers: false);
        Assert.All(actual, values => Assert.Equal((true, false), (double.IsNaN(values[0]), double.IsNaN(values[1]))));
    }
}
