using System.Text.Json;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Orpo;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>Losses, rewards and gradients on the reference's fixed log-probabilities (<c>golden/losses*/*_function.json</c>).</summary>
[Trait("kind", "golden")]
public sealed class FunctionLossGoldenTests
{
    private static readonly string[] s_results =
        ["losses", "mean_loss", "chosen_rewards", "rejected_rewards", "kl", "delta", "do_train", "running", "log_odds_ratio",
            "log_odds_chosen",
        "running_mean_after", "running_count_after", "inputs", "steps"];

    public static TheoryData<string> Files()
    {
        var data = new TheoryData<string>();
        foreach (var folder in GoldenLosses.Folders())
            foreach (var file in Directory.GetFiles(folder, "*_function*.json").Order(StringComparer.Ordinal))
                data.Add(GoldenLosses.Name(file));
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Files))] // peers.md 4.3, 25: formula mistakes in rarely used losses
    public void Number_25_every_loss_reward_and_gradient_is_the_reference_s(string file)
    {
        var root = GoldenLosses.Read(file);
        var method = Path.GetFileName(file).Split('_')[0];
        if (method == "reward")
            return;     // Methods/Rewards
        var cases = 0;
        foreach (var part in root.EnumerateObject())
            cases += part.Name switch
            {
                "versions" or "function" or "note" => 0,
                "sets" => part.Value.EnumerateArray()
                    .Sum(set => Each(set.GetProperty("cases"), one => One(method, one, set.GetProperty("inputs"), Named(one)))),
                "cases" => Each(part.Value, one => One(method, one, one, Named(one))),
                "sequences" => Each(part.Value, sequence => Sequence(method, sequence, sequence.GetProperty("steps"), Named(sequence))),
                _ when part.Name.EndsWith("_sequence", StringComparison.Ordinal) =>
                    Sequence(method, part.Value[0], part.Value, $"{file}: {part.Name}"),
                _ => Unknown(part.Name),
            };
        Assert.True(cases > 0, $"{file} has no cases");

        string Named(JsonElement one) =>
            $"{file}: " + string.Join(" ", one.EnumerateObject()
            .Where(p => p.Value.ValueKind != JsonValueKind.Array && !s_results.Contains(p.Name)).Select(p => $"{p.Name}={p.Value}"));

        int Unknown(string part)
        {
            GoldenCase.NotBuilt($"{file}: {part}");
            return 0;
        }
    }

    private static int Each(JsonElement cases, Func<JsonElement, int> check) => cases.EnumerateArray().Sum(check);

    private static int One(string method, JsonElement one, JsonElement inputs, string name)
    {
        Check(GoldenLosses.Objective(method, Options(one, name), name), one, inputs, name);
        return 1;
    }

    // several batches in a row: what an objective remembers
    private static int Sequence(string method, JsonElement settings, JsonElement steps, string name)
    {
        var objective = GoldenLosses.Objective(method, Options(settings, name), name);
        var count = 0;
        foreach (var step in steps.EnumerateArray())
            Check(objective, step, step.TryGetProperty("inputs", out var inputs) ? inputs : step, $"{name}, batch {++count}");
        return count;
    }

    private static PreferenceOptions Options(JsonElement settings, string name)
    {
        string[] arrays = [.. settings.EnumerateObject()
            .Where(p => p.Value.ValueKind == JsonValueKind.Array && p.Name is not ("loss_type" or "loss_weights")).Select(p => p.Name)];
        // the recorded values are of the loss proper: without the likelihood term that the trainer adds
        return GoldenLosses.Options(settings, [.. s_results, .. arrays],
            new PreferenceOptions { TrlCompat = TrlRelease.V0_24, CpoAlpha = 0 }, name);
    }

    private static void Check(IPreferenceObjective objective, JsonElement expected, JsonElement inputs, string name)
    {
        var rows = Rows(inputs);
        var totals = SomeRows.Totals(rows);
        var training = !expected.TryGetProperty("do_train", out var doTrain) || doTrain.GetBoolean();
        var metrics = new MetricSums();
        var gradients = new List<RowGradient>();
        var loss = objective.Evaluate(rows, totals, training, metrics, gradients);
        if (objective is OrpoObjective)
            loss += rows.Average(row => row.Chosen!.LogProbs.Span[0]);      // the likelihood term is not in the recorded function

        var losses = expected.Numbers("losses");
        var sign = objective is OrpoObjective ? -1 : 1;                     // recorded as what is subtracted
        Close(sign * losses.Average(), loss, $"{name}: mean loss");
        if (!objective.CouplesRows || objective.State.Length > 0)
        {
            // chosen answers first where rows have one answer, as recorded
            var i = 0;
            foreach (var row in rows)
            {
                var own = objective.Evaluate([row], new GroupTotals { Rows = 1, ChosenTokens = 1 }, false, null, null);
                if (objective is OrpoObjective)
                    own += row.Chosen!.LogProbs.Span[0];
                Close(sign * losses[i++], own, $"{name}: loss {i}");
            }
            Assert.Equal(losses.Length, i);
        }

        Metric("kl", "kl");
        Metric("delta", "delta");
        Metric("log_odds_ratio", "log_odds_ratio");
        Metric("log_odds_chosen", "log_odds_chosen");
        foreach (var side in (string[])["chosen", "rejected"])
        {
            var rewards = expected.Numbers($"{side}_rewards");
            if (rewards.Length > 0)
                Close(rewards.Average(), metrics.Means.First(m => m.Name == $"rewards/{side}").Mean, $"{name}: {side} rewards");
            var recorded = expected.EnumerateObject().First(p => p.Name is var key && key.StartsWith("grad_", StringComparison.Ordinal)
                && key.Contains(side, StringComparison.Ordinal));
            var derivatives = gradients.Select(g => side == "chosen" ? g.Chosen : g.Rejected)
                .Zip(rows, (g, row) => (g, has: (side == "chosen" ? row.Chosen : row.Rejected) is not null)).Where(x => x.has)
                .Select(x => x.g.Length == 0 ? 0 : x.g[0] + (objective is OrpoObjective && side == "chosen" ? 1.0 / rows.Count : 0))
                    .ToArray();
            var wanted = recorded.Value.EnumerateArray().Select(GoldenLosses.Number).ToArray();
            Assert.Equal(wanted.Length, derivatives.Length);
            for (var i = 0; i < wanted.Length; i++)
                CloseGradient(wanted[i], derivatives[i], wanted.Max(Math.Abs), $"{name}: {recorded.Name}[{i}]");
        }
        if (expected.TryGetProperty("running_mean_after", out var mean))
            Close(GoldenLosses.Number(mean), objective.State[0], $"{name}: running mean");
        if (expected.TryGetProperty("running_count_after", out var count))
            Close(GoldenLosses.Number(count), objective.State[1], $"{name}: running count");

        void Metric(string key, string metric)
        {
            if (expected.TryGetProperty(key, out var value))
                Close(GoldenLosses.Number(value), metrics.Means.First(m => m.Name == metric).Mean, $"{name}: {metric}");
        }
    }

    // each sequence score becomes the answer's only token
    private static List<ScoredRow> Rows(JsonElement inputs)
    {
        if (inputs.TryGetProperty("policy_chosen_logps", out _) && inputs.TryGetProperty("reference_chosen_logps", out _))
        {
            // some cases record more mismatched answers than rows: only their mean counts, so every row has that
            var mismatched = inputs.TryGetProperty("policy_KL_logps", out _)
                ? Answer(inputs.Numbers("policy_KL_logps").Average(), inputs.Numbers("reference_KL_logps").Average()) : null;
            var rows = new List<ScoredRow>();
            foreach (var (x, r) in inputs.Numbers("policy_chosen_logps").Zip(inputs.Numbers("reference_chosen_logps")))
                rows.Add(new() { Row = rows.Count, Chosen = Answer(x, r), Mismatched = mismatched });
            foreach (var (x, r) in inputs.Numbers("policy_rejected_logps").Zip(inputs.Numbers("reference_rejected_logps")))
                rows.Add(new() { Row = rows.Count, Rejected = Answer(x, r), Mismatched = mismatched });
            return rows;
        }
        double[] chosen = inputs.Numbers("chosen_logps"), rejected = inputs.Numbers("rejected_logps");
        var hasReference = inputs.TryGetProperty("ref_chosen_logps", out _);
        var chosenReference = hasReference ? inputs.Numbers("ref_chosen_logps") : new double[chosen.Length];
        var rejectedReference = hasReference ? inputs.Numbers("ref_rejected_logps") : new double[chosen.Length];
        return [.. chosen.Select((x, i) => SomeRows.Pair(x, rejected[i], chosenReference[i], rejectedReference[i]))];
    }

    private static AnswerScore Answer(double score, double reference) => new() { LogProbs = new[] { score }, Reference = reference };

    // 1e-5 of the value: the reference computed in float32, some of it with cancellation
    private static void Close(double expected, double actual, string what) =>
        Assert.True(Math.Abs(expected - actual) <= 1e-5 * Math.Max(1, Math.Abs(expected)),
            $"{what}: expected {expected:R}, got {actual:R}");

    // the derivatives are small: 1e-4 of the value, or 1e-6 of the largest where float32 has cancelled the digits
    private static void CloseGradient(double expected, double actual, double largest, string what) =>
        Assert.True(Math.Abs(expected - actual) <= Math.Max(1e-6 * Math.Max(largest, 0.01), 1e-4 * Math.Abs(expected)),
            $"{what}: expected {expected:R}, got {actual:R}");
}
