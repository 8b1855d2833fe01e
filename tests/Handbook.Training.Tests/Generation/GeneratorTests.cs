using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Generation;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Training.Tests.Generation;

[Collection("tensors")]
public sealed class GeneratorTests
{
    private static readonly SamplingOptions Greedy = new() { Temperature = 0, MaxNewTokens = 12 };

    // Nine prompts of different lengths.
    private static readonly int[][] Prompts = [.. Enumerable.Range(0, 9)
        .Select(i => Enumerable.Range(0, 1 + 5 * i % 13).Select(j => (7 * i + 3 * j + 1) % 19).ToArray())];

    [Theory, InlineData(1, DType.Float32), InlineData(2, DType.Float32), InlineData(3, DType.Float32), InlineData(16, DType.Float32),
        InlineData(4, DType.BFloat16)]
    public void Number_32_a_batch_answers_as_each_prompt_alone(int batchSize, DType compute)
    {
        using var model = Model(Some.Llama(), compute);
        var generator = new Generator(model);
        // Two tokens that come up in the middle of answers end some of them early, so that waiting prompts take their places.
        var free = generator.Generate(Prompts, Greedy);
        var options = Greedy with { StopIds = [free[1].Tokens[3], free[6].Tokens[7]], BatchSize = batchSize };
        var alone = Prompts.Select(prompt => generator.Generate([prompt], options)[0]).ToArray();
        var together = generator.Generate(Prompts, options);
        Assert.True(alone.Select(a => a.Tokens.Length).Distinct().Count() > 1, "all answers are equally long: nothing was refilled");
        AssertSame(alone, together);
    }

    [Theory, InlineData(DType.Float32), InlineData(DType.BFloat16)]
    public void Number_32_drawn_answers_do_not_depend_on_the_batch_nor_on_how_many_are_drawn(DType compute)
    {
        using var model = Model(Some.Llama(), compute);
        var options = new SamplingOptions
        {
            MaxNewTokens = 20,
            Temperature = 1.3,
            TopP = 0.9,
            TopK = 12,
            RepetitionPenalty = 1.2,
            Seed = 5,
            StopIds = [3]
        };
        SampleRequest[] requests = [.. Prompts.Select((prompt, i) => new SampleRequest(prompt, [4 * i, 4 * i + 1, 4 * i + 2, 4 * i + 3]))];
        var one = new Generator(model).Sample(requests, options with { BatchSize = 1 });
        var many = new Generator(model).Sample(requests, options with { BatchSize = 16 });
        AssertSame(one.SelectMany(group => group), many.SelectMany(group => group));
        // Any part of them, in any company: what a resumed run samples.
        var part = new Generator(model).Sample([requests[7], new SampleRequest(requests[2].Tokens, [11, 9])],
            options with { BatchSize = 3 });
        AssertSame([many[7][0], many[7][3], many[2][3], many[2][1]], [part[0][0], part[0][3], part[1][0], part[1][1]]);
        Assert.Equal(4, many[8].Select(a => string.Join(' ', a.Tokens)).Distinct().Count());
        Assert.NotEqual(many[8].Select(a => a.Tokens),
            new Generator(model).Sample(requests, options with { Seed = 6 })[8].Select(a => a.Tokens));
        Assert.Contains(many.SelectMany(group => group), a => a.EndToken == 3 && a.EndLogProb < 0);
    }

    [Theory, InlineData(0), InlineData(7)]
    public void What_prompts_begin_with_is_read_once_and_changes_nothing(int window)
    {
        using var model = Model(window == 0 ? Some.Llama()
            : Some.Llama(("model_type", "mistral"), ("sliding_window", window), ("hidden_size", 48)));
        var system = Enumerable.Range(0, 40).Select(i => 5 * i % 17).ToArray();
        SampleRequest[] requests = [.. Prompts.Select((prompt, i) => new SampleRequest([.. system, .. prompt], [2 * i, 2 * i + 1]))];
        var options = new SamplingOptions { MaxNewTokens = 8, Seed = 3 };
        var together = new Generator(model).Sample(requests, options);
        for (var i = 0; i < requests.Length; i++)
            AssertSame(new Generator(model).Sample([requests[i]], options)[0], together[i]);
        AssertSame(together[4], new Generator(model) { TokensAtOnce = 5 }.Sample(requests, options)[4]);
    }

    [Theory, InlineData(DType.Float32), InlineData(DType.BFloat16)]
    public void Experts_answer_a_batch_as_each_prompt_alone_and_as_the_whole_forward_pass(DType compute)
    {
        using var model = Model(Some.Mixtral(), compute);
        var options = new SamplingOptions { MaxNewTokens = 12, Temperature = 1.1, Seed = 4 };
        SampleRequest[] requests = [.. Prompts.Select((prompt, i) => new SampleRequest(prompt, [2 * i, 2 * i + 1]))];
        var together = new Generator(model).Sample(requests, options with { BatchSize = 16 });
        for (var i = 0; i < requests.Length; i++)
            AssertSame(new Generator(model).Sample([requests[i]], options with { BatchSize = 1 })[0], together[i]);
        if (compute == DType.BFloat16)
            return;
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var answer = new Generator(model).Generate([Prompts[3]], Greedy)[0];
        var logits = model.Logits(StreamLayout.Of([[.. Prompts[3], .. answer.Tokens]]));
        for (var t = 0; t < answer.Tokens.Length; t++)
        {
            var row = logits.AsSpan<float>().Slice((Prompts[3].Length + t - 1) * 19, 19);
            Assert.Equal(row[answer.Tokens[t]] - LogSumExp(row), answer.LogProbs[t], 2e-5);
        }
    }

    private static void AssertSame(IEnumerable<Answer> expected, IEnumerable<Answer> actual)
    {
        Assert.Equal(expected.Select(a => a.Tokens), actual.Select(a => a.Tokens));
        Assert.Equal(expected.Select(a => a.LogProbs), actual.Select(a => a.LogProbs));       // the bits: each row's products are its own
        Assert.Equal(expected.Select(a => (a.Finish, a.EndToken, a.EndLogProb)), actual.Select(a => (a.Finish, a.EndToken, a.EndLogProb)));
    }

    [Fact]
    public void A_cache_that_grows_gives_what_the_whole_forward_pass_gives()
    {
        using var model = Model(Some.Llama());
        // 16 + 256 tokens are the first room; 300 make it grow. In float64 the two ways agree to rounding.
        var prompt = Enumerable.Range(0, 7).ToArray();
        var answer = new Generator(model).Generate([prompt], Greedy with { MaxNewTokens = 300 })[0];
        Assert.Equal(300, answer.Tokens.Length);
        int[] all = [.. prompt, .. answer.Tokens];
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var logits = model.Logits(StreamLayout.Of([all]));
        for (var t = 0; t < answer.Tokens.Length; t++)
        {
            var row = logits.AsSpan<float>().Slice((prompt.Length + t - 1) * 19, 19);
            Assert.Equal(row[answer.Tokens[t]] - LogSumExp(row), answer.LogProbs[t], 2e-5);
        }
    }

    [Fact]
    public void A_prompt_read_in_parts_gives_the_same_answer()
    {
        using var model = Model(Some.Llama());
        var whole = new Generator(model).Generate(Prompts, Greedy);
        var parts = new Generator(model) { TokensAtOnce = 4 }.Generate(Prompts, Greedy);
        Assert.Equal(whole.Select(a => a.Tokens), parts.Select(a => a.Tokens));
    }

    [Fact]
    public void Bfloat16_answers_almost_as_float32()
    {
        using var model = Model(Some.Llama(), DType.BFloat16);
        using var exact = Model(Some.Llama());
        var (answers, reference) = (new Generator(model).Generate(Prompts, Greedy), new Generator(exact).Generate(Prompts, Greedy));
        for (var i = 0; i < reference.Length; i++)
            Assert.Equal(reference[i].LogProbs[0], answers[i].LogProbs[0], 0.1);        // two layers of 8-bit products with large weights
    }

    [Fact]
    public void Learned_positions_end_an_answer_where_they_end()
    {
        using var model = Model(Some.Gpt2(positions: 16));
        var generator = new Generator(model);
        // 10 tokens are read, 6 more can be; the last one drawn needs no position of its own.
        var answer = generator.Generate([Ids(10)], Greedy with { MaxNewTokens = 100 })[0];
        Assert.Equal(7, answer.Tokens.Length);
        Assert.Equal(FinishReason.Length, answer.Finish);
        Assert.Single(generator.Generate([Ids(16)], Greedy)[0].Tokens);
        var problem = Assert.Throws<InputException>(() => generator.Generate([Ids(17)], Greedy));
        Assert.Equal("prompt 1 has 17 tokens, but the model has 16 learned positions", problem.What);
    }

    [Fact]
    public void A_listener_ends_an_answer()
    {
        using var model = Model(Some.Llama());
        var heard = 0;
        var answer = new Generator(model).Generate([[1, 2]], Greedy, (_, _) => ++heard < 4)[0];
        Assert.Equal(4, answer.Tokens.Length);
        Assert.Equal(FinishReason.Stop, answer.Finish);
    }

    [Fact]
    public void Nothing_is_left_behind()
    {
        using var model = Model(Some.Llama());
        new Generator(model).Generate(Prompts, Greedy);
        var before = Tensor.LiveCount;
        new Generator(model).Generate(Prompts, Greedy with { BatchSize = 2 });
        using var cancelled = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() =>
            new Generator(model).Generate(Prompts, Greedy, (_, _) => { cancelled.Cancel(); return true; }, cancel: cancelled.Token));
        Assert.Equal(before, Tensor.LiveCount);
    }

    [Fact]
    public void A_token_that_the_model_does_not_have_is_named()
    {
        using var model = Model(Some.Llama());
        var problem = Assert.Throws<InputException>(() => new Generator(model).Generate([[1], [2, 19]], Greedy));
        Assert.Equal("prompt 2 has the token id 19, but the model's vocabulary has 19 entries", problem.What);
        Assert.Equal("prompt 1 has no token", Assert.Throws<InputException>(() => new Generator(model).Generate([[]], Greedy)).What);
    }

    private static int[] Ids(int count) => [.. Enumerable.Range(0, count).Select(i => i % 13)];

    private static double LogSumExp(ReadOnlySpan<float> row)
    {
        var sum = 0.0;
        foreach (var x in row)
            sum += Math.Exp(x);
        return Math.Log(sum);
    }

    // Large weights, so that the best token is clearly the best.
    private static Decoder Model(PublishedConfig config, DType compute = DType.Float32)
    {
        using var folder = new TemporaryFolder();
        var json = (JsonObject)config.Json.DeepClone();
        json["initializer_range"] = 0.5;
        config = PublishedConfig.Parse(System.Text.Encoding.UTF8.GetBytes(json.ToJsonString()), "config.json");
        WeightFilesWriter.Save(folder.Path, NewModel.Tensors(config, 11, DType.Float32));
        using var weights = ModelWeights.Open(folder.Path, config, fused: true);
        return Decoder.Load(weights, ParameterPlan.Frozen(weights, compute));
    }
}
