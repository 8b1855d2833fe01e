using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Tokenizing;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;
using Handbook.Training.Tests.Models;

namespace Handbook.Tests.Methods;

/// <summary>Batches of the reference trainers through our models: loss, metrics, gradients.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class PreferenceBatchTests
{
    // Batch-level losses and metrics of separate float32 builds differ by up to 3.8e-6 of max(1, value); gradient norms by 1.1e-6.
    private const double Relative = 5e-5;

    // Means over padding, too, in those trainers; here they are means over answer tokens.
    private static readonly string[] s_overPadding = ["logits/chosen", "logits/rejected", "logits/chosen_sum", "logits/rejected_sum"];

    public static TheoryData<string, string, string> Cases()
    {
        var data = new TheoryData<string, string, string>();
        foreach (var folder in SharedFiles.Folders("golden", "losses"))
        {
            using var document = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")));
            if (document.RootElement.TryGetProperty("cases", out var cases)
                && !Path.GetFileName(folder).StartsWith("reward", StringComparison.Ordinal))
                foreach (var each in cases.EnumerateArray())
                    data.Add("losses", Path.GetFileName(folder), each.GetProperty("name").GetString()!);
        }
        foreach (var file in SharedFiles.Folders("golden").Where(f => Path.GetFileName(f) == "losses_trl1")
            .SelectMany(Directory.EnumerateFiles)
            .Where(f => Path.GetExtension(f) == ".json" && !Path.GetFileName(f).StartsWith("sft", StringComparison.Ordinal)))
        {
            using var document = JsonDocument.Parse(File.ReadAllText(file));
            foreach (var each in document.RootElement.GetProperty("cases").EnumerateArray())
                data.Add("losses_trl1", Path.GetFileNameWithoutExtension(file), each.GetProperty("name").GetString()!);
        }
        if (data.Count == 0)
            data.Add("", "", "");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void A_batch_has_the_reference_loss_metrics_and_gradients(string set, string batch, string name)
    {
        var golden = SharedFiles.Need("golden");
        var newest = set == "losses_trl1";
        var file = newest ? Path.Combine(golden, set, batch + ".json") : Path.Combine(golden, set, batch, "expected.json");
        using var document = JsonDocument.Parse(File.ReadAllText(file));
        var root = document.RootElement;
        var expected = root.GetProperty("cases").EnumerateArray().Single(c => c.GetProperty("name").GetString() == name);
        var method = Enum.Parse<TrainingMethod>(batch.Split('_')[0], ignoreCase: true);
        var recipe = PreferenceCase.Recipe(method, newest ? "1.9" : "0.24", expected.GetProperty("config"));

        var (policyFolder, referenceFolder, rowSource) = Places(golden, root, batch, newest);
        using var policy = PreferenceCase.Load(policyFolder, trainable: true);
        var objective = PreferenceObjective.Create(recipe);
        ITokenRows rows = Rows(rowSource, method, recipe);
        if (objective.NeedsReference)
        {
            using var reference = PreferenceCase.Load(referenceFolder, trainable: false);
            rows = PreferenceCase.Referenced(rows, reference, objective);
        }
        var (loss, metrics, norm) = PreferenceCase.Step(policy,
            Balanced(new PreferenceMethod(batch, objective), recipe, policy.Config, expected.GetProperty("metrics")), rows);

        Near(expected.GetProperty("loss").GetDouble(), loss, "loss");
        var means = metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
        var counts = metrics.All.ToDictionary(m => m.Name, m => m.Count.Value);
        foreach (var metric in expected.GetProperty("metrics").EnumerateObject())
        {
            if (!newest && batch is not "dpo_batch" && s_overPadding.Contains(metric.Name)
                || metric.Name.StartsWith("count/", StringComparison.Ordinal) || metric.Name == "num_tokens")
                continue;
            var ours = metric.Name.EndsWith("_sum", StringComparison.Ordinal) ? metric.Name[..^4] : metric.Name;
            Assert.True(means.ContainsKey(ours), $"{metric.Name} is not measured; there are {string.Join(", ", means.Keys)}");
            Near(metric.Value.GetDouble(), ours == metric.Name ? means[ours] : means[ours] * counts[ours], metric.Name);
        }
        Assert.Equal(1, norm / expected.GetProperty("grad_norm").GetDouble(), 1e-4);
        if (!newest && File.Exists(Path.Combine(golden, set, batch, "tensors.safetensors")))
            Gradients(policy, Path.Combine(golden, set, batch, "tensors.safetensors"), name);
    }

    // The reference may have been told of the loss over experts when the model was loaded; then its file does not ask for it, and the
    // record shows it.
    private static ITrainingMethod Balanced(PreferenceMethod method, Recipe recipe, DecoderConfig policy, JsonElement metrics)
    {
        var recorded = metrics.TryGetProperty("aux_loss", out _) && recipe.Training.RouterAuxLossCoef is null
            && policy.Experts is { WantsAuxiliaryLoss: false };
        return recorded ? new BalancedMethod(method, policy.Experts!.AuxiliaryLossCoefficient)
            : BalancedMethod.Around(method, recipe, policy);
    }

    private static (string Policy, string Reference, JsonElement Rows) Places(string golden, JsonElement root, string batch, bool newest)
    {
        var own = Path.Combine(golden, "losses", batch == "dpo" ? "dpo_batch" : batch);
        if (Directory.Exists(Path.Combine(own, "policy")))
        {
            var rows = newest ? JsonDocument.Parse(File.ReadAllText(Path.Combine(own, "expected.json"))).RootElement.Clone() : root;
            return (Path.Combine(own, "policy"), Path.Combine(own, "reference"), rows);
        }
        var policy = root.TryGetProperty("policy", out var named) ? named.GetString()! : "losses/dpo_batch/policy";
        return (Path.Combine(golden, policy), Path.Combine(golden, root.TryGetProperty("reference", out var other) ? other.GetString()!
            : Path.Combine(Path.GetDirectoryName(policy)!, "reference")), root);
    }

    /// <summary>The case's rows, which are tokens already, through the rules that a run has for ends and lengths.</summary>
    private static TokenRowList Rows(JsonElement root, TrainingMethod method, Recipe recipe)
    {
        const int Begin = 1, End = 2;
        // the cases' rows end with it, whichever layer put it there
        var options = recipe.Definition.Answers(recipe)! with { End = AnswerEnding.Always };
        var rules = new AnswerRules(options, Begin, End);
        var rows = (root.TryGetProperty("rows_before_eos", out var without) ? without : root.GetProperty("rows_before_bos_eos"))
            .EnumerateArray().ToArray();
        if (method is TrainingMethod.Dpo or TrainingMethod.Orpo or TrainingMethod.Cpo)
            return new TokenRowList([.. rows.Select(r => AnswerTree.Build(rules.Apply(
                [new(SegmentRole.Chosen, r.Ids("prompt"), r.Ids("chosen")), new(SegmentRole.Rejected, r.Ids("prompt"), r.Ids("rejected"))],
                    out _), options.PromptsCarryLoss))]);
        ITokenRows single = new TokenRowList([.. rows.Select(r => AnswerTree.Build(rules.Apply(
            [new(r.GetProperty("label").GetBoolean() ? SegmentRole.Chosen : SegmentRole.Rejected, r.Ids("prompt"), r.Ids("completion"))],
                out _)))]);
        if (recipe.Definition.MismatchedBlock(recipe) is not null)
            single = new MismatchedRows(new TokenRowList([.. rows.Select((r, i) =>
                AnswerTree.WithUncut(single.Read(i), rules.Uncut(r.Ids("completion"))))]), rows.Length, rules);
        return new TokenRowList([.. Enumerable.Range(0, rows.Length).Select(single.Read)]);
    }

    private static void Gradients(Handbook.Models.Decoder policy, string path, string variant)
    {
        using var tensors = SafetensorsFile.Open(path);
        foreach (var (parameter, values) in GoldenRows.Published(policy, p => p.Gradient!))
            if (tensors.Names.Contains($"{variant}.grad.{parameter}"))
                Assert.True(GoldenRows.Distance(values, tensors.Singles($"{variant}.grad.{parameter}")) < 1e-4,
                    $"{variant}: gradient of {parameter}");
    }

    private static void Near(double expected, double actual, string what) =>
        Assert.True(Math.Abs(expected - actual) <= Relative * Math.Max(1, Math.Abs(expected)),
            $"{what}: {actual:r}, expected {expected:r}");
}
