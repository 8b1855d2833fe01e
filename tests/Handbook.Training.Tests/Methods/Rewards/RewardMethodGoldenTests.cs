using System.Text.Json;
using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Tests.Contract;
using Handbook.Training.Tests.Models;
using Handbook.Training.Tests.Rewards;

namespace Handbook.Training.Tests.Methods.Rewards;

/// <summary>Whole steps of reward modelling through a real model, against the reference trainer's: loss, metrics, gradient norm and
/// gradients.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class RewardMethodGoldenTests
{
    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>();
        foreach (var family in SharedFiles.Folders("golden")
            .Where(f => Path.GetFileName(f)!.StartsWith("losses", StringComparison.Ordinal)))
            foreach (var folder in Directory.GetDirectories(family, "reward_batch*").Order(StringComparer.Ordinal))
                data.Add(Path.GetFileName(family) + "/" + Path.GetFileName(folder));
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Steps_agree_with_the_reference(string name)
    {
        var folder = SharedFiles.Need("golden", name);
        using var facts = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")));
        using var expected = SafetensorsFile.Open(Path.Combine(folder, "tensors.safetensors"));
        using var model = RewardGoldenTests.Load(SharedFiles.Need("golden", facts.RootElement.GetProperty("model").GetString()!));
        var variants = facts.RootElement.GetProperty("cases").EnumerateArray().ToArray();
        Assert.NotEmpty(variants);
        foreach (var variant in variants)
            foreach (var shared in (bool[])[true, false])
                foreach (var maxTokens in (int[])[4096, 1])
                    Check(model, facts.RootElement, variant, expected, shared, maxTokens);
    }

    private static void Check(Decoder model, JsonElement facts, JsonElement variant, SafetensorsFile expected, bool shared, int maxTokens)
    {
        var what = $"{variant.GetProperty("name")}, {(shared ? "shared" : "separate")} prompts, {maxTokens} tokens at once";
        var useMargin = variant.GetProperty("use_margin").GetBoolean();
        var centring = variant.GetProperty("center_rewards_coefficient");
        var rows = new TokenRowList([.. facts.GetProperty("rows").EnumerateArray().Select(row => Row(row, useMargin, shared))]);
        var method = new RewardMethod(centring.ValueKind == JsonValueKind.Null ? null : centring.GetDouble());
        var pass = new LossPass { Training = true, Metrics = new MetricSums() };
        model.Parameters.ClearGradients();

        foreach (var group in Tiny.Whole(rows, method, maxTokens).Groups)
            method.Run(model, group, pass);

        // 1e-5: float32 through the network; the reference's own builds differ by about as much
        Assert.True(Math.Abs(variant.GetProperty("loss").GetDouble() - pass.Loss) < 1e-5, $"{what}: loss {pass.Loss}");
        var metrics = pass.Metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
        foreach (var metric in variant.GetProperty("metrics").EnumerateObject())
            Assert.True(Math.Abs(metric.Value.GetDouble() - metrics[metric.Name]) < 1e-5, $"{what}: {metric.Name} {metrics[metric.Name]}");
        Assert.Equal(1, GoldenRows.GradientNorm(model.Parameters) / variant.GetProperty("grad_norm").GetDouble(), 1e-4);
        model.Parameters.SettleGradients();
        foreach (var (published, gradient) in GoldenRows.PublishedGradients(model))
            if (expected.Names.Contains($"{variant.GetProperty("name")}.grad.{published}"))
                Assert.True(GoldenRows.Distance(gradient, expected.Singles($"{variant.GetProperty("name")}.grad.{published}")) < 1e-4,
                    $"{what}: gradient of {published}");
    }

    private static TokenRow Row(JsonElement row, bool useMargin, bool shared)
    {
        int[] chosen = Ids(row, "chosen_input_ids"), rejected = Ids(row, "rejected_input_ids");
        var common = shared ? chosen.AsSpan(..^1).CommonPrefixLength(rejected.AsSpan(..^1)) : 0;
        TokenSegment[] prompt = common > 0 ? [Part(SegmentRole.Prompt, -1, chosen[..common])] : [];
        return new()
        {
            Segments = [.. prompt, Part(SegmentRole.Chosen, prompt.Length - 1, chosen[common..]),
                Part(SegmentRole.Rejected, prompt.Length - 1, rejected[common..])],
            Margin = useMargin ? row.GetProperty("margin").GetDouble() : 0,
        };
    }

    private static int[] Ids(JsonElement row, string name) => [.. row.GetProperty(name).EnumerateArray().Select(id => id.GetInt32())];

    private static TokenSegment Part(SegmentRole role, int parent, int[] ids) =>
        new(role, parent, ids, Enumerable.Repeat((byte)1, ids.Length).ToArray());
}
