using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Tests.Models;

/// <summary>Adapters as PEFT computes them: each folder of <c>golden/lora</c>.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class LoraGoldenTests
{
    public static TheoryData<string> Cases() => [.. SharedFiles.Folders("golden", "lora").Select(f => Path.GetFileName(f)!)];

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Cases))]
    public void Logits_and_gradients_are_those_of_the_reference(string name)
    {
        var (model, expected, rows) = Load(name);
        using var keep = model;
        using var files = expected;
        using var scope = TensorScope.Enter();
        AssertClose(expected.Singles("logits_adapter"), Logits(model, rows), rows);
        AssertClose(expected.Singles("logits_base"), Logits(model.With(), rows), rows);

        var (tokens, targets) = (rows.SelectMany(row => row.Ids).ToArray(), rows.SelectMany(row => row.Targets).ToArray());
        int[] places = [.. Enumerable.Range(0, tokens.Length).Where(i => targets[i] >= 0)];
        model.Parameters.ClearGradients();
        LinearLogProb.WeightedLoss(RowSelect.Forward(model.Hidden(Stream(rows)), places), model.Head,
            places.Select(i => targets[i]).ToArray(), [.. places.Select(_ => 1.0 / places.Length)], model.HeadOptions).Backward();
        var found = GoldenRows.Published(model, parameter => parameter.IsTrainable ? parameter.GradientToAddTo()
            : parameter.Value).ToDictionary(pair => pair.Published, pair => pair.Values);
        string[] gradients = [.. expected.Names.Where(tensor => tensor.StartsWith("grad.", StringComparison.Ordinal))];
        Assert.NotEmpty(gradients);
        foreach (var tensor in gradients)
            Assert.True(GoldenRows.Distance(found[tensor["grad.".Length..]], expected.Singles(tensor)) < 1e-4, tensor);
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Cases))]
    public void Names_and_shapes_of_the_tensors_are_those_of_the_reference(string name)
    {
        var folder = SharedFiles.Need("golden", "lora", name);
        var (model, expected, _) = Load(name);
        using var keep = model;
        using var kept = expected;
        using var file = SafetensorsFile.Open(Path.Combine(folder, AdapterFolder.Weights));

        Assert.Equal(file.Names.Select(tensor => (tensor, file.Info(tensor).Shape)).OrderBy(pair => pair.tensor, StringComparer.Ordinal),
            model.Parameters.Plan.Adapters[0].Specs.SelectMany(spec => spec.Parts).DistinctBy(part => part.Published)
                .Select(part => (part.Published, part.PublishedShape)).OrderBy(pair => pair.Published, StringComparer.Ordinal));
    }

    private static (Decoder Model, SafetensorsFile Expected, (int[] Ids, int[] Targets)[] Rows) Load(string name)
    {
        var folder = SharedFiles.Need("golden", "lora", name);
        using var about = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")));
        var based = SharedFiles.Need("golden", about.RootElement.GetProperty("base").GetString()!);
        var config = PublishedConfig.Load(based);
        using var weights = ModelWeights.Open(based, config, fused: true);
        var layout = AdapterLayout.Of("default", AdapterConfigFile.Read(folder), weights.Family, weights.Config, weights.Parameters,
            new AdapterFolder(folder), folder, trained: true);
        var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32).With([layout]));
        var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        var (ids, mask, labels) = (expected.Longs("input_ids"), expected.Longs("attention_mask"), expected.Longs("labels"));
        var columns = (int)expected.Info("input_ids").Shape[1];
        var rows = Enumerable.Range(0, ids.Length / columns).Select(r =>
        {
            var length = (int)mask.Skip(r * columns).Take(columns).Sum();
            return (ids.Skip(r * columns).Take(length).Select(id => (int)id).ToArray(),
                Enumerable.Range(0, length).Select(i => i + 1 < length && labels[r * columns + i + 1] is var label && label != -100
                    ? (int)label : -1).ToArray());
        }).ToArray();
        return (model, expected, rows);
    }

    private static StreamLayout Stream((int[] Ids, int[] Targets)[] rows) => StreamLayout.Of([.. rows.Select(row => row.Ids)]);

    private static float[] Logits(Decoder model, (int[] Ids, int[] Targets)[] rows)
    {
        using var mode = GradMode.Disabled();
        return model.Logits(Stream(rows)).ToArray<float>();
    }

    /// <summary>The reference's rows are padded.</summary>
    private static void AssertClose(float[] expected, float[] actual, (int[] Ids, int[] Targets)[] rows)
    {
        var vocabulary = actual.Length / rows.Sum(row => row.Ids.Length);
        var (padded, at) = (expected.Length / rows.Length, 0);
        for (var r = 0; r < rows.Length; r++)
            for (var i = 0; i < rows[r].Ids.Length * vocabulary; i++)
                Assert.Equal(expected[r * padded + i], actual[at++], 2e-4);
    }
}
