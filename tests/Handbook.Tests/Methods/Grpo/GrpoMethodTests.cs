using Handbook.Base;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Generation;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Grpo;
using Handbook.Training.Sampling;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods.Grpo;

/// <summary>A step over sampled answers depends on the answers alone, and its gradient is that of the loss.</summary>
[Collection("tensors")]
public sealed class GrpoMethodTests
{
    private const double Rounding = 1e-10;      // float64 sums in another order
    private const int Size = 4;

    public static TheoryData<GrpoAggregation, RatioLevel, double> Losses()
    {
        var data = new TheoryData<GrpoAggregation, RatioLevel, double>();
        foreach (var aggregation in Enum.GetValues<GrpoAggregation>())
            foreach (var level in Enum.GetValues<RatioLevel>())
                data.Add(aggregation, level, level == RatioLevel.Token ? 1 : 0.7);
        return data;
    }

    [Theory, MemberData(nameof(Losses))]
    public void Number_1_and_3_a_gradient_is_the_same_however_it_is_computed(GrpoAggregation aggregation, RatioLevel level,
        double temperature)
    {
        using var model = Tiny.Model("llama", 1);
        var method = Method(new GrpoLoss { Aggregation = aggregation, Level = level, Beta = 0.1, Epsilon = 0.1, EpsilonHigh = 0.1 },
            temperature);
        var rows = Rows(6);
        var expected = Step(rows, 4096, 6, 1);
        foreach (var shared in (ReadOnlySpan<bool>)[true, false])
            foreach (var maxTokens in (ReadOnlySpan<int>)[1, 60, 4096])
                foreach (var (batch, accumulation) in aggregation == GrpoAggregation.Bnpo ? (ReadOnlySpan<(int, int)>)[(6, 1)]
                    : [(6, 1), (3, 2), (4, 2), (1, 6)])
                    Step(shared ? rows : new SeparatePrompts(rows), maxTokens, batch, accumulation)
                        .MustEqual(expected, Rounding,
                            $"{(shared ? "shared" : "separate")} prompts, bins of {maxTokens}, {batch} × {accumulation}");

        StepResult Step(ITokenRows rows, int maxTokens, int batch, int accumulation)
        {
            var (loss, _, _) = PreferenceCase.Step(model, method, rows, maxTokens, batch, accumulation);
            return new(loss, model.Parameters.Specs.ToDictionary(s => s.Name, s => model.Parameters[s.Name].Gradient!.ToArray<double>()));
        }
    }

    public static TheoryData<AdapterKind> Kinds() => [.. Enum.GetValues<AdapterKind>()];

    [Theory, MemberData(nameof(Kinds))]
    public void Number_1_3_and_29_an_adapter_has_the_same_gradient_however_it_is_computed(AdapterKind kind)
    {
        using var model = Tiny.Adapted("llama", kind);
        var expected = Step(model, 4096, shared: true, [6]);
        foreach (var shared in (ReadOnlySpan<bool>)[true, false])
            // 20 tokens cut the answers to a prompt into parts
            foreach (var (maxTokens, batches) in (ReadOnlySpan<(int, int[])>)[(1, [6]), (20, [4, 2]), (60, [6]), (4096, [1, 1, 1, 1, 1, 1])])
                Step(model, maxTokens, shared, batches).MustEqual(expected, Rounding,
                    $"{(shared ? "shared" : "separate")} prompts, bins of {maxTokens}, {batches.Length} micro-batches");
        if (AdapterKinds.Codes(kind) is null)
            return;
        using var values = Tiny.Adapted("llama", kind, asValues: true);
        Step(values, 4096, shared: true, [6]).MustEqual(expected, Rounding, "over the values of the codes");

        static StepResult Step(Decoder policy, int maxTokens, bool shared, int[] batches)
        {
            var method = Method(new GrpoLoss { Beta = 0.1, Epsilon = 0.1, EpsilonHigh = 0.1 }, 0.7, maxTokens, shared);
            // the reference is the adapter switched off; what it says travels with the answers
            var rows = Referenced(Rows(6), policy.With(), maxTokens, shared);
            var step = new StepRows(0, 0, [.. batches.Select((count, i) => Enumerable.Range(batches.Take(i).Sum(), count).ToArray())], 1);
            return Tiny.Step(policy, method, new(step, method.Lay(rows, step)),
                batch => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2) });
        }

        static TokenRowList Referenced(TokenRowList rows, Decoder reference, int maxTokens, bool shared)
        {
            var scores = TokenScores.Of(reference, shared ? rows : new SeparatePrompts(rows), [.. Enumerable.Range(0, rows.Count)], maxTokens, 0.7);
            return new([.. Enumerable.Range(0, rows.Count).Select(r => new TokenRow
            {
                Segments = rows.Read(r).Segments,
                Samples = [.. rows.Read(r).Samples!.Select((sample, i) => sample with { Reference = scores[r][i] })],
            })]);
        }
    }

    [Fact]
    public void Number_1_and_3_experts_are_spread_the_same_however_answers_are_put_together()
    {
        using var model = Tiny.Model("mixtral", 1);
        var method = new BalancedMethod(Method(new GrpoLoss { Beta = 0.1, Epsilon = 0.1, EpsilonHigh = 0.1 }, 1), coefficient: 0.3);
        var rows = Rows(6);
        var expected = Tiny.Step(model, method, Tiny.Whole(rows, method, 4096));
        foreach (var maxTokens in (ReadOnlySpan<int>)[1, 60, 4096])
            Tiny.Step(model, method, Tiny.Whole(new SeparatePrompts(rows), method, maxTokens)).MustEqual(expected, Rounding,
                $"separate prompts, bins of {maxTokens}");
        Tiny.Step(model, method, Tiny.Whole(rows, method, 60)).MustEqual(expected, Rounding, "shared prompts, bins of 60");
    }

    [Fact]
    public void Number_25_gradients_are_the_finite_differences_of_the_loss()
    {
        using var model = Tiny.Model("llama", 1);
        // nothing is cut, so that the loss is smooth
        var method = Method(new GrpoLoss { Beta = 0.3, Epsilon = 5, EpsilonHigh = 5 }, temperature: 1.3);
        var work = Tiny.Whole(Rows(3), method, 4096);
        // a steep loss
        Tiny.MustFollowDifferences(model, method, work, ["embed.weight", "layers.1.mlp.down.weight", "final_norm.weight"], 1e-6);
    }

    [Fact]
    public void The_least_and_the_greatest_share_that_is_cut_are_those_of_the_whole_step()
    {
        using var model = Tiny.Model("llama", 1);
        var method = Method(new GrpoLoss { Epsilon = 0.1, EpsilonHigh = 0.1 }, 1);
        var (whole, parts) = (Shares(4096), Shares(1));
        Assert.Equal(whole, parts);
        Assert.True(whole.High > 0 && whole.Low >= 0 && whole.Low <= whole.LowMean && whole.High >= whole.HighMean);

        (double Low, double High, double LowMean, double HighMean) Shares(int maxTokens)
        {
            var means = PreferenceCase.Step(model, method, Rows(6), maxTokens).Metrics.Means.ToDictionary();
            return (means["clip_ratio/low_min"], means["clip_ratio/high_max"], means["clip_ratio/low_mean"], means["clip_ratio/high_mean"]);
        }
    }

    /// <summary>Where one sampling serves one step once, the reference trainer takes the update's own log-probabilities, detached, for the
    /// old ones: the ratio is 1 under any dropout, so nothing is cut, and each token's derivative is −A of its masked
    /// log-probability.</summary>
    [Fact]
    public void On_policy_the_ratio_is_1_whatever_an_adapter_drops()
    {
        using var model = Tiny.Adapted("llama", AdapterKinds.Config(AdapterKind.Lora) with { Dropout = 0.5 });
        var loss = new GrpoLoss { Epsilon = 1e-9, EpsilonHigh = 1e-9 };
        var (onPolicy, further) = (Method(loss, 1), Method(loss, 1));
        TokenRowList sampled = new([.. Enumerable.Range(0, 6).Select(Rows(6).Read).Select(row =>
            row with { Samples = [.. row.Samples!.Select(sample => sample with { Old = [], Reference = [] })] })]);
        static ForwardOptions Dropping(TokenBatch batch) => new() { AdapterNoise = new AdapterDropout(3).For(batch, 2) };

        var plain = PreferenceCase.Step(model, onPolicy, sampled);
        var gradients = Tiny.Gradients(model);
        var dropped = PreferenceCase.Step(model, onPolicy, sampled, options: Dropping);
        Assert.Equal(plain.Loss, dropped.Loss, Rounding);
        Assert.NotEqual(gradients, Tiny.Gradients(model));
        Assert.Equal((0, 0), (Cut(plain.Metrics), Cut(dropped.Metrics)));

        // what the masks do to old log-probabilities that were taken without them, as where a sampling serves further steps
        var old = TokenScores.Of(model, sampled, [.. Enumerable.Range(0, 6)], 4096, 1);
        TokenRowList scored = new([.. Enumerable.Range(0, 6).Select(number => sampled.Read(number) with
        {
            Samples = [.. sampled.Read(number).Samples!.Select((sample, i) => sample with { Old = old[number][i] })],
        })]);
        Assert.True(Cut(PreferenceCase.Step(model, further, scored, options: Dropping).Metrics) > 0.2);

        static double Cut(MetricSums metrics) => metrics.Means.ToDictionary()["clip_ratio/region_mean"];
    }

    [Fact]
    public void The_mean_over_micro_batches_is_that_of_bnpo()
    {
        using var model = Tiny.Model("llama", 1);
        var method = Method(new GrpoLoss { Aggregation = GrpoAggregation.Bnpo }, 1);
        var rows = Rows(6);

        var whole = PreferenceCase.Step(model, method, rows, 4096, 3, 2).Loss;
        var halves = Enumerable.Range(0, 2).Select(half =>
            PreferenceCase.Step(model, method, new TokenRowList([.. Enumerable.Range(3 * half, 3).Select(rows.Read)])).Loss);

        Assert.Equal(halves.Average(), whole, Rounding);
    }

    [Fact]
    public void Answers_survive_a_checkpoint()
    {
        var state = new List<double>();
        var rows = Rows(3);
        new SampledRows(Enumerable.Range(0, 3).Select(i => (7 * i, rows.Read(i)))).Write(state);

        var again = SampledRows.Read(new Queue<double>(state));

        Assert.Equal([0, 7, 14], again.Numbers);
        for (var i = 0; i < 3; i++)
        {
            var (expected, read) = (rows.Read(i), again.Read(7 * i));
            Assert.Equal(expected.Segments.Select(s =>
                (s.Role, s.Parent, string.Join(' ', s.Ids.ToArray()), string.Join(' ', s.Loss.ToArray()))),
                read.Segments.Select(s => (s.Role, s.Parent, string.Join(' ', s.Ids.ToArray()), string.Join(' ', s.Loss.ToArray()))));
            Assert.Equal(expected.Samples!.Select(s => (s.Advantage, s.Counts, string.Join(' ', s.Old), string.Join(' ', s.Reference))),
                read.Samples!.Select(s => (s.Advantage, s.Counts, string.Join(' ', s.Old), string.Join(' ', s.Reference))));
        }
    }

    internal static GrpoMethod Method(GrpoLoss loss, double temperature, int maxTokens = 4096, bool shared = true) =>
        new(loss, new AnswerGroups(new() { Size = Size, Sampling = new SamplingOptions { Temperature = temperature } }, null!, []), null!,
            null!)
        { MaxTokens = maxTokens, SharePrompts = shared };

    /// <summary>Prompts with sampled answers: one of a single token, one that does not count, a prompt of a single token.</summary>
    internal static TokenRowList Rows(int count)
    {
        var random = new Random(5);
        return new([.. Enumerable.Range(0, count).Select(r =>
        {
            var prompt = Tokens(r == 1 ? 1 : random.Next(2, 12));
            var answers = Enumerable.Range(0, Size).Select(a => Tokens(a == 3 ? 1 : random.Next(2, 9))).ToArray();
            return new TokenRow
            {
                Segments = [new(SegmentRole.Prompt, -1, prompt, new byte[prompt.Length]),
                    .. answers.Select(ids =>
                    new TokenSegment(SegmentRole.Sample, 0, ids, Enumerable.Repeat((byte)1, ids.Length).ToArray()))],
                Samples = [.. answers.Select((ids, a) =>
                    new SampleScore((2 * random.NextDouble()) - 1, (r, a) is not (2, 1), Numbers(ids.Length), Numbers(ids.Length)))],
            };
        })]);

        int[] Tokens(int length) => [.. Enumerable.Range(0, length).Select(_ => random.Next(Tiny.Vocabulary))];
        double[] Numbers(int length) => [.. Enumerable.Range(0, length).Select(_ => -2.5 - random.NextDouble())];
    }
}
