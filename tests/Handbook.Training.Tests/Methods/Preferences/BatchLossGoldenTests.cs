using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Data;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>Losses and metrics of the reference's real batches, from the logits that it recorded (<c>golden/losses*/*_batch*</c>,
/// <c>golden/losses_trl*</c>).</summary>
[Trait("kind", "golden")]
public sealed partial class BatchLossGoldenTests
{
    // what the engine measures in the head's pass, and what the model adds
    private static readonly string[] s_engine =
        ["logits/chosen", "logits/rejected", "logits/chosen_sum", "logits/rejected_sum", "entropy", "mean_token_accuracy", "num_tokens",
            "aux_loss"];

    public static TheoryData<string, string> Cases()
    {
        var data = new TheoryData<string, string>();
        foreach (var folder in GoldenLosses.Folders())
            foreach (var file in Directory.GetFiles(folder, "*.json", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
            {
                var name = GoldenLosses.Name(file);
                if (!IsBatch(name))
                    continue;
                using var document = JsonDocument.Parse(File.ReadAllBytes(file));
                if (document.RootElement.TryGetProperty("cases", out var cases))
                    foreach (var one in cases.EnumerateArray())
                        data.Add(name, one.GetProperty("name").GetString()!);
            }
        if (data.Count == 0)
            data.Add("", "");
        return data;
    }

    // SFT's cases are the supervised method's, reward batches are in Methods/Rewards
    private static bool IsBatch(string name) => !name.Contains("_function", StringComparison.Ordinal)
        && (Path.GetFileName(name) == "expected.json" || name.StartsWith("losses_trl", StringComparison.Ordinal))
        && Method(name) is not ("sft" or "reward");

    private static string Method(string name) =>
        (Path.GetFileName(name) == "expected.json" ? Path.GetFileName(Path.GetDirectoryName(name)!)
            : Path.GetFileNameWithoutExtension(name)).Split('_')[0];

    [Theory, MemberData(nameof(Cases))] // peers.md 4.3, 25
    public void Number_25_loss_and_metrics_of_a_batch_are_the_reference_s(string file, string name)
    {
        var root = GoldenLosses.Read(file);
        var one = root.GetProperty("cases").EnumerateArray().First(c => c.GetProperty("name").GetString() == name);
        name = $"{file}: {name}";
        var release = file.StartsWith("losses_trl1", StringComparison.Ordinal) ? TrlRelease.V1_9 : TrlRelease.V0_24;
        var options = GoldenLosses.Options(one.GetProperty("config"), [], new PreferenceOptions { TrlCompat = release }, name);
        var objective = GoldenLosses.Objective(Method(file), options, name);
        var rows = Rows(file, root, one.GetProperty("config"), objective, release, name);

        var metrics = new MetricSums();
        var loss = objective.Evaluate(rows, SomeRows.Totals(rows), training: true, metrics, gradients: null);

        var expected = one.GetProperty("metrics");
        if (expected.TryGetProperty("aux_loss", out var experts))
            loss += Setting(one.GetProperty("config"), "router_aux_loss_coef", 0.1) * GoldenLosses.Number(experts);
        Close(GoldenLosses.Number(one.GetProperty("loss")), loss, $"{name}: loss");
        foreach (var metric in expected.EnumerateObject().Where(m => !s_engine.Contains(m.Name)))
            Close(GoldenLosses.Number(metric.Value), Measured(metrics, metric.Name, name), $"{name}: {metric.Name}");
        foreach (var (measured, _, _) in metrics.All)
            Assert.True(expected.EnumerateObject().Any(m => m.Name == measured || m.Name == measured + "_sum")
                || (measured == "rewards/margins" && expected.TryGetProperty("count/chosen", out _)),
                    $"{name}: the reference has no metric {measured}");
    }

    // some are recorded as a sum and a count, which the logged mean is made of
    private static double Measured(MetricSums metrics, string recorded, string name)
    {
        var (key, part) = recorded.StartsWith("count/", StringComparison.Ordinal) ? ($"rewards/{recorded[6..]}", "count")
            : recorded.EndsWith("_sum", StringComparison.Ordinal) ? (recorded[..^4], "sum") : (recorded, "mean");
        foreach (var (metric, sum, count) in metrics.All)
            if (metric == key)
                return part switch { "sum" => sum.Value, "count" => count.Value, _ => sum.Value / count.Value };
        GoldenCase.NotBuilt($"{name}: metric {recorded}");
        return 0;
    }

    private static List<ScoredRow> Rows(string file, JsonElement root, JsonElement config, IPreferenceObjective objective,
        TrlRelease release, string name) =>
        Method(file) switch
        {
            "dpo" => Pairs(Tensors(file, root), "concatenated.", config, objective, release, name),
            "orpo" or "cpo" => Pairs(Tensors(file, root), "concatenated_", config, objective, release, name),
            "kto" or "bco" when root.TryGetProperty("batch", out var batch) => Singles(SameBatch(batch, Method(file), name),
                [.. batch.GetProperty("label").EnumerateArray().Select(x => x.GetBoolean())], objective),
            "kto" or "bco" =>
                Singles(Tensors(file, root), [.. root.GetProperty("batch_label").EnumerateArray().Select(x => x.GetBoolean())], objective),
            _ => [],
        };

    // the tensors stand beside the file, or in the folder that it names
    private static string Tensors(string file, JsonElement root)
    {
        var folder = Path.GetDirectoryName(file)!;
        if (Path.GetFileName(file) != "expected.json")
            folder = "losses/" + BatchFolder().Match(root.GetProperty("models").GetString()!).Groups[1].Value;
        return SharedFiles.Need("golden", folder, "tensors.safetensors");
    }

    // the newer release repeats an older batch without its logits
    private static string SameBatch(JsonElement batch, string method, string name)
    {
        long[][] ids = [.. batch.GetProperty("input_ids").EnumerateArray()
            .Select(row => row.EnumerateArray().Select(x => x.GetInt64()).ToArray())];
        foreach (var folder in GoldenLosses.Folders().SelectMany(Directory.GetDirectories)
            .Where(f => Path.GetFileName(f).StartsWith(method, StringComparison.Ordinal)))
        {
            var path = Path.Combine(folder, "tensors.safetensors");
            using var tensors = new RecordedBatch(path);
            if (tensors.Has("batch.completion_input_ids") && tensors.Integers("batch.completion_input_ids") is var same
                && same.Length == ids.Length && same.Zip(ids).All(pair => pair.First.SequenceEqual(pair.Second)))
                return path;
        }
        Assert.Skip($"{name}: no recorded batch has these rows; the network's tests run it");
        return "";
    }

    private static List<ScoredRow> Pairs(string path, string prefix, JsonElement config, IPreferenceObjective objective, TrlRelease release,
        string name)
    {
        using var batch = new RecordedBatch(path);
        var ids = batch.Integers(prefix + "input_ids");
        var (policy, reference) = batch.Has(prefix + "policy_logits") ? (prefix + "policy_logits", prefix + "ref_logits")
            : ("policy_logits", null);
        var places = batch.Has(prefix + "loss_mask")
            ? Array.ConvertAll(batch.Integers(prefix + "loss_mask"), RecordedBatch.Span)
            : Array.ConvertAll(batch.Integers(prefix + "labels"), row => RecordedBatch.Span(Array.ConvertAll(row, x => x >= 0 ? 1L : 0L)));
        Cut(places, config, release, name);
        var half = ids.Length / 2;
        return [.. Enumerable.Range(0, half).Select(i => new ScoredRow
        {
            Row = i,
            PromptLength = places[i].Start,
            Chosen = batch.Answer(policy, reference, i, ids[i], places[i], SegmentRole.Chosen, Length(places[i + half]), objective),
            Rejected = batch.Answer(policy, reference, i + half, ids[i + half], places[i + half], SegmentRole.Rejected, Length(places[i]),
                objective),
            PromptLogProbs = batch.LogProbs(policy, i, ids[i], 1, places[i].Start),
        })];

        static int Length((int Start, int End) place) => place.End - place.Start;
    }

    // what is cut at the end leaves the other logits as they are; what is cut at the start needs the network again
    private static void Cut((int Start, int End)[] places, JsonElement config, TrlRelease release, string name)
    {
        var longest = (int)Setting(config, "max_length", int.MaxValue);
        var keepsEnd = config.TryGetProperty("truncation_mode", out var mode) ? mode.GetString() == "keep_end"
            : release == TrlRelease.V0_24;
        var prompt = (int)Setting(config, "max_prompt_length", int.MaxValue);
        var answer = (int)Setting(config, "max_completion_length", int.MaxValue);
        for (var i = 0; i < places.Length; i++)
        {
            var (start, end) = places[i];
            end = Math.Min(end, start + Math.Min(answer, end - start));
            if (start > prompt || (keepsEnd && end > longest))
                Assert.Skip($"{name}: cuts the start of a row; the network's tests run it");
            places[i] = (start, Math.Min(end, longest));
        }
    }

    private static List<ScoredRow> Singles(string path, bool[] labels, IPreferenceObjective objective)
    {
        using var batch = new RecordedBatch(path);
        var rows = new List<ScoredRow>();
        for (var i = 0; i < labels.Length; i++)
        {
            var answer = Answer("", labels[i] ? SegmentRole.Chosen : SegmentRole.Rejected, i);
            rows.Add(new()
            {
                Row = i,
                Chosen = labels[i] ? answer : null,
                Rejected = labels[i] ? null : answer,
                Mismatched = objective.NeedsMismatched ? Answer("KL_", SegmentRole.Mismatched, i) : null,
            });
        }
        return rows;

        AnswerScore Answer(string prefix, SegmentRole role, int row)
        {
            var place = RecordedBatch.Span(Array.ConvertAll(batch.Integers($"batch.{prefix}completion_labels")[row],
                x => x >= 0 ? 1L : 0L));
            return batch.Answer(prefix + "policy_logits", prefix + "reference_logits", row,
                batch.Integers($"batch.{prefix}completion_input_ids")[row], place, role, 0, objective);
        }
    }

    private static double Setting(JsonElement config, string key, double otherwise) =>
        config.TryGetProperty(key, out var value) && value.ValueKind != JsonValueKind.Null ? GoldenLosses.Number(value) : otherwise;

    // 5e-5: what golden/README.md measured between float32 and formulas in other arithmetic
    private static void Close(double expected, double actual, string what) =>
        Assert.True(Math.Abs(expected - actual) <= 5e-5 * Math.Max(1, Math.Abs(expected)),
            $"{what}: expected {expected:R}, got {actual:R}");

    [GeneratedRegex(@"losses/([^/\s]+)/")]
    private static partial Regex BatchFolder();
}
