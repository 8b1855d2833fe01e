using System.Text.Json;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Tests.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Rewards;

/// <summary>The loss of reward modelling against the reference, and its laws.</summary>
public sealed class RewardObjectiveTests
{
    public static TheoryData<string> Files()
    {
        var data = new TheoryData<string>();
        foreach (var folder in GoldenLosses.Folders())
            foreach (var file in Directory.GetFiles(folder, "reward_function*.json")
                .Concat(Directory.GetDirectories(folder, "reward_batch*").Select(batch => Path.Combine(batch, "expected.json")))
                .Order(StringComparer.Ordinal))
                data.Add(GoldenLosses.Name(file));
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Files))] // peers.md 4.3, 25
    [Trait("kind", "golden")]
    public void Number_25_losses_gradients_and_metrics_are_the_reference_s(string file)
    {
        var root = GoldenLosses.Read(file);
        foreach (var one in root.GetProperty("cases").EnumerateArray())
        {
            var name = $"{file}: {one.GetRawText()[..60]}";
            var (chosen, rejected, margins) = Path.GetFileName(file) == "expected.json" ? Batch(file, root, one)
                : (one.Numbers("rewards_chosen"), one.Numbers("rewards_rejected"), Margins(one));
            double[] chosenGradient = new double[chosen.Length], rejectedGradient = new double[chosen.Length];
            var metrics = new MetricSums();
            var centring = one.GetProperty("center_rewards_coefficient");
            var loss = RewardObjective.Evaluate(chosen, rejected, margins, centring.ValueKind == JsonValueKind.Null ? null
                : GoldenLosses.Number(centring),
                chosen.Length, chosenGradient, rejectedGradient, metrics);

            Close(GoldenLosses.Number(one.GetProperty("loss")), loss, $"{name}: loss");
            if (one.TryGetProperty("grad_chosen", out _))
                foreach (var (wanted, actual) in one.Numbers("grad_chosen").Concat(one.Numbers("grad_rejected"))
                    .Zip(chosenGradient.Concat(rejectedGradient)))
                    Close(wanted, actual, $"{name}: gradient");
            var means = metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
            foreach (var metric in one.GetProperty("metrics").EnumerateObject().Where(m => m.Name != "num_tokens"))
            {
                if (!means.TryGetValue(metric.Name, out var value))
                    GoldenCase.NotBuilt($"{name}: metric {metric.Name}");
                Close(GoldenLosses.Number(metric.Value), value, $"{name}: {metric.Name}");
            }
        }
    }

    [Fact]
    public void Number_25_gradients_are_the_finite_differences_of_the_loss()
    {
        var random = new Random(3);
        for (var trial = 0; trial < 20; trial++)
        {
            double[] rewards = [.. Enumerable.Range(0, 8).Select(_ => 6 * random.NextDouble() - 3)], margins = [0.5, 0, 1, 2];
            double? centring = trial % 2 == 0 ? null : 0.05;
            double[] gradient = new double[8];
            Evaluate(rewards, gradient);
            for (var i = 0; i < 8; i++)
            {
                double At(double move) => Evaluate([.. rewards.Select((r, j) => j == i ? r + move : r)], []);
                Assert.Equal((At(1e-4) - At(-1e-4)) / 2e-4, gradient[i], 1e-8);
            }

            double Evaluate(double[] all, double[] into) => RewardObjective.Evaluate(all.AsSpan(0, 4), all.AsSpan(4), margins, centring, 4,
                into.AsSpan(0, into.Length / 2), into.AsSpan(into.Length / 2), null);
        }
    }

    [Fact] // peers.md 4.3, 13
    public void Number_13_extreme_rewards_give_finite_losses_and_gradients()
    {
        double[] chosen = [1e4, -1e4, 0, 1e4], rejected = [-1e4, 1e4, 0, 1e4], up = new double[4], down = new double[4];
        Assert.True(double.IsFinite(RewardObjective.Evaluate(chosen, rejected, [], 0.01, 4, up, down, null)));
        Assert.All(up.Concat(down), derivative => Assert.True(float.IsFinite((float)derivative)));
    }

    [Fact]
    public void Parts_of_a_group_add_up_to_the_whole()
    {
        double[] chosen = [1, 2, -1], rejected = [0, 3, -2], margins = [0.5, 0, 1];
        var whole = RewardObjective.Evaluate(chosen, rejected, margins, 0.1, 3, [], [], null);
        var parts = RewardObjective.Evaluate(chosen.AsSpan(0, 1), rejected.AsSpan(0, 1), margins.AsSpan(0, 1), 0.1, 3, [], [], null)
            + RewardObjective.Evaluate(chosen.AsSpan(1), rejected.AsSpan(1), margins.AsSpan(1), 0.1, 3, [], [], null);
        Assert.Equal(whole, parts, 1e-12);
    }

    private static (double[] Chosen, double[] Rejected, double[] Margins) Batch(string file, JsonElement root, JsonElement one)
    {
        using var batch = new RecordedBatch(SharedFiles.Need("golden", Path.GetDirectoryName(file)!, "tensors.safetensors"));
        var rewards = batch.Numbers($"{one.GetProperty("name").GetString()}.rewards");
        var half = rewards.Length / 2;
        double[] margins = one.GetProperty("use_margin").GetBoolean()
            ? [.. root.GetProperty("rows").EnumerateArray().Select(row => row.GetProperty("margin").GetDouble())] : [];
        return (rewards[..half], rewards[half..], margins);
    }

    private static double[] Margins(JsonElement one) => one.GetProperty("margin").ValueKind == JsonValueKind.Null
        ? [] : one.Numbers("margin");

    // 1e-5 of the value: the reference computed in float32
    private static void Close(double expected, double actual, string what) =>
        Assert.True(Math.Abs(expected - actual) <= 1e-5 * Math.Max(1, Math.Abs(expected)),
            $"{what}: expected {expected:R}, got {actual:R}");
}
