using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Adapters;

/// <summary>Combinations of adapters against their definitions, computed element by element in float64.</summary>
[Collection("tensors")]
public sealed class CombinedAdapterTests : IDisposable
{
    private const int Out = 6, In = 5;
    private const string Down = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    private const string Up = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

    private readonly TemporaryFolder _folder = new();
    private readonly double[][,] _downs = new double[3][,], _ups = new double[3][,];

    [Fact]
    public void Linear_sums_both_factors_with_the_root_of_the_weight()
    {
        var (down, up) = Combine("linear", new(), (Make(0, 2, alpha: 4), 0.7), (Make(1, 2, alpha: 1), 0.3));
        AssertSame(Sum(_downs, Math.Sqrt(0.7 * 2), Math.Sqrt(0.3 * 0.5)), down);
        AssertSame(Sum(_ups, Math.Sqrt(0.7 * 2), Math.Sqrt(0.3 * 0.5)), up);
    }

    /// <summary>What PEFT saves beside an adapter: the model's own table of an embedding that has one, and those of a resized
    /// vocabulary.</summary>
    [Theory]
    [InlineData("embed_tokens.base_layer"), InlineData("embed_tokens"), InlineData("embed_tokens.original_module")]
    public void The_models_own_tables_are_handed_on_where_the_adapters_agree(string place)
    {
        var table = $"base_model.model.model.{place}.weight";
        var (first, second) = (Make(0, 2, alpha: 4), Make(1, 2, alpha: 1));
        Add(first, [0.5f, 1, 2, 3]);
        Add(second, [0.5f, 1, 2, 3]);
        var (tensors, _) = Both();
        using var written = new MemoryStream();
        tensors.Single(tensor => tensor.Info.Name == table).Write(written);
        Assert.Equal(BitConverter.GetBytes(0.5f), written.ToArray()[..4]);
        Add(second, [0.25f, 1, 2, 3]);
        Assert.Equal($"the adapters hold different tensors \"{table}\"", Assert.Throws<InputException>(() => Both()).What);
        Add(second, [0.5f, 1, 2, 3, 4, 5]);
        Assert.Equal($"the adapters hold different tensors \"{table}\" ([2, 2] and [3, 2])",
            Assert.Throws<InputException>(() => Both()).What);
        if (place != "embed_tokens")
            return;
        var config = Path.Combine(first, AdapterConfigFile.Name);
        File.WriteAllText(config, File.ReadAllText(config).Insert(1, "\"modules_to_save\": [\"embed_tokens\"], "));
        Assert.Contains($"tensor \"{table}\" is no A or B of a layer", Assert.Throws<InputException>(() => Both()).What);

        (IReadOnlyList<TensorToSave>, AdapterConfig) Both() => CombinedAdapter.Of([(first, 1), (second, 1)], Some.Llama(),
            CombinationMethod.All.First(method => method.Name == "cat"), new(), _ => { });

        void Add(string folder, float[] values)
        {
            var file = Path.Combine(folder, AdapterFolder.Weights);
            var tensors = new List<TensorToSave> { TensorToSave.From(table, values, values.Length / 2, 2) };
            using (var files = WeightFiles.Open(file))
                tensors.AddRange(files.Names.Where(name => name != table)
                    .Select(name => TensorToSave.From(name, files.Read(name).Singles(), [.. files.Info(name).Shape])));
            using var stream = File.Create(file);
            SafetensorsWriter.Write(stream, tensors, new Dictionary<string, string> { ["format"] = "pt" });
        }
    }

    [Fact]
    public void A_negative_weight_subtracts()
    {
        var (down, up) = Combine("linear", new(), (Make(0, 2, alpha: 2), 1), (Make(1, 2, alpha: 2), -0.5));
        AssertSame(Sum(_downs, 1, Math.Sqrt(0.5)), down);
        AssertSame(Sum(_ups, 1, -Math.Sqrt(0.5)), up);
    }

    [Theory] // the ranks differ
    [InlineData("cat", null)]
    [InlineData("svd", 5)]
    public void Cat_and_svd_of_enough_ranks_are_the_exact_sum(string method, int? rank)
    {
        var (down, up) = Combine(method, new() { Rank = rank }, (Make(0, 2, alpha: 4), 0.7), (Make(1, 3, alpha: 6, rslora: true), -0.4));
        AssertSame(Change(0.7 * 2, -0.4 * 6 / Math.Sqrt(3)), Product(up, down));
    }

    [Fact] // Eckart and Young: what is left out is the root of the squares of the smaller singular values
    public void Svd_of_a_lower_rank_is_the_nearest_to_the_sum()
    {
        var (down, up) = Combine("svd", new() { Rank = 2 }, (Make(0, 2, alpha: 2), 0.7), (Make(1, 2, alpha: 2), 0.6));
        Assert.Equal(2, down.GetLength(0));
        var exact = Change(0.7, 0.6);
        var (_, values, _) = Tensor.From(exact.Cast<double>().ToArray(), Out, In).Svd();
        var singular = values.ToArray<double>();
        var product = Product(up, down);
        var distance = Math.Sqrt(Each(Out, In, (r, c) => Math.Pow(exact[r, c] - product[r, c], 2)).Cast<double>().Sum());
        Assert.Equal(Math.Sqrt(singular[2..].Sum(value => value * value)), distance, 1e-6);
    }

    [Theory] // arXiv:2306.01708, §3
    [InlineData(false, 0.4)]
    [InlineData(true, 0.4)]
    [InlineData(false, 1.0)]
    public void Ties_trims_elects_and_averages_what_agrees(bool frequency, double density)
    {
        var (down, up) = Combine("ties", new() { Density = density, SignsByFrequency = frequency },
            (Make(0, 2, alpha: 2), 0.5), (Make(1, 2, alpha: 2), 0.8), (Make(2, 2, alpha: 2), 0.3));
        double[] weights = [Math.Sqrt(0.5), Math.Sqrt(0.8), Math.Sqrt(0.3)];
        AssertSame(Ties(_downs, weights, density, frequency), down);
        AssertSame(Ties(_ups, weights, density, frequency), up);
    }

    [Fact]
    public void Ties_svd_elects_in_the_whole_changes()
    {
        var (down, up) = Combine("ties_svd", new() { Density = 0.5, Rank = 5 }, (Make(0, 2, alpha: 2), 0.5), (Make(1, 3, alpha: 3), 0.8));
        double[][,] changes = [Change(1), Change(0, 1)];
        AssertSame(Ties(changes, [0.5, 0.8], 0.5, byFrequency: false), Product(up, down));
    }

    [Theory] // arXiv:2311.03099, eq. 3
    [InlineData("dare_linear_svd", 1, 4)]
    [InlineData("dare_linear_svd", 0.25, 1)]
    public void Dare_drops_elements_and_enlarges_the_others(string method, double density, int seed)
    {
        var (down, up) = Combine(method, new() { Density = density, Rank = 5, Seed = seed }, (Make(0, 2, alpha: 2), 1),
            (Make(1, 2, alpha: 2), 0));
        var (found, exact) = (Product(up, down), Change(1));
        var kept = 0;
        foreach (var (r, c) in Places())
            if (Math.Abs(found[r, c] - exact[r, c] / density) < 1e-5)
                kept++;
            else
                Assert.Equal(0, found[r, c], 1e-5);
        Assert.InRange(kept, density == 1 ? Out * In : 2, density == 1 ? Out * In : Out * In / 2);
    }

    [Fact]
    public void The_seed_decides_what_dare_drops()
    {
        (string, double)[] adapters = [(Make(0, 2, alpha: 2), 1), (Make(1, 2, alpha: 2), 0.5)];
        double[,] Drawn(long seed, string method) => Combine(method, new() { Seed = seed }, adapters).Down;
        foreach (var method in (string[])["dare_linear", "dare_ties"])
        {
            Assert.Equal(Drawn(1, method), Drawn(1, method));
            Assert.NotEqual(Drawn(1, method), Drawn(2, method));
        }
    }

    [Fact] // without dropping, DARE with TIES elects signs of everything
    public void Dare_ties_of_the_whole_density_is_ties_of_the_whole_density()
    {
        (string, double)[] adapters = [(Make(0, 2, alpha: 2), 1), (Make(1, 2, alpha: 2), 0.5)];
        Assert.Equal(Combine("ties", new() { Density = 1 }, adapters).Up, Combine("dare_ties", new() { Density = 1 }, adapters).Up);
    }

    [Fact]
    public void A_layer_that_one_adapter_has_is_taken_from_it_and_named_by_its_path()
    {
        var other = Make(1, 3, alpha: 3, module: "model.layers.0.mlp.down_proj");
        var (tensors, config) = CombinedAdapter.Of([(Make(0, 2, alpha: 2), 0.5), (other, 0.25)], Some.Llama(), Method("cat"), new(), _ => { });
        Assert.Equal(4, tensors.Count);
        Assert.All(tensors, tensor => Assert.Equal(3, tensor.Info.Shape[tensor.Info.Name.Contains("lora_A") ? 0 : 1]));
        Assert.Equal((3, 3.0), (config.Rank, config.Alpha));
        Assert.Equal(["model.layers.0.mlp.down_proj", "model.layers.0.self_attn.q_proj"], config.Targets!.Names.Order());
    }

    [Fact]
    public void Factors_of_different_ranks_do_not_add_up()
    {
        var problem = Assert.Throws<InputException>(() => Combine("linear", new(), (Make(0, 2, alpha: 2), 1), (Make(1, 3, alpha: 3), 1)));
        Assert.Contains("model.layers.0.self_attn.q_proj: the adapters have the ranks 2 and 3", problem.Message);
        Assert.Contains("--cat", problem.Fix);
    }

    [Fact]
    public void A_magnitude_is_no_summand()
    {
        var folder = Make(0, 2, alpha: 2, more: "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector");
        var problem = Assert.Throws<InputException>(() => Combine("cat", new(), (folder, 1), (Make(1, 2, alpha: 2), 1)));
        Assert.Contains("lora_magnitude_vector\" is no A or B of a layer", problem.Message);
    }

    public void Dispose() => _folder.Dispose();

    private static CombinationMethod Method(string name) => CombinationMethod.All.Single(method => method.Name == name);

    private static (double[,] Down, double[,] Up) Combine(string method, CombinationOptions options, params (string, double)[] adapters)
    {
        var (tensors, config) = CombinedAdapter.Of(adapters, Some.Llama(), Method(method), options, _ => { });
        Assert.Equal(1, config.ScaleOf("model.layers.0.self_attn.q_proj"));
        return (Values(tensors.Single(tensor => tensor.Info.Name == Down)), Values(tensors.Single(tensor => tensor.Info.Name == Up)));
    }

    private static double[,] Values(TensorToSave tensor)
    {
        using var stream = new MemoryStream();
        tensor.Write(stream);
        var singles = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(stream.ToArray()).ToArray();
        var columns = (int)tensor.Info.Shape[1];
        return Each((int)tensor.Info.Shape[0], columns, (r, c) => singles[r * columns + c]);
    }

    /// <summary>An adapter's folder with one layer, whose numbers are multiples of 1/64: exact in float32.</summary>
    private string Make(int which, int rank, double alpha, bool rslora = false, string? module = null, string? more = null)
    {
        var random = new Random(11 + which);
        double Draw() => random.Next(-64, 65) / 64.0;
        (_downs[which], _ups[which]) = (Each(rank, In, (_, _) => Draw()), Each(Out, rank, (_, _) => Draw()));
        var folder = _folder[$"adapter{which}"];
        List<TensorToSave> tensors = [Tensor(module is null ? Down : $"base_model.model.{module}.lora_A.weight", _downs[which]),
            Tensor(module is null ? Up : $"base_model.model.{module}.lora_B.weight", _ups[which])];
        if (more is not null)
            tensors.Add(TensorToSave.From(more, new float[Out], Out));
        WeightFilesWriter.Save(folder, tensors, new() { Name = "adapter_model" });
        File.WriteAllText(Path.Combine(folder, "adapter_config.json"), $$"""
            {"peft_type": "LORA", "r": {{rank}}, "lora_alpha": {{alpha}}, "use_rslora": {{(rslora ? "true" : "false")}},
             "target_modules": ["{{(module ?? "q_proj").Split('.')[^1]}}"], "base_model_name_or_path": "base"}
            """);
        return folder;

        static TensorToSave Tensor(string name, double[,] values) => TensorToSave.From(name,
            [.. values.Cast<double>().Select(v => (float)v)],
            values.GetLength(0), values.GetLength(1));
    }

    /// <summary>Σ factor · B·A over the adapters.</summary>
    private double[,] Change(params double[] factors) => Each(Out, In, (r, c) => factors.Select((factor, t) =>
        factor * Product(_ups[t], _downs[t])[r, c]).Sum());

    private static double[,] Product(double[,] up, double[,] down) => Each(up.GetLength(0), down.GetLength(1), (r, c) =>
        Enumerable.Range(0, up.GetLength(1)).Sum(k => up[r, k] * down[k, c]));

    private static double[,] Sum(double[][,] arrays, params double[] weights) =>
        Each(arrays[0].GetLength(0), arrays[0].GetLength(1), (r, c) =>
        weights.Select((weight, t) => weight * arrays[t][r, c]).Sum());

    private static double[,] Ties(double[][,] arrays, double[] weights, double density, bool byFrequency)
    {
        double[][,] trimmed = [.. weights.Select((_, t) => Trim(arrays[t]))];
        return Each(arrays[0].GetLength(0), arrays[0].GetLength(1), (r, c) =>
        {
            var column = trimmed.Select(array => array[r, c]).ToArray();
            var sign = (byFrequency ? column.Sum(v => Math.Sign(v)) : column.Sum()) >= 0 ? 1 : -1;
            var agreeing = Enumerable.Range(0, column.Length).Where(t => Math.Sign(column[t]) == sign).ToArray();
            return agreeing.Sum(t => weights[t] * column[t]) / Math.Max(1, agreeing.Length);
        });

        double[,] Trim(double[,] array)
        {
            var kept = array.Cast<double>().Select((value, i) => (value, i)).OrderByDescending(pair => Math.Abs(pair.value)).ThenBy(pair =>
                pair.i)
                .Take((int)(density * array.Length)).Select(pair => pair.i).ToHashSet();
            return Each(array.GetLength(0), array.GetLength(1), (r, c) => kept.Contains(r * array.GetLength(1) + c) ? array[r, c] : 0);
        }
    }

    private static IEnumerable<(int, int)> Places() => from r in Enumerable.Range(0, Out) from c in Enumerable.Range(0, In) select (r, c);

    private static double[,] Each(int rows, int columns, Func<int, int, double> value)
    {
        var result = new double[rows, columns];
        for (var r = 0; r < rows; r++)
            for (var c = 0; c < columns; c++)
                result[r, c] = value(r, c);
        return result;
    }

    private static void AssertSame(double[,] expected, double[,] actual)
    {
        Assert.Equal((expected.GetLength(0), expected.GetLength(1)), (actual.GetLength(0), actual.GetLength(1)));
        foreach (var (wanted, found) in expected.Cast<double>().Zip(actual.Cast<double>()))
            Assert.Equal(wanted, found, 1e-5);
    }
}
