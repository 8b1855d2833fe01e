using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Tests.Models;

namespace Handbook.Training.Tests.Rewards;

/// <summary>Every reward model of the shared folder, against the reference library's scores and gradients.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class RewardGoldenTests
{
    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>(SharedFiles.Folders("golden", "reward").Select(f => Path.GetFileName(f)!));
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Scores_and_gradients_agree_with_the_reference(string name)
    {
        var folder = SharedFiles.Need("golden", "reward", name);
        using var model = Load(folder);
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        using var facts = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")));
        var pad = facts.RootElement.GetProperty("pad_token_id").GetInt32();
        var cases = expected.Names.Where(n => n.EndsWith(".input_ids", StringComparison.Ordinal)).Select(n => n[..^".input_ids".Length])
            .ToArray();
        Assert.NotEmpty(cases);
        foreach (var each in cases)
        {
            using var scope = TensorScope.Enter();
            var (batch, places) = Rows(expected, each, pad);
            model.Parameters.ClearGradients();
            var scores = model.Scores(batch.Stream(), places);

            var logits = expected.Singles(each + ".logits");
            // 3e-5 as for logits of the language models: separate builds of the reference differ by up to 8.3e-6
            Assert.All(scores.ToArray<float>().Zip(logits), p => Assert.Equal(p.Second, p.First, 3e-5));

            var gradients = expected.Names.Where(n => n.StartsWith(each + ".bt_grad.", StringComparison.Ordinal)).ToArray();
            if (gradients.Length == 0)
                continue;
            var loss = -(scores.Narrow(0, 0, 2) - scores.Narrow(0, 2, 2)).LogSigmoid().Mean();
            Assert.Equal(facts.RootElement.GetProperty("bt_loss_rows01_over_rows23").GetDouble(), loss.ToScalar(), 1e-5);
            loss.Backward();
            var ours = GoldenRows.PublishedGradients(model).ToDictionary(g => g.Published, g => g.Values);
            foreach (var gradient in gradients)
                Assert.True(GoldenRows.Distance(ours[gradient[(each + ".bt_grad.").Length..]], expected.Singles(gradient)) < 1e-4,
                    gradient);
            Assert.Equal(ours.Count, gradients.Length);
        }
    }

    internal static Decoder Load(string folder)
    {
        var modelType = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "config.json"))).RootElement.GetProperty("model_type")
            .GetString()!;
        if (!Family.All.Any(f => f.ModelType == modelType))
            GoldenCase.NotBuilt($"reward/{Path.GetFileName(folder)}: family {modelType}");
        using var weights = ModelWeights.Open(folder, PublishedConfig.Load(folder), fused: true);
        Assert.Empty(weights.Unused);
        return Decoder.Load(weights, ParameterPlan.Trained(weights.Parameters, DType.Float32, DType.Float32));
    }

    /// <summary>The rows without their padding, at the columns' positions, and the last token of each that is not the padding
    /// token.</summary>
    private static (TokenBatch Batch, int[] Places) Rows(SafetensorsFile file, string name, int pad)
    {
        var (ids, mask, shape) = (file.Longs(name + ".input_ids"), file.Longs(name + ".attention_mask"),
            file.Info(name + ".input_ids").Shape);
        List<int> tokens = [], positions = [], places = [];
        var segments = new List<Segment>();
        for (var r = 0; r < shape[0]; r++)
        {
            var (start, place) = (tokens.Count, -1);
            for (var c = 0; c < shape[1]; c++)
            {
                var at = r * shape[1] + c;
                if (mask[at] == 0)
                    continue;
                if (ids[at] != pad)
                    place = tokens.Count;
                tokens.Add((int)ids[at]);
                positions.Add(c);
            }
            segments.Add(new(start, tokens.Count - start, -1, r, SegmentRole.Row));
            places.Add(place);
        }
        var batch = new TokenBatch
        {
            Tokens = [.. tokens],
            Positions = [.. positions],
            Segments = [.. segments],
            Targets = [],
            Weights = []
        };
        return (batch, [.. places]);
    }
}
