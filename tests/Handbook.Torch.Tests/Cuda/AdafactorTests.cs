using Handbook.Torch.Cuda;
using Handbook.Torch.Kernels;
using Handbook.Torch.Tests.Kernels;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The text of <c>adafactor.cu</c> on the CPU against the kernel of the CPU.</summary>
public sealed unsafe class AdafactorTests
{
    private const int Steps = 3;

    [Theory]
    [InlineData(70, 300, false, 1, 0), InlineData(5, 7, true, 0.5, 0.1), InlineData(1, 300, false, 1, 0.1), InlineData(1, 9, true, 0.3, 0)]
    public void Steps_go_the_way_of_the_cpu(int rows, int width, bool relative, double clip, double decay)
    {
        AdafactorStep At(int t) => new(0.05, t) { ClipThreshold = clip, WeightDecay = decay, ScaleParameter = relative };
        var (count, isVector) = (rows * width, rows == 1);
        var start = Some.Rounded<float>(Some.Normal(1, count));
        double[][] slopes = [.. Enumerable.Range(0, Steps).Select(t => Some.Rounded<float>(Some.Normal(2 + t, count, 0.3)))];
        using Rows<float> p = new(start), r = new(isVector ? width : rows), c = new(width);
        for (var t = 0; t < Steps; t++)
        {
            using Rows<float> g = new(slopes[t]);
            if (isVector)
                AdafactorKernel.Step(At(t + 1), p.Pointer, g.Pointer, r.Pointer, count, 0.5);
            else
                AdafactorKernel.Step(At(t + 1), p.Pointer, g.Pointer, r.Pointer, c.Pointer, rows, width, 0.5);
        }
        var actual = Emulated.Everywhere(() =>
        {
            using Rows<float> parameters = new(start), row = new(r.Count), column = new(width), factor = new([0.25]),
                scratch = new((int)CudaAdafactor.ScratchFloats(rows, width));
            using Rows<double> sums = new((int)CudaAdafactor.ScratchDoubles(rows, width));
            using Rows<BFloat16> copy = new(count);
            for (var t = 0; t < Steps; t++)
            {
                using Rows<float> g = new(slopes[t]);
                var a = new CudaAdafactorArguments
                {
                    Parameters = parameters.Pointer,
                    Gradients = g.Pointer,
                    RowState = row.Pointer,
                    ColumnState = isVector ? null : column.Pointer,
                    Copy = copy.Pointer,
                    Factor = factor.Pointer,
                    Scratch = scratch.Pointer,
                    Sums = sums.Pointer,
                    Rows = rows,
                    Width = width,
                };
                foreach (var launch in isVector ? CudaAdafactor.VectorStep(At(t + 1), a, 2) : CudaAdafactor.MatrixStep(At(t + 1), a, 2))
                    Emulated.Run(launch);
            }
            return [parameters.ToArray(), row.ToArray(), column.ToArray(), copy.ToArray()];
        }, allBarriers: rows == 70, schedules: rows == 70 ? 20 : 5);
        Some.Close(p.ToArray(), actual[0], 2e-6);
        Some.Close(r.ToArray(), actual[1], 0, 3e-6);
        Some.Close(c.ToArray(), actual[2], 0, 3e-6);
        Assert.Equal(Some.Rounded<BFloat16>(actual[0]), actual[3]);
    }
}
