using Handbook.Data;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Torch;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Tests.Methods.Rewards;

namespace Handbook.Training.Tests.Contract;

/// <summary>Rows whose tokens are cut over processes have the loss and the gradients of rows that one computes whole.</summary>
[Collection("tensors")]
public sealed class ContextContractTests
{
    // float64; sums of a few hundred terms in another order.
    private const double Rounding = 1e-10;

    /// <summary>Processes, and how many of them share a row.</summary>
    private static readonly (int Workers, int Size)[] s_worlds = [(2, 2), (4, 2), (4, 4)];

    [Theory]
    [InlineData("llama"), InlineData("gemma3_text"), InlineData("bloom"), InlineData("gpt_oss"), InlineData("deepseek_v3")]
    public void Every_network_learns_the_same_from_rows_that_are_cut(string kind) => Cut(kind);

    [Theory]
    [InlineData("mistral"), InlineData("mixtral"), InlineData("olmo2"), InlineData("gpt2"), InlineData("gpt_neox"),
        InlineData("hunyuan_v1_dense"), InlineData("opt with norms of sums")]
    [Trait("speed", "slow")]
    public void So_do_others(string kind) => Cut(kind);

    private static void Cut(string kind)
    {
        var method = new SupervisedMethod("sft");
        foreach (var rows in (ITokenRows[])[Tiny.Rows(4, 7), Packing.BestFit(Tiny.Rows(4, 9), 30), Tiny.Rows(11, 3, longest: 3)])
            Compare(() => Tiny.Model(kind), method, rows, kind);
    }

    [Theory]
    [InlineData("mixtral"), InlineData("qwen2_moe"), InlineData("deepseek_v3")]
    public void Tokens_are_spread_over_experts_by_all_parts_of_rows(string kind)
    {
        var method = new BalancedMethod(new SupervisedMethod("sft"), 0.3);
        foreach (var rows in (ITokenRows[])[Tiny.Rows(4, 7), Tiny.Rows(11, 3, longest: 3)])
        {
            Compare(() => Tiny.Model(kind), method, rows, kind);
            Compare(() => Tiny.Model(kind), method, rows, kind, _ => new() { Recompute = true });
        }
    }

    public static TheoryData<string, AdapterKind> Adapters() => [..
        from network in (string[])["llama", "gpt2"]
        from kind in Enum.GetValues<AdapterKind>()
        select new TheoryDataRow<string, AdapterKind>(network, kind)];

    [Theory, MemberData(nameof(Adapters))]
    public void An_adapter_learns_the_same_with_the_same_dropout(string network, AdapterKind kind)
    {
        var noise = new EmbeddingNoise(alpha: 5, seed: 17);
        Compare(() => Tiny.Adapted(network, kind), new SupervisedMethod("sft"), Tiny.Rows(5, 5), $"{kind} over {network}",
            batch => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2), EmbeddingNoise = noise.For(batch, 2) });
    }

    [Fact]
    public void An_adapter_of_the_head_learns_the_same_where_a_process_has_nothing_to_predict()
    {
        var config = AdapterKinds.Config(AdapterKind.Lora) with { Targets = ModuleNames.Of(["lm_head", "q_proj"]) };
        // the loss of each row is on its last token alone
        TokenRowList rows = new([.. Enumerable.Range(0, 3).Select(row => TokenRow.Single(
            [.. Enumerable.Range(0, 11).Select(i => (i * 7 + row) % Tiny.Vocabulary)],
            [.. Enumerable.Range(0, 11).Select(i => (byte)(i == 10 ? 1 : 0))], 11))]);
        Compare(() => Tiny.Adapted("llama", config), new SupervisedMethod("sft"), rows, "an adapter of the head",
            batch => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2) });
        Compare(() => Tiny.Model("gpt2"), new SupervisedMethod("sft", dynamic: true), rows, "the last token alone");
        Compare(() => Tiny.Model("llama"), new SupervisedMethod("sft", labelSmoothing: 0.1), rows, "smoothed");
    }

    [Fact]
    public void Layers_that_are_computed_again_go_round_again()
    {
        Compare(() => Tiny.Model("mistral"), new SupervisedMethod("sft"), Tiny.Rows(6, 5), "recomputed", _ => new() { Recompute = true });
        Compare(() => Tiny.Adapted("llama", AdapterKind.Lora), new SupervisedMethod("sft"), Tiny.Rows(6, 5), "recomputed", batch =>
            new() { Recompute = true, AdapterNoise = new AdapterDropout(3).For(batch, 2) });
    }

    [Theory]
    [InlineData(false), InlineData(true)]
    public void Rewards_are_read_at_the_same_places(bool adapts) =>
        Compare(() => adapts ? Tiny.Adapted("llama", AdapterKind.Lora, head: ModelHead.Score) : Tiny.Model("llama", head: ModelHead.Score),
            new RewardMethod(centring: 0.01), RewardMethodTests.Rows(3, 5), "rewards");

    [Fact]
    public void What_is_measured_counts_once()
    {
        var rows = Tiny.Rows(5, 9);
        var method = new SupervisedMethod("sft");
        using var model = Tiny.Model("llama");
        var expected = new Evaluator(rows, method, batchSize: 4, maxTokens: 30).Run(model);
        foreach (var (workers, size) in s_worlds)
            foreach (var metrics in WorkerPair.Run(workers, its =>
            {
                using var scope = TensorScope.Enter();
                using var own = Tiny.Model("llama");
                return new Evaluator(rows, method, batchSize: 4, maxTokens: 30, its.InGroupsOf(size)).Run(own);
            }))
                foreach (var name in (string[])["eval_loss", "eval_entropy", "eval_mean_token_accuracy", "eval_perplexity"])
                    Assert.Equal(expected.Number(name)!.Value, metrics.Number(name)!.Value, Rounding);
    }

    [Fact]
    public void Groups_share_the_rows_and_one_speaks_for_each()
    {
        var all = WorkerPair.Run(4, its =>
        {
            var groups = its.InGroupsOf(2);
            return (groups.Groups, Rows: groups.Share([0, 1, 2, 3, 4], _ => 1), Sum: groups.SumGroups(groups.Group + 1).Concat(groups.Sum(1)).ToArray(),
                Any: groups.Any(groups.Rank == 3));
        });
        Assert.All(all, its => Assert.Equal((2, 3.0, 4.0, true), (its.Groups, its.Sum[0], its.Sum[1], its.Any)));
        Assert.Equal([[0, 2, 4], [0, 2, 4], [1, 3], [1, 3]], all.Select(its => its.Rows));
        var failure = Assert.Throws<Base.InputException>(() => Workers.Alone.InGroupsOf(2));
        Assert.Equal("context_parallel_size is 2, but there is 1 process", failure.What);
        Assert.Contains("context_parallel_size is 4, but there are 6 processes",
            WorkerPair.Run(6, its => Assert.Throws<Base.InputException>(() => its.InGroupsOf(4)).What)[0]);
    }

    private static void Compare(Func<Decoder> make, ITrainingMethod method, ITokenRows rows, string what,
        Func<TokenBatch, ForwardOptions>? options = null)
    {
        int[] all = [.. Enumerable.Range(0, rows.Count)];
        foreach (int[][] microBatches in (int[][][])[[all], [all[..1], all[1..]]])
        {
            StepRows step = new(0, 0, microBatches, 1);
            var expected = Run(Workers.Alone);
            foreach (var (workers, size) in s_worlds)
                foreach (var result in WorkerPair.Run(workers, its => Run(its.InGroupsOf(size))))
                    result.MustEqual(expected, Rounding, $"{what}, {workers} processes, {size} for a row, {microBatches.Length} micro-batches");

            StepResult Run(Workers workers)
            {
                using var scope = TensorScope.Enter();
                using var model = make();
                return Tiny.Step(model, method, BatchLoader.Lay(rows, step, method, 60, workers), options,
                    workers);
            }
        }
    }
}
