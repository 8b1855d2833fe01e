using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Training.Tests.Models;

/// <summary>The trained model <c>tinystories-656k</c> of the shared folder, with its golden files.</summary>
internal sealed class TinyStories : IDisposable
{
    private TinyStories(string folder, string weights, DType dtype, bool trainable)
    {
        Golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
        Training = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden-training.json")));
        using var opened = ModelWeights.Open(weights, PublishedConfig.Load(weights), fused: true);
        Model = Decoder.Load(opened, trainable ? ParameterPlan.Trained(opened.Parameters, dtype, dtype)
            : ParameterPlan.Frozen(opened, dtype));
    }

    public JsonDocument Golden { get; }

    public JsonDocument Training { get; }

    public Decoder Model { get; }

    /// <summary>The twelve stories of <c>eval</c>; every token carries loss but the first ones that <paramref name="prompts"/>
    /// counts.</summary>
    public TokenRowList Stories(int count, int[]? prompts = null) =>
        new([.. Golden.RootElement.GetProperty("eval").GetProperty("rows").EnumerateArray().Take(count).Select((row, r) =>
    {
        var ids = Ints(row.GetProperty("ids"));
        return TokenRow.Single(ids, [.. ids.Select((_, i) => (byte)(i >= (prompts?[r] ?? 0) ? 1 : 0))]);
    })]);

    public static TinyStories Load(DType dtype, bool trainable = false, string weights = "")
    {
        var folder = SharedFiles.Need("models", "tinystories-656k");
        return new(folder, Path.Combine(folder, weights), dtype, trainable);
    }

    /// <summary>Elements of each published tensor, in any order: enough for sums and norms.</summary>
    public Dictionary<string, double[]> Published(Func<Parameter, Tensor> read)
    {
        var result = new Dictionary<string, double[]>();
        foreach (var spec in Model.Parameters.Specs)
        {
            var values = read(Model.Parameters[spec.Name]).ToArray<double>();
            var columns = spec.Count / spec.Shape[0];
            foreach (var part in spec.Parts)
                result[part.Published] = values[(int)(part.Start * columns)..(int)((part.Start + part.Rows) * columns)];
        }
        return result;
    }

    public static int[] Ints(JsonElement list) => [.. list.EnumerateArray().Select(i => i.GetInt32())];

    public static double[] Numbers(JsonElement list) => [.. list.EnumerateArray().Select(i => i.GetDouble())];

    public void Dispose()
    {
        Model.Dispose();
        Golden.Dispose();
        Training.Dispose();
    }
}
