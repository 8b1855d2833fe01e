using Handbook.Testing;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests.Fused;

/// <summary>Adapters of a linear layer, in every precision.</summary>
public sealed class AdaptedLinearTests
{
    [Fact]
    public void An_adapter_agrees_with_its_formula_in_every_precision() => Case(40, 70, 48, 8).Check();

    [Fact]
    public void Large_layers_agree_where_products_are_shared_out() => Case(700, 256, 320, 16).Check();

    [Fact]
    public void Gradients_are_those_of_finite_differences() => Case(3, 5, 4, 2).CheckDifferences();

    [Fact]
    public void A_view_without_adapters_gives_the_bits_of_the_layer_itself()
    {
        using var scope = TensorScope.Enter();
        var x = Tensor.From([.. Enumerable.Range(0, 60).Select(i => (float)Math.Sin(i))], 5, 12);
        using var weight = new Parameter("w", Tensor.From([.. Enumerable.Range(0, 96).Select(i => (float)Math.Cos(i))], 8, 12),
            trainable: false);
        using var down = new Parameter("a", Tensor.Full(0.5, DType.Float32, 2, 12), trainable: false);
        using var up = new Parameter("b", Tensor.Full(0.25, DType.Float32, 8, 2), trainable: false);
        var adapted = weight.With([new LowRank { Down = down, Parts = [new() { Up = up, Scale = 2 }] }]);
        var bare = Linear.Forward(x, weight).ToArray<float>();

        Assert.NotEqual(bare, Linear.Forward(x, adapted).ToArray<float>());
        Lazily.Same(bare, Linear.Forward(x, adapted.With([])).ToArray<float>());
    }

    [Fact]
    public void Rows_computed_by_themselves_have_the_same_bits_in_any_company()
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        using var exact = RowExact.Enabled();
        var x = Tensor.From([.. Enumerable.Range(0, 60).Select(i => (float)Math.Sin(i))], 5, 12);
        using var weight = new Parameter("w", Tensor.From([.. Enumerable.Range(0, 96).Select(i => (float)Math.Cos(i))], 8, 12),
            trainable: false);
        using var down = new Parameter("a", Tensor.From([.. Enumerable.Range(0, 24).Select(i => (float)Math.Sin(3 * i))], 2, 12),
            trainable: false);
        using var up = new Parameter("b", Tensor.From([.. Enumerable.Range(0, 16).Select(i => (float)Math.Cos(5 * i))], 8, 2),
            trainable: false);
        using var magnitude = new Parameter("m", Tensor.Full(1.5, DType.Float32, 8), trainable: false);
        foreach (var scaled in (bool[])[false, true])
        {
            var adapted = weight.With([new LowRank { Down = down, Parts = [new() { Up = up, Scale = 2,
                Magnitude = scaled ? magnitude : null }] }]);
            var all = Linear.Forward(x, adapted).ToArray<float>();
            for (var i = 0; i < 5; i++)
                Lazily.Same(all[(i * 8)..(i * 8 + 8)], Linear.Forward(x.Narrow(0, i, 1), adapted).ToArray<float>());
        }
    }

    [Theory]
    [InlineData(0.05), InlineData(0.5)]
    public void Dropout_keeps_the_share_it_should_and_the_mean(double rate)
    {
        long[] keys = [.. Enumerable.Range(0, 200).Select(i => i * 7919L)];
        var kept = keys.Sum(key => Enumerable.Range(0, 500).Count(column => DropoutKernel.Keeps(key, column, rate))) / 1e5;

        Assert.Equal(1 - rate, kept, 0.01);
    }

    [Theory]
    [InlineData(16), InlineData(37)]
    public void The_vector_form_of_a_mask_is_the_plain_one(int width)
    {
        using var scope = TensorScope.Enter();
        var noise = new TokenNoise([1, -2, long.MaxValue]);
        foreach (var type in (DType[])[DType.Float32, DType.BFloat16, DType.Float64])
        {
            var x = Tensor.Full(2, type, 3, width);
            var y = Tensor.Zeros(type, 3, width);
            Torch.Devices.DeviceKernels.Of(x).Dropout(x, noise.For(9), 0.5, add: false, y);
            Torch.Devices.DeviceKernels.Of(x).Dropout(x, noise.For(9), 0.5, add: true, y);
            Assert.Equal(noise.For(9).Host.SelectMany(key => Enumerable.Range(0,
                width).Select(c => DropoutKernel.Keeps(key, c, 0.5) ? 8.0 : 0)),
                y.ToArray<double>());
        }
    }

    [Fact]
    public void A_token_has_its_mask_wherever_it_stands() =>
        Assert.Equal([new TokenNoise([5, 6, 7]).For(3).Host[2]], new TokenNoise([5, 6, 7]).Select([2]).For(3).Host);

    private static Agree Case(int rows, int inputs, int outputs, int rank) => new Agree
    {
        Fused = x => [Linear.Forward(x[0].Value, x[1].Parameter!.With([new LowRank
        {
            Down = x[2].Parameter!,
            Parts = [new() { Up = x[3].Parameter!, Scale = 2 }],
        }]))],
        Plain = x => [x[0].Value.Linear(x[1].Value + 2 * x[3].Value.Mm(x[2].Value))],
    }.With(Role.Product, 1, rows, inputs).With(Role.Frozen, 0.2, outputs, inputs).With(Role.Weight, 0.2, rank, inputs)
        .With(Role.Weight, 0.2, outputs, rank);
}
