using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Optimizers;
using Handbook.Training.Schedules;
using Handbook.Training.Tests.Models;

namespace Handbook.Training.Tests;

/// <summary>A whole run of a reference trainer, step by step: loss, gradient norm, learning rate, weights.</summary>
internal static class GoldenCurve
{
    /// <summary>The folders of <c>golden/curves</c>; one empty name where there are none.</summary>
    public static TheoryData<string> Names(Func<string, bool> isKind)
    {
        var data = new TheoryData<string>();
        foreach (var folder in SharedFiles.Folders("golden", "curves"))
        {
            using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "curve.json")));
            if (isKind(document.RootElement.TryGetProperty("kind", out var kind) ? kind.GetString()! : "sft"))
                data.Add(Path.GetFileName(folder));
        }
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    /// <param name="groups">What each step learns from.</param>
    public static void Follow(Decoder model, ITrainingMethod method, JsonElement curve, SafetensorsFile tensors, string name,
        Func<int, IReadOnlyList<LossGroup>> groups)
    {
        var clip = curve.GetProperty("max_grad_norm").GetDouble();
        var recipe = curve.GetProperty("optimizer");
        using var optimizer = new AdamW(model.Parameters, recipe.GetProperty("betas")[0].GetDouble(),
            recipe.GetProperty("betas")[1].GetDouble(),
            recipe.GetProperty("eps").GetDouble(), recipe.GetProperty("weight_decay").GetDouble());
        var schedule = curve.GetProperty("scheduler");
        var rates = LearningRateSchedule.Create(schedule.GetProperty("name").GetString()!, new Dictionary<string, object?>(),
            schedule.GetProperty("warmup_steps").GetInt32(), schedule.GetProperty("total_steps").GetInt32(),
                recipe.GetProperty("lr").GetDouble());
        var steps = curve.GetProperty("steps");
        for (var step = 0; step < steps.GetArrayLength(); step++)
        {
            using var scope = TensorScope.Enter();
            var expected = steps[step];
            model.Parameters.ClearGradients();
            var pass = new LossPass { Training = true, Metrics = new MetricSums() };
            foreach (var group in groups(step))
                method.Run(model, group, pass);
            var norm = GradientNorm.Of(model.Parameters);
            // 1e-4: separate float32 builds differ by up to 2.7e-6 after 50 steps
            Assert.Equal(expected.GetProperty("loss").GetDouble(), pass.Loss, 1e-4);
            Assert.Equal(1, norm / expected.GetProperty("grad_norm").GetDouble(), 1e-4);
            Assert.Equal(expected.GetProperty("learning_rate").GetDouble(), rates.At(step), 1e-12);
            optimizer.Step(rates.At(step), GradientNorm.ClipFactor(norm, clip));
            method.AfterStep(model, step + 1);
            foreach (var (parameter, values) in GoldenRows.Published(model, p => p.Value.Detach()))
                if (tensors.Names.Contains($"weights_after_{step + 1}.{parameter}"))
                    Assert.True(GoldenRows.Distance(values, tensors.Singles($"weights_after_{step + 1}.{parameter}")) < 1e-4,
                        $"{name}: {parameter} after {step + 1} steps");
        }
    }
}
