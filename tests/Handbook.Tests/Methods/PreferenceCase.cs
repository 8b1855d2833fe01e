using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Tests.Methods;

/// <summary>What the golden preference cases share: recipes from their settings, rows as trees, one step on real models.</summary>
internal static class PreferenceCase
{
    /// <summary>A checked recipe with a case's settings.</summary>
    public static Recipe Recipe(TrainingMethod method, string? release, JsonElement config)
    {
        using var folder = new TemporaryFolder();
        var text = "model_name_or_path: model\ndataset_name: rows\n" + (release is null ? "" : $"trl_compat: \"{release}\"\n")
            + string.Concat(config.ValueKind == JsonValueKind.Object
                ? config.EnumerateObject().Select(p => $"{p.Name}: {p.Value.GetRawText()}\n") : []);
        File.WriteAllText(folder["recipe.yaml"], text);
        if (!Handbook.Recipes.Recipe.Load(new FileInfo(folder["recipe.yaml"]), [], method).TryGet(out var recipe, out var diagnostics))
            Assert.Fail($"the case's settings are no recipe:\n{text}\n{diagnostics}");
        return recipe;
    }

    /// <summary>A pair under one prompt.</summary>
    public static TokenRow Pair(int[] prompt, int[] chosen, int[] rejected, bool promptLoss = false, double margin = 0) => new()
    {
        Segments = [Prompt(prompt, promptLoss), Answer(SegmentRole.Chosen, chosen), Answer(SegmentRole.Rejected, rejected)],
        Margin = margin,
    };

    /// <summary>One answer, good or bad by itself, perhaps with another row's answer.</summary>
    public static TokenRow Unpaired(int[] prompt, int[] answer, bool good, int[]? mismatched = null) => new()
    {
        Segments = [Prompt(prompt, false), Answer(good ? SegmentRole.Chosen : SegmentRole.Rejected, answer),
            .. mismatched is null ? Array.Empty<TokenSegment>() : [Answer(SegmentRole.Mismatched, mismatched)]],
    };

    private static TokenSegment Prompt(int[] ids, bool loss) =>
        new(SegmentRole.Prompt, -1, ids, Enumerable.Repeat((byte)(loss ? 1 : 0), ids.Length).ToArray());

    private static TokenSegment Answer(SegmentRole role, int[] ids) => new(role, 0, ids, Enumerable.Repeat((byte)1, ids.Length).ToArray());

    public static int[] Ids(this JsonElement element, string name) =>
        [.. element.GetProperty(name).EnumerateArray().Select(e => e.GetInt32())];

    public static Decoder Load(string folder, bool trainable, DType dtype = DType.Float32)
    {
        var published = PublishedConfig.Load(folder);
        using var weights = ModelWeights.Open(folder, published, fused: true);
        return Decoder.Load(weights, trainable ? ParameterPlan.Trained(weights.Parameters, dtype, dtype)
            : ParameterPlan.Frozen(weights, dtype));
    }

    /// <summary>Rows with the reference's scores, computed as a run computes them.</summary>
    public static ITokenRows Referenced(ITokenRows rows, Decoder reference, IPreferenceObjective objective)
    {
        using var folder = new TemporaryFolder();
        var scores = new ReferenceScores(new CacheFolder(folder["cache"])).Compute("key", reference, objective, rows, 4096);
        return new ReferencedRows(rows, [.. scores.Select(score => (ReferenceScore?)score)]);
    }

    /// <summary>One step over all rows; the gradients stay in the model.</summary>
    public static (double Loss, MetricSums Metrics, double Norm) Step(Decoder model, ITrainingMethod method, ITokenRows rows,
        int maxTokens = 4096, int? batch = null, int accumulation = 1, Func<TokenBatch, ForwardOptions>? options = null)
    {
        model.Parameters.ClearGradients();
        var plan = new StepPlan(rows,
            new StepPlanOptions { BatchSize = batch ?? rows.Count, AccumulationSteps = accumulation, Epochs = 1, Sequential = true });
        var work = BatchLoader.Lay(rows, plan[0], method, maxTokens);
        var metrics = new MetricSums();
        var pass = new LossPass { Training = true, Metrics = metrics, Options = options };
        foreach (var group in work.Groups)
            method.Run(model, group, pass);
        model.Parameters.SettleGradients();
        return (pass.Loss, metrics, GradientNorm.Of(model.Parameters));
    }
}
