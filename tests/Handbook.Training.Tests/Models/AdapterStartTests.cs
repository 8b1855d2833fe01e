using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Torch.Quantised;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Models;

/// <summary>How adapters begin, and DoRA, against their definitions in float64.</summary>
[Collection("tensors")]
public sealed class AdapterStartTests : IDisposable
{
    private const int Rank = 2;

    private readonly TemporaryFolder _files = new();

    public AdapterStartTests()
    {
        Tiny.Config("llama").Save(_files.Path);
        WeightFilesWriter.Save(_files.Path, NewModel.Tensors(Tiny.Config("llama"), 7, DType.Float32));
    }

    public void Dispose() => _files.Dispose();

    [Theory]
    [InlineData("Default", false), InlineData("Gaussian", false), InlineData("Pissa", false), InlineData("Olora", false)]
    [InlineData("Default", true)]
    public void A_model_with_a_new_adapter_is_the_model(string init, bool dora)
    {
        using var model = Load(Enum.Parse<AdapterInit>(init), dora);
        var (with, without) = (Logits(model), Logits(model.With()));
        Assert.All(with.Zip(without), pair => Assert.Equal(pair.Second, pair.First, 1e-12));
    }

    [Theory] // what rounding takes from B·A, it takes from what was taken out of the weight too; 1e-5: float32
    [InlineData("Default", false), InlineData("Pissa", false), InlineData("Olora", false), InlineData("Pissa", true)]
    public void A_model_with_a_new_adapter_in_bfloat16_is_the_model(string init, bool codes)
    {
        using var model = Load(Enum.Parse<AdapterInit>(init), narrow: true, codes: codes);
        var (with, without) = (Logits(model), Logits(model.With()));
        Assert.All(with.Zip(without), pair => Assert.Equal(pair.Second, pair.First, 1e-5));
    }

    [Fact]
    public void PiSSA_takes_the_principal_part_out_of_the_weight()
    {
        using var model = Load(AdapterInit.Pissa);
        var (weight, up, down, scale) = Parts(model);
        var residual = Minus(weight, Scaled(Product(up, down), scale));
        // s·B·A is made of singular triples of W: what is left is orthogonal to it on both sides, and none of its own is larger
        Assert.All(Product(Turned(up), residual).Cast<double>(), x => Assert.Equal(0, x, 1e-10));
        Assert.All(Product(residual, Turned(down)).Cast<double>(), x => Assert.Equal(0, x, 1e-10));
        var taken = Product(Turned(up), up);        // √S/s on both sides
        var other = Product(down, Turned(down));
        for (var i = 0; i < Rank; i++)
            for (var j = 0; j < Rank; j++)
            {
                Assert.Equal(taken[i, j], other[i, j], 1e-10);
                Assert.Equal(i == j ? taken[i, i] : 0, taken[i, j], 1e-10);
            }
        Assert.True(Norm(residual) <= scale * taken[Rank - 1, Rank - 1] + 1e-10);
    }

    [Fact]
    public void OLoRA_takes_the_first_columns_of_the_QR_decomposition()
    {
        using var model = Load(AdapterInit.Olora);
        var (weight, up, down, _) = Parts(model);
        var unit = Product(Turned(up), up);
        for (var i = 0; i < Rank; i++)
            for (var j = 0; j < Rank; j++)
                Assert.Equal(i == j ? 1 : 0, unit[i, j], 1e-10);
        var expected = Product(Turned(up), weight);
        for (var i = 0; i < Rank; i++)
            for (var j = 0; j < weight.GetLength(1); j++)
            {
                Assert.Equal(expected[i, j], down[i, j], 1e-10);
                if (j < i)
                    Assert.Equal(0, down[i, j], 1e-10);       // triangular
            }
    }

    [Fact]
    public void DoRA_scales_rows_to_their_magnitude()
    {
        using var model = Load(AdapterInit.Default, dora: true);
        Disturb(model);
        var (weight, up, down, scale) = Parts(model);
        var magnitude = model.Parameters[Layer(model).Targets[0].Magnitude!.Name].Value.ToArray<double>();
        var sum = Minus(weight, Scaled(Product(up, down), -scale));
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var x = Enumerable.Range(0, weight.GetLength(1)).Select(i => Math.Sin(i + 1)).ToArray();
        var actual = AdaptedLinear.Forward(Tensor.From(x, 1, x.Length), model.Parameters[Layer(model).Base.Name], null,
            null).ToArray<double>();
        for (var row = 0; row < weight.GetLength(0); row++)
        {
            var (norm, product) = (0.0, 0.0);
            for (var i = 0; i < x.Length; i++)
                (norm, product) = (norm + sum[row, i] * sum[row, i], product + sum[row, i] * x[i]);
            Assert.Equal(magnitude[row] / Math.Sqrt(norm) * product, actual[row], 1e-12);
        }
    }

    private Decoder Load(AdapterInit init, bool dora = false, bool narrow = false, bool codes = false)
    {
        var config = PublishedConfig.Load(_files.Path);
        using var weights = ModelWeights.Open(_files.Path, config, fused: true);
        var layout = AdapterLayout.Of("default", new()
        {
            Rank = Rank,
            Alpha = 3,
            Init = init,
            UseDora = dora,
            Targets = ModuleNames.Of(ModuleNames.AllLinearWord)
        }, weights.Family, weights.Config, weights.Parameters, new NewAdapter(1), "here",
            trained: true) with
        { IsBFloat16 = narrow };
        return Decoder.Load(weights, ParameterPlan.Frozen(weights, narrow ? DType.Float32 : DType.Float64,
            codes ? new(new(QuantisedKind.Nf4), DType.Float32) : null).With([layout]));
    }

    private static void Disturb(Decoder model)
    {
        var random = new Random(1);
        foreach (var bucket in model.Parameters.Trained)
            foreach (ref var value in bucket.Values.AsSpan<double>())
                value += random.NextDouble() - 0.5;
        model.Parameters.RefreshCompute();
    }

    private static AdapterLayer Layer(Decoder model) => model.Parameters.Adapters[0].Layers[0];

    /// <summary>W, B, A and s of the first layer, q_proj.</summary>
    private static (double[,] Weight, double[,] Up, double[,] Down, double Scale) Parts(Decoder model)
    {
        var (layer, target) = (Layer(model), Layer(model).Targets[0]);
        var rows = target.Up.Shape[0];
        using var scope = TensorScope.Enter();
        return (Matrix(model.Parameters[layer.Base.Name].Value.Detach().Narrow(0, target.RowStart, rows)),
            Matrix(model.Parameters[target.Up.Name].Value.Detach()),
            Matrix(model.Parameters[layer.Down.Name].Value.Detach().Narrow(0, target.RankStart, target.Rank)), target.Scale);
    }

    private static double[,] Matrix(Tensor values)
    {
        var (flat, columns) = (values.Contiguous().ToArray<double>(), (int)values.Size(1));
        var result = new double[flat.Length / columns, columns];
        Buffer.BlockCopy(flat, 0, result, 0, flat.Length * sizeof(double));
        return result;
    }

    private static double[] Logits(Decoder model)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        return model.Logits(StreamLayout.Of([(int[])[3, 1, 4, 1, 5]])).To(DType.Float64).ToArray<double>();
    }

    private static double[,] Product(double[,] a, double[,] b) => Make(a.GetLength(0), b.GetLength(1),
        (i, j) => Enumerable.Range(0, b.GetLength(0)).Sum(k => a[i, k] * b[k, j]));

    private static double[,] Turned(double[,] a) => Make(a.GetLength(1), a.GetLength(0), (i, j) => a[j, i]);

    private static double[,] Scaled(double[,] a, double factor) => Make(a.GetLength(0), a.GetLength(1), (i, j) => a[i, j] * factor);

    private static double[,] Minus(double[,] a, double[,] b) => Make(a.GetLength(0), a.GetLength(1), (i, j) => a[i, j] - b[i, j]);

    private static double[,] Make(int rows, int columns, Func<int, int, double> value)
    {
        var result = new double[rows, columns];
        for (var i = 0; i < rows; i++)
            for (var j = 0; j < columns; j++)
                result[i, j] = value(i, j);
        return result;
    }

    /// <summary>The largest singular value, by power iteration.</summary>
    private static double Norm(double[,] a)
    {
        var square = Product(Turned(a), a);
        var x = Make(square.GetLength(0), 1, (i, _) => Math.Cos(i));
        var length = 0.0;
        for (var step = 0; step < 500; step++)
        {
            x = Product(square, x);
            length = Math.Sqrt(x.Cast<double>().Sum(value => value * value));
            x = Scaled(x, 1 / length);
        }
        return Math.Sqrt(length);
    }
}
