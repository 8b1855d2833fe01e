using System.Text.Json;
using Handbook.Data;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;

namespace Handbook.Tests.Methods;

/// <summary>Batches of the reference trainer's supervised fine-tuning: loss, metrics and gradient norm.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class SupervisedBatchTests
{
    public static TheoryData<string, string> Cases()
    {
        var data = new TheoryData<string, string>();
        foreach (var file in SharedFiles.Folders("golden").Where(folder => Path.GetFileName(folder) == "losses_trl1")
            .SelectMany(folder => Directory.EnumerateFiles(folder, "sft*.json")))
        {
            using var document = JsonDocument.Parse(File.ReadAllText(file));
            foreach (var each in document.RootElement.GetProperty("cases").EnumerateArray())
                data.Add(Path.GetFileName(file), each.GetProperty("name").GetString()!);
        }
        if (data.Count == 0)
            data.Add("", "");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_batch_has_the_reference_loss_metrics_and_gradient(string file, string name)
    {
        var golden = SharedFiles.Need("golden");
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(golden, "losses_trl1", file)));
        var expected = document.RootElement.GetProperty("cases").EnumerateArray().Single(c => c.GetProperty("name").GetString() == name);
        using var model = PreferenceCase.Load(Path.Combine(golden, document.RootElement.GetProperty("model").GetString()!),
            trainable: true);
        var isDynamic = expected.GetProperty("config").TryGetProperty("loss_type", out var loss) && loss.GetString() == "dft";
        var rows = Rows(expected.GetProperty("batch"));

        var (value, metrics, norm) = PreferenceCase.Step(model, new SupervisedMethod("sft", dynamic: isDynamic), rows);

        // 5e-5 of max(1, value): what separate float32 builds differ by, recomputed by other formulas
        Assert.Equal(expected.GetProperty("loss").GetDouble(), value, 5e-5);
        Assert.Equal(1, norm / expected.GetProperty("grad_norm").GetDouble(), 1e-4);
        var measured = expected.GetProperty("metrics");
        Assert.Equal(measured.GetProperty("entropy").GetDouble(), metrics.MeanOf("entropy")!.Value,
            5e-5 * measured.GetProperty("entropy").GetDouble());
        Assert.Equal(measured.GetProperty("mean_token_accuracy").GetDouble(), metrics.MeanOf("mean_token_accuracy")!.Value, 1e-6);
        Assert.Equal(measured.GetProperty("num_tokens").GetInt32(), Enumerable.Range(0, rows.Count).Sum(rows.Length));
    }

    private static TokenRowList Rows(JsonElement batch)
    {
        var rows = new List<TokenRow>();
        foreach (var (ids, mask, labels) in Each("input_ids").Zip(Each("attention_mask"), Each("labels")))
        {
            int[] kept = [.. Enumerable.Range(0, ids.Length).Where(i => mask[i] != 0)];
            rows.Add(TokenRow.Single([.. kept.Select(i => ids[i])], [.. kept.Select(i => (byte)(labels[i] == -100 ? 0 : 1))]));
        }
        return new(rows);

        IEnumerable<int[]> Each(string field) =>
            batch.GetProperty(field).EnumerateArray().Select(row => row.EnumerateArray().Select(value => value.GetInt32()).ToArray());
    }
}
