using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Tests.Contract;

namespace Handbook.Training.Tests.Methods.Rewards;

[Collection("tensors")]
public sealed class RewardMethodTests
{
    private const double Rounding = 1e-10;      // float64; the order of sums is all that differs

    [Theory]
    [InlineData("llama")]
    [InlineData("mistral")]
    [InlineData("mixtral")]
    [InlineData("gpt2")]
    public void Number_1_and_3_a_step_is_the_same_however_rows_are_put_together_and_prompts_are_shared(string kind)
    {
        using var model = Tiny.Model(kind, head: ModelHead.Score);
        var method = new RewardMethod(centring: 0.01);
        var rows = Rows(3, 7);
        var together = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096));

        foreach (var maxTokens in (int[])[1, 30, 60])
            Tiny.Step(model, method, Tiny.Whole(rows, method, maxTokens)).MustEqual(together, Rounding, $"{maxTokens} tokens at once");
        foreach (var microBatches in (int[][][])[[[0, 1, 2], [3, 4, 5, 6]], [[0], [1], [2], [3], [4], [5], [6]]])
            Tiny.Step(model, method, BatchLoader.Lay(rows, new StepRows(0, 0, microBatches, 1), method, 4096)).MustEqual(together, Rounding,
                $"{microBatches.Length} micro-batches");
        Tiny.Step(model, method,
            Tiny.Whole(new TokenRowList([.. Enumerable.Range(0, rows.Count).Select(i => Separate(rows.Read(i)))]), method, 4096))
            .MustEqual(together, Rounding, "separate prompts");
        Tiny.Step(model, method, Tiny.Whole(rows, method, 40), _ => new ForwardOptions { Recompute = true }).MustEqual(together, Rounding,
            "recomputed");
    }

    public static TheoryData<AdapterKind> Kinds() => [.. Enum.GetValues<AdapterKind>()];

    [Theory, MemberData(nameof(Kinds))]
    public void Number_1_3_and_29_an_adapter_has_the_same_step_however_rows_are_put_together(AdapterKind kind)
    {
        using var model = Tiny.Adapted("llama", kind, head: ModelHead.Score);
        var method = new RewardMethod(centring: 0.01);
        var rows = Rows(3, 7);
        var together = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096), Dropping);
        Assert.NotEqual(together.Loss, Tiny.Step(model, method, Tiny.Whole(rows, method, 4096)).Loss);

        foreach (var shared in (bool[])[true, false])
            foreach (var maxTokens in (int[])[1, 30, 4096])
                foreach (var microBatches in (int[][][])[[[0, 1, 2, 3, 4, 5, 6]], [[0, 1, 2], [3, 4, 5, 6]]])
                    Tiny.Step(model, method, BatchLoader.Lay(shared ? rows : new SeparatePrompts(rows), new StepRows(0, 0, microBatches, 1), method, maxTokens), Dropping)
                        .MustEqual(together, Rounding, $"{(shared ? "shared" : "separate")} prompts, bins of {maxTokens}, "
                            + $"{microBatches.Length} micro-batches");
        if (AdapterKinds.Codes(kind) is null)
            return;
        using var values = Tiny.Adapted("llama", kind, head: ModelHead.Score, asValues: true);
        Tiny.Step(values, method, Tiny.Whole(rows, method, 4096), Dropping).MustEqual(together, Rounding, "over the values of the codes");

        static ForwardOptions Dropping(TokenBatch batch) => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2) };
    }

    [Fact]
    public void Number_25_gradients_are_the_finite_differences_of_the_loss()
    {
        using var model = Tiny.Model("llama", head: ModelHead.Score);
        var method = new RewardMethod(centring: 0.3);
        var work = Tiny.Whole(Rows(4, 3), method, 4096);
        Tiny.MustFollowDifferences(model, method, work, ["score.weight", "embed.weight", "layers.1.mlp.down.weight", "final_norm.weight"],
            1e-7);
    }

    [Fact]
    public void The_least_and_the_greatest_reward_are_those_of_the_whole_step()
    {
        using var model = Tiny.Model("llama", head: ModelHead.Score);
        var method = new RewardMethod();

        var whole = Metrics(model, method, 4096);
        var parts = Metrics(model, method, 1);

        Assert.Equal(["accuracy", "margin", "max_reward", "mean_reward", "min_reward"], whole.Keys.Order(StringComparer.Ordinal));
        Assert.All(whole, m => Assert.Equal(m.Value, parts[m.Key], Rounding));
        Assert.True(whole["min_reward"] < whole["mean_reward"] && whole["mean_reward"] < whole["max_reward"]);
    }

    private static Dictionary<string, double> Metrics(Decoder model, RewardMethod method, int maxTokens)
    {
        var pass = new LossPass { Metrics = new MetricSums() };
        using var mode = GradMode.Disabled();
        foreach (var group in Tiny.Whole(Rows(5, 6), method, maxTokens).Groups)
            method.Run(model, group, pass);
        return pass.Metrics.Means.ToDictionary(m => m.Name, m => m.Mean);
    }

    internal static TokenRowList Rows(int seed, int count)
    {
        var random = new Random(seed);
        return new([.. Enumerable.Range(0, count).Select(_ => new TokenRow
        {
            Segments = [Part(SegmentRole.Prompt, -1, Ids(random, 9)), Part(SegmentRole.Chosen, 0, Ids(random, 5)),
                Part(SegmentRole.Rejected, 0, Ids(random, 5))],
            Margin = random.NextDouble(),
        })]);
    }

    private static TokenRow Separate(TokenRow row) => new()
    {
        Segments = [.. row.Segments.Skip(1).Select(answer => Part(answer.Role, -1, [.. row.Segments[0].Ids.Span, .. answer.Ids.Span]))],
        Margin = row.Margin,
    };

    private static int[] Ids(Random random, int longest) =>
        [.. Enumerable.Range(0, random.Next(1, longest + 1)).Select(_ => random.Next(Tiny.Vocabulary))];

    private static TokenSegment Part(SegmentRole role, int parent, int[] ids) => new(role, parent, ids, new byte[ids.Length]);
}
