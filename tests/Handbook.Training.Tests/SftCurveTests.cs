using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Tests.Models;

namespace Handbook.Training.Tests;

/// <summary>Whole SFT runs of the reference trainer, step by step.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class SftCurveTests
{
    public static TheoryData<string> Cases() => GoldenCurve.Names(kind => kind == "sft");

    [Theory, MemberData(nameof(Cases))]
    public void A_run_follows_the_reference_curve(string name)
    {
        var folder = SharedFiles.Need("golden", "curves", name);
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "curve.json")));
        var curve = document.RootElement;
        using var tensors = SafetensorsFile.Open(Path.Combine(folder, "tensors.safetensors"));

        var published = PublishedConfig.Load(Path.Combine(folder, "init"));
        using var weights = ModelWeights.Open(Path.Combine(folder, "init"), published, fused: true);
        var adapter = Path.Combine(folder, "adapter_init");
        using var model = Decoder.Load(weights, Directory.Exists(adapter)
            ? ParameterPlan.Frozen(weights, DType.Float32).With([AdapterLayout.Of("default", AdapterConfigFile.Read(adapter),
                weights.Family,
                weights.Config, weights.Parameters, new AdapterFolder(adapter), adapter, trained: true)])
            : ParameterPlan.Trained(weights.Parameters, DType.Float32, DType.Float32));
        Follow(model, curve, tensors, name);
    }

    private static void Follow(Decoder model, JsonElement curve, SafetensorsFile tensors, string name)
    {
        var shape = tensors.Info("batches.input_ids").Shape;
        var (accumulation, rows, columns) = ((int)shape[1], (int)shape[2], (int)shape[3]);
        var (ids, mask, labels) = (tensors.Longs("batches.input_ids"), tensors.Longs("batches.attention_mask"),
            tensors.Longs("batches.labels"));
        var method = new SupervisedMethod("sft", countFirstTokens: true);      // made with the older divisor
        GoldenCurve.Follow(model, method, curve, tensors, name, step =>
        {
            var all = new TokenRowList([.. Enumerable.Range(0, accumulation)
                .SelectMany(m => Rows(ids, mask, labels, (step * accumulation + m) * rows * columns, rows, columns))]);
            var group = BatchLoader.Group(all, [.. Enumerable.Range(0, all.Count)], method, rows * columns);
            Assert.Equal(curve.GetProperty("num_items_in_batch")[step].GetDouble(), group.Totals.Targets);
            return [group];
        });
    }

    private static List<TokenRow> Rows(long[] ids, long[] mask, long[] labels, int start, int rows, int columns)
    {
        var result = new List<TokenRow>();
        for (var r = 0; r < rows; r++)
        {
            var (tokens, loss) = (new List<int>(), new List<byte>());
            for (var i = start + r * columns; i < start + (r + 1) * columns; i++)
            {
                if (mask[i] == 0)
                    continue;
                tokens.Add((int)ids[i]);
                loss.Add(labels[i] == -100 ? (byte)0 : (byte)1);
            }
            result.Add(TokenRow.Single([.. tokens], [.. loss]));
        }
        return result;
    }
}
