using Handbook.Base;
using Handbook.Evaluation.Judging;
using Handbook.Models.Generation;
using Handbook.Testing;
using Handbook.Training.Progress;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Endpoints;
using Handbook.Training.Tests.Sampling;

namespace Handbook.Tests.Evaluation.Judging;

/// <summary>Win rates, plain and length-controlled.</summary>
public sealed class AlpacaTests
{
    [Theory]
    [InlineData("zephyr-7b-beta", 90.5977584059776, 1.0287080531312012, 727, 75, 1, 803, 1444)]
    [InlineData("tulu-2-dpo-7b", 84.22360248447205, 1.2855613371106336, 678, 127, 0, 805, 1663)]
    [InlineData("llama-2-7b-chat-hf", 71.36645962732919, 1.593038654706019, 574, 230, 1, 805, 1479)]
    public void Real_annotations_give_their_published_win_rates(string model, double rate, double error, int wins, int losses,
        int draws, int total, int length)
    {
        var report = AlpacaRun.Measure(SharedFiles.Need("data", "alpaca-eval-preferences", $"{model}.json"), null);
        Assert.Equal(rate, report.WinRate, 1e-9);
        Assert.Equal(rate, report.Discrete, 1e-9);
        Assert.Equal(error, report.StandardError, 1e-9);
        Assert.Equal((model, wins, losses, draws, total, length),
            (report.Model, report.Wins, report.Losses, report.Draws, report.Total, report.AverageLength));
    }

    [Theory]
    [InlineData(0.01, true), InlineData(1.0, true), InlineData(30.0, false), InlineData(1e4, true)]
    public void No_weight_can_move_and_lower_the_penalised_loss(double strength, bool hasDifficulty)
    {
        var rows = Made(200, 1.3, -0.8, 0.4, 5);
        var w = new double[3];
        LengthControl.Minimise(rows, strength, hasDifficulty, w);
        for (var k = 0; k < 3; k++)
        {
            // By definition: 0 lies in the subgradient of ‖w‖₁ + C Σ s ℓ.
            var gradient = strength * rows.Sum(row => row.Weight * (1 / (1 + Math.Exp(-Sum(row, w))) - row.Preference) * Part(row, k));
            if (k == 1 && !hasDifficulty)
                Assert.Equal(0, w[k]);
            else if (w[k] == 0)
                Assert.InRange(gradient, -1 - 1e-6, 1 + 1e-6);
            else
                Assert.Equal(-Math.Sign(w[k]), gradient, 1e-6 * (1 + strength));
        }

        static double Part(LengthRow row, int k) => k == 0 ? Math.Tanh(row.Length) : k == 1 ? row.Difficulty : row.IsGamed ? 0 : 1;

        static double Sum(LengthRow row, double[] w) => Enumerable.Range(0, 3).Sum(k => w[k] * Part(row, k));
    }

    [Fact]
    public void Long_answers_gain_nothing_where_lengths_are_controlled()
    {
        // A judge that only likes length: about as many wins as there are longer answers, but none at equal lengths.
        var random = new Random(3);
        LengthRow[] rows = [.. Enumerable.Range(0, 600).Select(_ =>
        {
            var length = random.NextDouble() * 2 - 1.6;
            return new LengthRow(random.NextDouble() < 1 / (1 + Math.Exp(6 * Math.Tanh(length))) ? 1 : 0, length, 0, false, 1);
        })];
        var fit = LengthControl.Of(rows, [], hasDifficulty: false);
        Assert.InRange(rows.Average(row => row.Preference), 0.75, 0.95);
        Assert.InRange(fit.Mean, 0.4, 0.6);
        Assert.True(fit.Weights[0] < -3);

        // Published pairs of one model, told to be long and short, that the judge did not fall for hold the fit back.
        var gamed = Enumerable.Range(0, 1200).Select(i => new LengthRow(0.5, i % 2 == 0 ? 2 : -2, 0, IsGamed: true, 10)).ToArray();
        Assert.True(Math.Abs(LengthControl.Of(rows, gamed, hasDifficulty: false).Weights[0]) < Math.Abs(fit.Weights[0]) / 2);
    }

    [Fact]
    public void Published_pairs_and_difficulties_are_read_and_checked()
    {
        using var folder = new TemporaryFolder();
        var path = folder["df_gamed.csv"];
        File.WriteAllText(path, """
            model,index,preference,std_delta_len,not_gamed_baseline,instruction_difficulty
            concise,0,0.2,0.5,False,1.5
            concise,1,,0.1,False,-0.5
            verbose,0,0.9,-1.5,False,1.5
            verbose,1,0.6,-0.5,False,-0.5
            """);
        var (gamed, difficulty) = LengthControl.ReadGamed(path);
        Assert.Equal([1.5, -0.5], difficulty);
        Assert.Equal(4, gamed.Count);
        Assert.True(double.IsNaN(gamed[1].Preference));
        Assert.All(gamed, row => Assert.True(row.IsGamed && row.Weight == 0.1));
        File.WriteAllText(folder["annotations.json"], """
            [{"instruction": "a", "output_1": "xx", "output_2": "yyyy", "generator_2": "m", "preference": 2},
             {"instruction": "b", "output_1": "xxx", "output_2": "y", "generator_2": "m", "preference": null}]
            """);
        var report = AlpacaRun.Measure(folder["annotations.json"], path);
        Assert.False(report.IsMinimal);
        Assert.Equal((100, 1, 1), (report.WinRate, report.Total, report.Unparsed));
        Assert.InRange(report.Controlled.Mean, 0.4, 1);
        File.WriteAllText(path, "index,preference,std_delta_len,instruction_difficulty\n1,0.5,0,1\n");
        Assert.Contains("does not number its instructions", Assert.Throws<InputException>(() => LengthControl.ReadGamed(path)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public void A_judge_sees_both_orders_and_what_it_said_is_kept()
    {
        using var folder = new TemporaryFolder();
        AlpacaOutput[] reference = [.. Enumerable.Range(0, 8).Select(i => new AlpacaOutput($"say {i}", $"word {i}", "base", "made"))];
        AlpacaOutput.Write(folder["mine.json"], reference.Reverse().Select(asked => asked with
        {
            Output = asked.Instruction switch
            {
                "say 1" or "say 2" => "good",
                "say 3" => "silent",
                _ => asked.Output
            },
            Generator = "mine",
        }));
        // Likes "good", says nothing about "silent", and otherwise the first.
        using var endpoint = new FakeEndpoint(body =>
        {
            var words = body.GetProperty("messages").EnumerateArray().Last().GetProperty("content").GetString()!;
            var (good, second) = (words.IndexOf("good", StringComparison.Ordinal), words.IndexOf("Assistant B begins", StringComparison.Ordinal));
            return (200, words.Contains("silent", StringComparison.Ordinal) ? "hm" : good < 0 || good < second ? "so [[A]]" : "so [[B]]", null);
        });
        var options = new AlpacaOptions
        {
            Reference = reference,
            Outputs = AlpacaOutput.Read(folder["mine.json"], "--outputs"),
            Output = folder["out"],
            Judge = new SpokenPairJudge(BenchRunTests.On(endpoint), JudgePrompts.Own()),
            Observer = RunObservers.None,
        };
        var report = AlpacaRun.Run(options)!;
        Assert.Equal((2, 0, 5, 1), (report.Wins, report.Losses, report.Draws, report.Unparsed));
        Assert.Equal(16, endpoint.Requests.Count);
        var again = AlpacaRun.Run(options)!;
        Assert.Equal(16, endpoint.Requests.Count);
        Assert.Equal(report.WinRate, again.WinRate);
        Assert.Equal(report.WinRate, AlpacaRun.Measure(folder["out/annotations.json"], null).WinRate);
        var other = options with { Outputs = [.. options.Outputs!.Select(output => output with { Output = output.Output + "!" })] };
        Assert.Contains("name another --output", Assert.Throws<InputException>(() => AlpacaRun.Run(other)).Fix!, StringComparison.Ordinal);
        Assert.Contains("1 of 9 instructions of --reference have no answer", Assert.Throws<InputException>(() => AlpacaRun.Run(options with
        {
            Reference = [.. reference, new("new", "x", "base", null)],
        })).Message, StringComparison.Ordinal);
    }

    [Fact] // σ of the difference: the published example, log p(M) = −0.017597131 and log p(m) = −4.048847, prefers the second by 0.98256
    public void A_letters_probability_is_the_preference()
    {
        Assert.Equal(1.98256, WeightedPairJudge.Preference(new Dictionary<string, double>
        {
            ["M"] = -0.017597131,
            ["m"] = -4.048847,
            ["Both"] = -14.908222,
        }), 1e-5);
        Assert.Equal(1, WeightedPairJudge.Preference(new Dictionary<string, double> { ["m"] = -3, ["The"] = -0.1 }));
        Assert.Equal(2, WeightedPairJudge.Preference(new Dictionary<string, double> { ["M"] = -3 }));
        Assert.True(double.IsNaN(WeightedPairJudge.Preference(new Dictionary<string, double> { ["The"] = -0.1 })));
    }

    [Fact]
    public void A_weighted_judge_is_asked_for_one_token_in_both_orders()
    {
        using var folder = new TemporaryFolder();
        AlpacaOutput[] reference = [.. Enumerable.Range(0, 3).Select(i => new AlpacaOutput($"say {i}", $"word {i}", "base", "made"))];
        AlpacaOutput[] mine = [.. reference.Select((asked, i) => asked with { Output = i == 2 ? "silent" : $"good {i}", Generator = "mine" })];
        // Likes "good" with 0.8 where it stands first, and with 0.9 where it stands second.
        using var endpoint = new FakeEndpoint(_ => (200, "m", null), body =>
        {
            var words = body.GetProperty("messages").EnumerateArray().Last().GetProperty("content").GetString()!;
            if (words.Contains("silent"))
                return new Dictionary<string, double> { ["Both"] = -0.1 };
            var isFirst = words.IndexOf("good") < words.IndexOf("word");
            return new Dictionary<string, double> { ["m"] = Math.Log(isFirst ? 0.8 : 0.1), ["M"] = Math.Log(isFirst ? 0.2 : 0.9) };
        });
        File.WriteAllText(folder["clf.txt"], "<|im_start|>system\nYou judge.\n<|im_end|>\n<|im_start|>user\n{\n  \"i\": {instruction}\n}\n"
            + "m: {output_1}\nM: {output_2}\n<|im_end|>\n");
        var report = AlpacaRun.Run(new()
        {
            Reference = reference,
            Outputs = mine,
            Output = folder["out"],
            Judge = new WeightedPairJudge(Weighing(endpoint), WeightedPrompt.Read(folder["clf.txt"])),
            Observer = RunObservers.None,
        })!;
        Assert.Equal(85, report.WinRate, 1e-4);       // (0.8 + 0.9) / 2 of both; log-probabilities come as float32
        Assert.Equal((2, 0, 0, 1), (report.Wins, report.Losses, report.Draws, report.Unparsed));
        Assert.Equal(6, endpoint.Requests.Count);
        Assert.All(endpoint.Requests, request => Assert.Equal((true, 5, 1), (request.GetProperty("logprobs").GetBoolean(),
            request.GetProperty("top_logprobs").GetInt32(), request.GetProperty("max_completion_tokens").GetInt32())));
        Assert.All(endpoint.Requests, request => Assert.Equal("You judge.", request.GetProperty("messages")[0].GetProperty("content").GetString()));
        Assert.Contains(endpoint.Requests, request => request.GetProperty("messages")[1].GetProperty("content").GetString()
            == "{\n  \"i\": say 0\n}\nm: word 0\nM: good 0");
        Assert.Equal(report.WinRate, AlpacaRun.Measure(folder["out/annotations.json"], null).WinRate, 1e-9);

        File.WriteAllText(folder["clf.txt"], "<|im_start|>user\n{instruction} {output_1}<|im_end|>");
        Assert.Contains("no place for output_2", Assert.Throws<InputException>(() => WeightedPrompt.Read(folder["clf.txt"])).Message);
        using var silent = new FakeEndpoint(_ => (200, "m", null));
        using var judge = new WeightedPairJudge(Weighing(silent), WeightedPrompt.Own);
        Assert.Contains("without log-probabilities", Assert.Throws<InputException>(() =>
            judge.Compare([(reference[0], mine[0])], (_, _, _) => { }, default)).Message);
    }

    private static EndpointFirstTokens Weighing(FakeEndpoint endpoint) => new(new Judge("judge", () => new EndpointAnswers(
        new ChatEndpoint(new() { BaseUrl = endpoint.Address, Model = "judge" }), "judge", new SamplingOptions { MaxNewTokens = 1 }, [],
        EndpointFirstTokens.Count)));

    private static LengthRow[] Made(int count, double length, double difficulty, double model, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            var (x, d, gamed) = (random.NextDouble() * 4 - 2, random.NextDouble() * 2 - 1, i % 3 == 0);
            var p = 1 / (1 + Math.Exp(-(length * Math.Tanh(x) + difficulty * d + (gamed ? 0 : model))));
            return new LengthRow(i % 5 == 0 ? p : random.NextDouble() < p ? 1 : 0, x, d, gamed, gamed ? 0.1 : 1);
        })];
    }
}
