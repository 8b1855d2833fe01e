using System.Text.Json;
using Handbook.Data;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Tests;

namespace Handbook.Tests.Methods;

/// <summary>Whole runs of the reference preference trainers, step by step.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class PreferenceCurveTests
{
    private const int End = 2;

    public static TheoryData<string> Cases() => GoldenCurve.Names(kind => kind != "sft");

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

        var settings = new Dictionary<string, JsonElement>
        {
            ["beta"] = curve.GetProperty("beta"),
            ["loss_type"] = curve.GetProperty("loss_type")
        };
        foreach (var option in curve.GetProperty("options").EnumerateObject())
            settings[option.Name] = option.Value;
        var recipe = PreferenceCase.Recipe(method, "0.24", JsonSerializer.SerializeToElement(settings));
        var objective = PreferenceObjective.Create(recipe);
        ITokenRows rows = new TokenRowList([.. curve.GetProperty("rows_before_eos").EnumerateArray()
            .Select(r => PreferenceCase.Pair(r.Ids("prompt"), [.. r.Ids("chosen"), End], [.. r.Ids("rejected"), End]))]);
        if (objective.NeedsReference)
            rows = PreferenceCase.Referenced(rows, model, objective);

        var plan = new StepPlan(rows, new StepPlanOptions
        {
            BatchSize = curve.GetProperty("micro_batch_size").GetInt32(),
            AccumulationSteps = curve.GetProperty("gradient_accumulation_steps").GetInt32(),
            Epochs = 1,
            Sequential = true,
        });
        Assert.Equal(curve.GetProperty("steps").GetArrayLength(), plan.TotalSteps);
        var followed = new PreferenceMethod("dpo", objective);
        GoldenCurve.Follow(model, followed, curve, tensors, name, step => BatchLoader.Lay(rows, plan[step], followed, 4096).Groups);
    }
}
