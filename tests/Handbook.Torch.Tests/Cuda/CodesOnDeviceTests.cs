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

    [Theory, InlineData(DType.Float32), InlineData(DType.BFloat16)]
    public void Rounded_inputs_of_int8_are_those_of_the_cpu(DType compute)
    {
        var device = StandInDevice.Need();
        using var scope = TensorScope.Enter();
        using var codes = Quantised.Some.Quantised("int8", Quantised.Some.Matrix(33, 70), compute, roundsInputs: true);
        var numbers = Quantised.Some.Matrix(9, 70, 2);
        numbers.Narrow(0, 3, 1).ZeroInPlace();
        numbers.Narrow(0, 5, 1).Narrow(1, 11, 1).CopyFrom(Tensor.Full(-7.25, DType.Float32, 1, 1));       // an outlier
        var (x, bias) = (numbers.To(compute), Quantised.Some.Matrix(1, 33, 3).View(33).To(compute));
        // what is rounded, to the bit
        Lazily.Same(Int8Product.RoundedByRow(numbers).ToArray<float>(), Int8Product.RoundedByRow(numbers.To(device)).ToArray<float>());
        var before = StandInDevice.Waits;
        Tensor[] there = [codes.Linear(x.To(device), bias.To(device)), codes.RowByRow(x.To(device), bias.To(device), compute)];
        Assert.Equal(before, StandInDevice.Waits);
        Tensor[] here = [codes.Linear(x, bias), codes.RowByRow(x, bias, compute)];
        foreach (var (expected, actual) in here.Zip(there))
        {
            var wanted = expected.ToArray<double>();
            Kernels.Some.Close(wanted, actual.ToArray<double>(), (compute == DType.Float32 ? 1e-5 : 0.01) * (1 + wanted.Max(Math.Abs)));
        }
        Assert.NotEqual(here[0].ToArray<float>(), here[1].ToArray<float>());
    }
}
