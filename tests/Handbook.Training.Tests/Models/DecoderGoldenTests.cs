using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Sft;

namespace Handbook.Training.Tests.Models;

/// <summary>Every tiny model of the shared folder, against the reference library's logits, hidden states, losses and gradients.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class DecoderGoldenTests
{
    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>();
        foreach (var folder in SharedFiles.Folders("golden", "models"))
            foreach (var config in (string[])["config.json", "config.transformers5.json"])
                if (File.Exists(Path.Combine(folder, config)))
                    data.Add(Path.GetFileName(folder) + "/" + config);
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Agrees_with_the_reference(string name)
    {
        var parts = SharedFiles.Need("golden", "models", name);
        var folder = Path.GetDirectoryName(parts)!;
        using var model = Load(folder, Path.GetFileName(parts), name);
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "expected.safetensors"));
        using var facts = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")));
        var cases = expected.Names.Where(n => n.EndsWith(".input_ids", StringComparison.Ordinal)).Select(n => n[..^".input_ids".Length])
            .ToArray();
        Assert.NotEmpty(cases);
        foreach (var each in cases)
            Check(model, expected, facts.RootElement.GetProperty("cases"), each);
    }

    private static Decoder Load(string folder, string config, string name)
    {
        var modelType = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, config))).RootElement.GetProperty("model_type")
            .GetString()!;
        if (!Handbook.Models.Families.Family.All.Any(f => f.ModelType == modelType))
            GoldenCase.NotBuilt($"{name}: family {modelType}");
        var published = PublishedConfig.Load(Path.Combine(folder, config));
        using var weights = ModelWeights.Open(folder, published, fused: true);
        return Decoder.Load(weights, ParameterPlan.Trained(weights.Parameters, DType.Float32, DType.Float32));
    }

    private static void Check(Decoder model, SafetensorsFile expected, JsonElement facts, string name)
    {
        using var scope = TensorScope.Enter();
        var rows = GoldenRows.Read(expected, name);
        var (hidden, routers) = (new Dictionary<int, float[]>(), new Dictionary<int, float[]>());
        model.Parameters.ClearGradients();
        var output = model.Hidden(rows.Stream, new ForwardOptions
        {
            Observer = (i, h) => hidden[i] = h.ToArray<float>(),
            RouterObserver = (i, logits) => routers[i] = logits.ToArray<float>(),
        });

        // logits: every position that holds a token (or the last few, where only those were kept)
        var logits = LinearLogProb.Logits(output.Detach(), model.Head, model.HeadOptions).ToArray<float>();
        // 3e-5 also catches a wrong epsilon or gelu variant; separate builds differ by at most 8.3e-6
        rows.Compare(expected.Singles(name + ".logits"), expected.Info(name + ".logits"), logits, model.Config.VocabularySize, 3e-5,
            name + ".logits");

        for (var i = 0; expected.Names.Contains($"{name}.hidden_states.{i}"); i++)
            rows.Compare(expected.Singles($"{name}.hidden_states.{i}"), expected.Info($"{name}.hidden_states.{i}"), hidden[i],
                model.Config.HiddenSize, 3e-5, $"{name}.hidden_states.{i}");

        for (var i = 0; expected.Names.Contains($"{name}.router_logits.{i}"); i++)
            Assert.Equal(0, expected.Singles($"{name}.router_logits.{i}").Zip(routers[i]).Max(p => Math.Abs(p.First - p.Second)), 3e-5);

        if (!facts.TryGetProperty(name, out var fact) || !fact.TryGetProperty("loss", out var loss))
            return;
        ITrainingMethod method = new SupervisedMethod("sft", countFirstTokens: false);
        var balances = fact.TryGetProperty("aux_loss", out var balance);
        if (balances)
            method = new BalancedMethod(method, model.Config.Experts!.AuxiliaryLossCoefficient);
        var group = rows.Group(method);
        Assert.Equal(fact.GetProperty("target_tokens").GetInt32(), group.Totals.Targets);
        var pass = new LossPass { Training = true, Metrics = new MetricSums() };
        method.Run(model, group, pass);
        Assert.Equal(loss.GetDouble(), pass.Loss, 1e-5);
        if (balances)
            Assert.Equal(balance.GetDouble(), pass.Metrics.Means.Single(m => m.Name == "aux_loss").Mean, 1e-5);
        if (fact.TryGetProperty("grad_norm", out var norm))
            Assert.Equal(1, GoldenRows.GradientNorm(model.Parameters) / norm.GetDouble(), 1e-5);
        foreach (var (published, gradient) in GoldenRows.PublishedGradients(model))
            if (expected.Names.Contains($"{name}.grad.{published}"))
                Assert.True(GoldenRows.Distance(gradient, expected.Singles($"{name}.grad.{published}")) < 1e-4,
                    $"{name}: gradient of {published}");
        var missing = expected.Names.Where(n => n.StartsWith($"{name}.grad.", StringComparison.Ordinal))
            .Select(n => n[$"{name}.grad.".Length..])
            .Except(GoldenRows.PublishedGradients(model).Select(p => p.Published)).ToArray();
        Assert.Empty(missing);
    }
}
