using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Quantised;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>Weights that are kept as codes, on the stand-in for a GPU and on the CPU.</summary>
[Trait("needs", "nvrtc")]
public sealed class CodesOnDeviceTests
{
    [Theory, InlineData("nf4", DType.Float32), InlineData("fp4, double", DType.BFloat16), InlineData("int8", DType.Float32)]
    public void Products_with_codes_go_on_a_device_as_on_the_cpu(string format, DType compute)
    {
        var device = StandInDevice.Need();
        using var scope = TensorScope.Enter();
        using var codes = Quantised.Some.Quantised(format, Quantised.Some.Matrix(33, 70), compute);
        var (x, bias, dy) = (Quantised.Some.Matrix(9, 70, 2).To(compute), Quantised.Some.Matrix(1, 33, 3).View(33).To(compute),
            Quantised.Some.Matrix(9, 33, 4).To(compute));
        // the values themselves to the bit
        Lazily.Same(codes.Tile(compute, 3, 20, 8, 50).ToArray<float>(), codes.Tile(compute, 3, 20, 8, 50, device: device).ToArray<float>());
        var before = StandInDevice.Waits;
        Tensor[] there = [codes.Linear(x.To(device), bias.To(device)), codes.Of(dy.To(device)), codes.RowByRow(x.To(device), bias.To(device), compute)];
        Assert.Equal(before, StandInDevice.Waits);
        Tensor[] here = [codes.Linear(x, bias), codes.Of(dy), codes.RowByRow(x, bias, compute)];
        foreach (var (expected, actual) in here.Zip(there))
        {
            Assert.Equal(device, actual.Device);
            var numbers = expected.ToArray<double>();
            Kernels.Some.Close(numbers, actual.ToArray<double>(), (compute == DType.Float32 ? 1e-5 : 0.02) * (1 + numbers.Max(Math.Abs)));
        }
    }

    [Fact]
    public void Rounded_inputs_of_int8_are_refused_by_name()
    {
        var device = StandInDevice.Need();
        using var scope = TensorScope.Enter();
        using var codes = Quantised.Some.Quantised("int8", Quantised.Some.Matrix(4, 8), DType.Float32, roundsInputs: true);
        Assert.StartsWith("int8 weights whose inputs are rounded as well", Assert.Throws<NotSupportedException>(() =>
            codes.Linear(Tensor.Zeros(DType.Float32, device, 2, 8), null)).Message);
    }
}
