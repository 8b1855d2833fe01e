using Handbook.Torch.Cuda;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>norms.cu</c> on the CPU against the kernels of the CPU in float64.</summary>
public sealed unsafe class NormTests
{
    private const double Epsilon = 1e-5;

    private sealed record Case(int Rows, int Width, bool Layer, bool Delta, int Offset, int Turns)
    {
        public bool Incoming => Delta;

        public int Elements => Rows * Width;
    }

    private static double[][] Emulate<T>(Case of, double[][] input) where T : unmanaged
    {
        int n = of.Elements, d = of.Width * of.Turns;
        using Rows<float> residual = new(input[0]), weight = new(input[2]), bias = new(input[3]), mean = new(of.Rows), rstd = new(of.Rows);
        using Rows<float> sum = new(n), incoming = new(input[5]), dsum = new(n), dw = new(d), db = new(d);
        using Rows<T> delta = new(input[1]), dy = new(input[4]), output = new(n), ddelta = new(n);
        dw[0] = 10;                                                             // gradients are added to what is there
        var (pieces, _) = CudaNorms.Pieces(of.Rows, of.Turns);
        using Rows<float> weightParts = new(pieces * d), biasParts = new(pieces * d);
        var means = of.Layer ? mean.Pointer : null;
        var stream = of.Delta ? sum.Pointer : residual.Pointer;
        Emulated.Run(CudaNorms.Forward(residual.Pointer, of.Delta ? delta.Pointer : null, sum.Pointer, weight.Pointer,
            of.Layer ? bias.Pointer : null, output.Pointer, means, rstd.Pointer, of.Rows, of.Width, of.Turns, of.Offset, (float)Epsilon));
        Emulated.Run(CudaNorms.Backward(dy.Pointer, stream, weight.Pointer, means, rstd.Pointer, of.Incoming ? incoming.Pointer : null,
            dsum.Pointer, ddelta.Pointer, of.Rows, of.Width, of.Turns, of.Offset));
        Emulated.Run(CudaNorms.WeightBackward(dy.Pointer, stream, means, rstd.Pointer, weightParts.Pointer,
            of.Layer ? biasParts.Pointer : null, of.Rows, of.Width, of.Turns));
        Emulated.Run(CudaNorms.AddParts(weightParts.Pointer, dw.Pointer, pieces, d));
        if (of.Layer)
            Emulated.Run(CudaNorms.AddParts(biasParts.Pointer, db.Pointer, pieces, d));
        return [of.Delta ? sum.ToArray() : residual.ToArray(), output.ToArray(), dsum.ToArray(), ddelta.ToArray(), dw.ToArray(), db.ToArray()];
    }

    private static double[][] Plain(Case of, double[][] input)
    {
        int n = of.Elements, d = of.Width * of.Turns;
        using Rows<double> residual = new(input[0]), delta = new(input[1]), weight = new(input[2]), bias = new(input[3]), dy = new(input[4]),
            incoming = new(input[5]);
        using Rows<double> sum = new(n), output = new(n), mean = new(of.Rows), rstd = new(of.Rows), dsum = new(n), ddelta = new(n), dw = new(d),
            db = new(d);
        dw[0] = 10;
        var added = of.Delta ? delta.Pointer : null;
        var stream = of.Delta ? sum.Pointer : residual.Pointer;
        var arriving = of.Incoming ? incoming.Pointer : null;
        if (of.Layer)
        {
            LayerNormKernel.Forward(residual.Pointer, added, sum.Pointer, weight.Pointer, bias.Pointer, output.Pointer, mean.Pointer,
                rstd.Pointer, of.Rows, of.Width, Epsilon, of.Offset, of.Turns);
            LayerNormKernel.Backward(dy.Pointer, stream, weight.Pointer, mean.Pointer, rstd.Pointer, arriving, dsum.Pointer, ddelta.Pointer,
                dw.Pointer, db.Pointer, of.Rows, of.Width, of.Offset, of.Turns);
        }
        else
        {
            RmsNormKernel.Forward(residual.Pointer, added, sum.Pointer, weight.Pointer, output.Pointer, rstd.Pointer, of.Rows, of.Width, Epsilon,
                of.Offset, of.Turns);
            RmsNormKernel.Backward(dy.Pointer, stream, weight.Pointer, rstd.Pointer, arriving, dsum.Pointer, ddelta.Pointer, dw.Pointer,
                of.Rows, of.Width, of.Offset, of.Turns);
        }
        return [of.Delta ? sum.ToArray() : residual.ToArray(), output.ToArray(), dsum.ToArray(), ddelta.ToArray(), dw.ToArray(), db.ToArray()];
    }

    private static void Compare<T>(Case of) where T : unmanaged
    {
        int n = of.Elements, d = of.Width * of.Turns;
        double[][] input = [Some.Rounded<float>(Some.Normal(1, n)), Some.Rounded<T>(Some.Normal(2, n)), Some.Rounded<float>(Some.Normal(3, d)),
            Some.Rounded<float>(Some.Normal(4, d)), Some.Rounded<T>(Some.Normal(5, n)), Some.Rounded<float>(Some.Normal(6, n))];
        var expected = Plain(of, input);
        var actual = Emulated.Everywhere(() => Emulate<T>(of, input), allBarriers: of.Width > 512);
        var magnified = of.Width < 20 ? 1e-4 : 1e-5;        // narrow rows can lie close together: 1/σ magnifies the rounding
        Some.Close(expected[0], actual[0], 1e-6);
        Some.Close(expected[1], actual[1], magnified, Some.Step<T>());
        Some.Close(expected[2], actual[2], magnified, 1e-5);
        Some.Close(expected[3], actual[3], magnified, Math.Max(1e-5, Some.Step<T>()));
        Some.Close(expected[4], actual[4], magnified + 2e-6 * of.Rows, 1e-5);
        Some.Close(expected[5], actual[5], 1e-6 * of.Rows, 1e-5);
    }

    [Theory]
    [InlineData(1, 3), InlineData(5, 16), InlineData(2, 33), InlineData(70, 40), InlineData(3, 600)]
    public void Norms_agree_with_the_plain_version(int rows, int width)
    {
        foreach (var layer in new[] { false, true })
            foreach (var delta in new[] { false, true })
            {
                Compare<float>(new(rows, width, layer, delta, 0, 1));
                Compare<BFloat16>(new(rows, width, layer, delta, 1, 3));
                Compare<Half>(new(rows, width, layer, delta, 0, 2));
            }
    }
}
