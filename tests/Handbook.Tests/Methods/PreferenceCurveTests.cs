using System.Text.Json;
using Handbook.Data;
using Handbook.Methods;
using Handbook.Methods.Preferences;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Tests.Models;
using Handbook.Training;
using Handbook.Training.Optimizers;

namespace Handbook.Tests.Methods;

/// <summary>Whole runs of the reference preference trainers, step by step.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class PreferenceCurveTests
{
    private const int End = 2;

    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>();
        foreach (var folder in SharedFiles.Folders("golden", "curves"))
        {
            using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "curve.json")));
            if (document.RootElement.TryGetProperty("kind", out var kind) && kind.GetString() != "sft")
                data.Add(Path.GetFileName(folder));
        }
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_run_follows_the_reference_curve(string name)
    {
        var folder = SharedFiles.Need("golden", "curves", name);
        using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "curve.json")));
        var curve = document.RootElement;
        var kind = curve.GetProperty("kind").GetString()!;
        if (!Enum.TryParse<TrainingMethod>(kind, ignoreCase: true, out var method) || method != TrainingMethod.Dpo)
            GoldenCase.NotBuilt($"curves/{name}: {kind} curves");
        if (Directory.Exists(Path.Combine(folder, "adapter_init")))
            GoldenCase.NotBuilt($"curves/{name}: adapters");
        using var tensors = SafetensorsFile.Open(Path.Combine(folder, "tensors.safetensors"));
        using var model = PreferenceCase.Load(Path.Combine(folder, "init"), trainable: true);

        var settings = new Dictionary<string, JsonElement> { ["beta"] = curve.GetProperty("beta"), ["loss_type"] = curve.GetProperty("loss_type") };
        foreach (var option in curve.GetProperty("options").EnumerateObject())
            settings[option.Name] = option.Value;
        var recipe = PreferenceCase.Recipe(method, "0.24", JsonSerializer.SerializeToElement(settings));
        var objective = PreferenceObjective.Create(recipe);
        ITokenRows rows = new TokenRowList([.. curve.GetProperty("rows_before_eos").EnumerateArray().Select(r => PreferenceCase.Pair(r.Ids("prompt"), [.. r.Ids("chosen"), End], [.. r.Ids("rejected"), End]))]);
        if (objective.NeedsReference)
            rows = PreferenceCase.Referenced(rows, model, objective);

        var plan = new StepPlan(rows, new StepPlanOptions
        {
            BatchSize = curve.GetProperty("micro_batch_size").GetInt32(),
            AccumulationSteps = curve.GetProperty("gradient_accumulation_steps").GetInt32(),
            Epochs = 1,
            Sequential = true,
        });
        Follow(model, new PreferenceMethod("dpo", objective), rows, plan, curve, tensors, name);
    }

    private static void Follow(Handbook.Models.Decoder model, ITrainingMethod method, ITokenRows rows, StepPlan plan, JsonElement curve, SafetensorsFile tensors, string name)
    {
        var clip = curve.GetProperty("max_grad_norm").GetDouble();
        var recipe = curve.GetProperty("optimizer");
        using var optimizer = new AdamW(model.Parameters, recipe.GetProperty("betas")[0].GetDouble(), recipe.GetProperty("betas")[1].GetDouble(),
            recipe.GetProperty("eps").GetDouble(), recipe.GetProperty("weight_decay").GetDouble());
        var schedule = curve.GetProperty("scheduler");
        var rates = LearningRateSchedule.Create(schedule.GetProperty("name").GetString()!, new Dictionary<string, object?>(),
            schedule.GetProperty("warmup_steps").GetInt32(), schedule.GetProperty("total_steps").GetInt32(), recipe.GetProperty("lr").GetDouble());
        var steps = curve.GetProperty("steps");
        Assert.Equal(steps.GetArrayLength(), plan.TotalSteps);
        for (var step = 0; step < plan.TotalSteps; step++)
        {
            var expected = steps[step];
            model.Parameters.ClearGradients();
            var metrics = new MetricSums();
            var pass = new LossPass { Training = true, Metrics = metrics };
            foreach (var group in BatchLoader.Lay(rows, plan[step], method, 4096).Groups)
                method.Run(model, group, pass);
            var norm = GradientNorm.Of(model.Parameters);
            // 1e-4: what separate float32 builds may differ by after some tens of steps
            Assert.Equal(expected.GetProperty("loss").GetDouble(), pass.Loss, 1e-4);
            Assert.Equal(1, norm / expected.GetProperty("grad_norm").GetDouble(), 1e-4);
            Assert.Equal(expected.GetProperty("learning_rate").GetDouble(), rates.At(step), 1e-12);
            optimizer.Step(rates.At(step), GradientNorm.ClipFactor(norm, clip));
            method.AfterStep(model, step + 1);
            foreach (var (parameter, values) in GoldenRows.Published(model, p => p.Value.Detach()))
                if (tensors.Names.Contains($"weights_after_{step + 1}.{parameter}"))
                    Assert.True(GoldenRows.Distance(values, tensors.Singles($"weights_after_{step + 1}.{parameter}")) < 1e-4, $"{name}: {parameter} after {step + 1} steps");
        }
    }
}
