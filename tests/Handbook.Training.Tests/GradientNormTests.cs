using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Training.Tests;

[Collection("tensors")]
public sealed class GradientNormTests
{
    [Fact] // √(3² + 4²) = 5; what an earlier step left in the memory of b is not part of this one
    public void What_no_gradient_reached_in_this_step_counts_as_zero_and_stays_as_it_is()
    {
        using var parameters = ModelParameters.Allocate(ParameterPlan.Trained([Weight("a"), Weight("b")], DType.Float32, DType.Float32));
        parameters["b"].Gradient!.FillInPlace(100);
        parameters["a"].Gradient!.AsSpan<float>()[0] = 3;
        parameters["a"].Gradient!.AsSpan<float>()[1] = 4;
        parameters["a"].HasGradient = true;
        Assert.Equal(5, GradientNorm.Of(parameters), 1e-12);
        Assert.Equal(100, parameters["b"].Gradient!.AsSpan<float>()[0]);
        Assert.False(parameters["b"].HasGradient);

        parameters.SettleGradients();
        Assert.Equal(0, parameters["b"].Gradient!.AsSpan<float>()[0]);
        Assert.Equal(5, GradientNorm.Of(parameters), 1e-12);
    }

    private static ParameterSpec Weight(string name) =>
        new(name, [2], [new ParameterPart(name, [], 0, 0, 2, false)], ParameterKind.Weight, 0);
}
