using Handbook.Base;
using Handbook.Models.Generation;
using Handbook.Tests.Recipes;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Endpoints;
using Handbook.Training.Sampling.Scorers;
using Handbook.Training.Tests.Sampling;

namespace Handbook.Tests.Sampling;

public sealed class EndpointTests
{
    private static readonly SampledAnswer s_answer = new() { Text = "What is 2 + 2?", Answer = "It is {reference}.", Reference = "4" };

    [Fact]
    public void A_judge_sees_prompt_answer_and_reference_and_its_last_number_is_the_mark()
    {
        using var endpoint = new FakeEndpoint(_ => (200, "2 + 2 is 4, so this is right.\n8.5", null));
        var score = Judge(endpoint, "Q: {prompt} A: {answer} R: {reference}").Score([s_answer])[0];
        Assert.Equal(0.85, score.Value, 1e-12);
        Assert.StartsWith("2 + 2 is 4", score.Detail);
        var said = endpoint.Requests.Single().GetProperty("messages")[0].GetProperty("content").ToString();
        Assert.Contains("Q: What is 2 + 2? A: It is {reference}. R: 4", said);      // what an answer says stays what it says
    }

    [Fact]
    public void A_judge_without_a_mark_leaves_the_answer_unscored()
    {
        using var endpoint = new FakeEndpoint(_ => (200, "I would rather not say.", null));
        Assert.True(double.IsNaN(Judge(endpoint, null).Score([s_answer])[0].Value));
    }

    [Theory]
    [InlineData("I give 8/10", 0.8), InlineData("2/10", 0.2), InlineData("7 out of 10", 0.7), InlineData("**7** / **10**", 0.7),
        InlineData("Mark: 7.5/10.", 0.75), InlineData("10/10", 1), InlineData("Out of 10, I give 6", 0.6)]
    [InlineData("0 / 10\n", 0), InlineData("Score:9", 0.9), InlineData("8 OUT OF 10", 0.8), InlineData("８点", 0.8), InlineData("８／１０", 0.8),
        InlineData("8/10.5", 0.8), InlineData("In 1990 none. 3", 0.3)]
    [InlineData("a score of 8", 0.8), InlineData("8 of 10", 0.8), InlineData("4 out of a possible 10", 0.4),
        InlineData("an 8 on a scale of 0 to 10", 0.8), InlineData("7 on a scale from 1-10.", 0.7),
        InlineData("6 on the 10-point scale", 0.6), InlineData("6 on a 0–10 scale", 0.6)]
    [InlineData("On a scale from 0 to 10: 9", 0.9), InlineData("From 0 to 10 I say 2", 0.2), InlineData("3.\n\n**5**", 0.5),
        InlineData("2 of 4 facts are right.\n5", 0.5), InlineData("9 points", 0.9)]
    [InlineData("15", double.NaN), InlineData("-1", double.NaN), InlineData("80%", double.NaN), InlineData("/10", double.NaN),
        InlineData("out of 10", double.NaN), InlineData("", double.NaN)]
    public void A_mark_is_not_what_it_is_out_of_and_lies_between_the_marks_asked_for(string reply, double score)
    {
        using var endpoint = new FakeEndpoint(_ => (200, reply, null));
        var said = new List<string>();
        using var judge = new JudgeScorer(new ChatEndpoint(Options(endpoint.Address)), null, new ScorerOptions().JudgePattern, 10, 0,
            said.Add);
        Assert.Equal(score, judge.Score([s_answer])[0].Value, 1e-12);
        Assert.Equal(double.IsNaN(score) ? 1 : 0, said.Count);
    }

    [Fact]
    public void Replies_without_a_mark_are_counted_by_reason_with_an_example()
    {
        using var endpoint = new FakeEndpoint(body => (200,
            body.GetProperty("messages")[0].GetProperty("content").ToString() switch { "a" => "15", "b" => "no words", _ => "6" }, null));
        var said = new List<string>();
        using var judge = new JudgeScorer(new ChatEndpoint(Options(endpoint.Address)), "{answer}", new ScorerOptions().JudgePattern, 10, 1,
            said.Add);
        var scores = judge.Score([.. "aabc".Select(letter => s_answer with { Answer = $"{letter}" })]);
        Assert.Equal([double.NaN, double.NaN, double.NaN, 0.6], scores.Select(score => score.Value));
        Assert.Equal("the mark is not between judge_least 1 and judge_best 10: 15", scores[0].Detail);
        Assert.Equal(["judge: 1 of 4 replies give no score: no mark in the reply, e.g. \"no words\"",
            "judge: 2 of 4 replies give no score: the mark is not between judge_least 1 and judge_best 10, e.g. \"15\""], said);
    }

    [Fact]
    public void Equal_answers_to_equal_prompts_are_judged_once()
    {
        using var endpoint = new FakeEndpoint(body => (200,
            body.GetProperty("messages")[0].GetProperty("content").ToString().Contains("odd", StringComparison.Ordinal) ? "1" : "2", null));
        Environment.SetEnvironmentVariable("HANDBOOK_TEST_KEY", "k");
        using var scorers = new ScorerSet(new()
        {
            RewardFuncs = ["judge"],
            JudgeModel = "fake",
            JudgeBaseUrl = endpoint.Address,
            JudgePrompt = "{prompt} {answer}",
            EndpointKeyVariable = "HANDBOOK_TEST_KEY"
        }, DType.Float32);
        SampledAnswer[] answers = [s_answer with { Answer = "odd" }, s_answer with { Answer = "even" },
            s_answer with { Answer = "odd", Place = "elsewhere" }, s_answer with { Answer = "odd", Text = "another" }];
        Assert.Equal([0.1, 0.2, 0.1, 0.1], scorers.Score(answers));
        Assert.Equal(3, endpoint.Requests.Count);
        Assert.Equal([0.2, 0.2, 0.1], scorers.Score([answers[1], answers[1] with { Answer = "EVEN" }, answers[0]]));
        Assert.Equal(4, endpoint.Requests.Count);
    }

    [Fact]
    public void Requests_run_side_by_side_up_to_the_limit_and_each_is_told_at_its_place()
    {
        // The first two requests are answered once both are there: one after the other would wait in vain.
        using var both = new CountdownEvent(2);
        var seen = 0;
        using var endpoint = new FakeEndpoint(body =>
        {
            if (Interlocked.Increment(ref seen) <= 2)
            {
                both.Signal();
                both.Wait(TimeSpan.FromSeconds(20));
            }
            return (200, body.GetProperty("messages")[0].GetProperty("content").ToString().Contains("odd", StringComparison.Ordinal) ? "1"
                : "2", null);
        });
        var scores = Judge(endpoint, "{answer}")
            .Score([.. Enumerable.Range(0, 20).Select(i => s_answer with { Answer = i % 2 == 1 ? "odd" : "even" })]);
        Assert.Equal(Enumerable.Range(0, 20).Select(i => i % 2 == 1 ? 0.1 : 0.2), scores.Select(score => score.Value));
        Assert.InRange(endpoint.MostAtOnce, 2, 4);
    }

    [Fact]
    public void Failures_that_may_pass_are_repeated()
    {
        var failures = 0;
        using var endpoint = new FakeEndpoint(_ => Interlocked.Increment(ref failures) switch
        {
            1 => (429, "slow down", "0"),
            2 => (503, "busy", null),
            3 => (500, "oops", null),
            _ => (200, "7", null)
        });
        Assert.Equal(0.7, Judge(endpoint, null).Score([s_answer])[0].Value, 1e-12);
        Assert.Equal(4, endpoint.Requests.Count);
    }

    [Theory, InlineData(401, "wrong key", "check the key in HANDBOOK_TEST_KEY"), InlineData(404, "no such model", "the model's name"),
        InlineData(400, "bad", "does not take this request"), InlineData(302, "moved", "the server sends requests elsewhere")]
    public void A_refusal_is_told_at_once_with_what_to_do(int status, string text, string fix)
    {
        using var endpoint = new FakeEndpoint(_ => (status, text, null));
        var problem = Assert.Throws<InputException>(() => Judge(endpoint, null).Score([s_answer]));
        Assert.Contains($"answered {status}", problem.What);
        Assert.Contains(text, problem.What);
        Assert.Contains(fix, problem.Fix);
        Assert.Single(endpoint.Requests);
    }

    [Fact]
    public void What_was_done_before_a_failure_was_told()
    {
        var count = 0;
        using var endpoint = new FakeEndpoint(_ => Interlocked.Increment(ref count) <= 3 ? (200, "5", null) : (400, "enough", null));
        var told = new List<int>();
        using var judge = Judge(endpoint, null, parallel: 1);
        Assert.Throws<InputException>(() =>
            judge.Score([.. Enumerable.Repeat(s_answer, 6)], (i, _) => told.Add(i), CancellationToken.None));
        Assert.Equal(3, told.Count);
    }

    [Fact]
    public void An_endpoint_that_is_not_there_is_named()
    {
        string address;
        using (var endpoint = new FakeEndpoint(_ => (200, "", null)))
            address = endpoint.Address;
        using var judge = new JudgeScorer(new ChatEndpoint(Options(address) with { Retries = 1 }), null, "(\\d+)", 10);
        var problem = Assert.Throws<InputException>(() => judge.Score([s_answer]));
        Assert.Contains("cannot be reached", problem.What);
        Assert.Equal("2 attempts failed", problem.Why);
    }

    [Fact]
    public void Nobody_waits_long_for_an_endpoint_that_never_replied_and_each_repetition_is_told()
    {
        string address;
        using (var endpoint = new FakeEndpoint(_ => (200, "", null)))
            address = endpoint.Address;
        var said = new List<string>();
        using var judge = new JudgeScorer(new ChatEndpoint(Options(address) with { Retries = 6, Say = said.Add }), null, "(\\d+)", 10);
        Assert.Equal("2 attempts failed", Assert.Throws<InputException>(() => judge.Score([s_answer])).Why);
        Assert.Matches(@"^http://127\.0\.0\.1:\d+/v1 \(fake\): .*refused.*; request 1 of 1 is sent again in 0 s \(try 2 of 2\)$",
            Assert.Single(said));
    }

    [Fact]
    public void An_endpoint_that_went_away_after_its_first_reply_is_waited_for()
    {
        var said = new List<string>();
        var count = 0;
        using var endpoint = new FakeEndpoint(_ => Interlocked.Increment(ref count) == 2 ? (503, "starting", null) : (200, "5", null));
        using var judge = new JudgeScorer(new ChatEndpoint(Options(endpoint.Address) with { Parallel = 1, Retries = 2, Say = said.Add }),
            null, @"(\d+)", 10);
        judge.Score([s_answer]);
        judge.Score([s_answer]);
        Assert.Contains("answered 503: ", Assert.Single(said));
        endpoint.Dispose();
        Assert.Equal("3 attempts failed", Assert.Throws<InputException>(() => judge.Score([s_answer])).Why);
        Assert.Equal(3, said.Count);
    }

    [Fact]
    public void Options_that_an_endpoint_has_no_word_for_are_refused()
    {
        var endpoint = new ChatEndpoint(Options("http://localhost:1/v1"));
        var problem = Assert.Throws<InputException>(() =>
            new EndpointAnswers(endpoint, "fake", new() { TopK = 5, RepetitionPenalty = 1.1 }, []));
        Assert.Equal("top_k and repetition_penalty cannot be sent to an endpoint", problem.What);
    }

    [Theory]
    [InlineData("localhost:8000/v1"), InlineData("ftp://x/v1"), InlineData("http://"), InlineData("http://a b/v1"), InlineData("")]
    public void An_address_that_is_none_is_refused_by_the_recipe(string address)
    {
        var lines = RecipeFile.Good + "reward_funcs: judge\njudge_model: m\n";
        Assert.Contains($"judge_base_url is \"{address}\", which is no http or https address",
            RecipeFile.Said(lines + $"judge_base_url: \"{address}\"\n", TrainingMethod.Grpo));
        Assert.Contains($"sample_base_url is \"{address}\", which is no http or https address",
            RecipeFile.Said(lines + $"sample_model: m\nsample_base_url: \"{address}\"\n", TrainingMethod.RejectionSample));
        Assert.DoesNotContain("_base_url", RecipeFile.Said(lines + "judge_base_url: http://localhost:8000/v1\n", TrainingMethod.Grpo));
    }

    [Fact]
    public void Whether_somebody_listens_is_asked_without_a_request()
    {
        using var endpoint = new FakeEndpoint(_ => (200, "", null));
        Assert.Null(EndpointAddress.Silent(new Uri(endpoint.Address), TimeSpan.FromSeconds(5)));
        Assert.Empty(endpoint.Requests);
        endpoint.Dispose();
        Assert.Contains("refused", EndpointAddress.Silent(new Uri(endpoint.Address), TimeSpan.FromSeconds(5)));
    }

    [Fact]
    public void A_missing_key_and_a_bad_address_are_told_before_anything_is_sent()
    {
        Assert.Equal("the environment variable HANDBOOK_NO_SUCH_KEY is not set",
            Assert.Throws<InputException>(() => new ChatEndpoint(new() { Model = "m", KeyVariable = "HANDBOOK_NO_SUCH_KEY" })).What);
        Assert.Contains("no http or https address", Assert.Throws<InputException>(() => new ChatEndpoint(Options("localhost:8000"))).What);
    }

    [Fact]
    public void Answers_are_sampled_with_the_recipe_s_options_and_a_seed_each()
    {
        using var endpoint = new FakeEndpoint(body => (200, $"seed {body.GetProperty("seed")}", null));
        using var source = new EndpointAnswers(new ChatEndpoint(Options(endpoint.Address)), "fake",
            new() { Temperature = 0.5, TopP = 0.9, MaxNewTokens = 33 }, ["END"]);
        var answers = new Dictionary<(int, int), GivenAnswer>();
        source.Answer([new(new Prompt { Text = "one" }, [1, 2]),
            new(new Prompt { Messages =
            System.Text.Json.JsonDocument.Parse("""[{"role":"system","content":"be kind"},{"role":"user","content":"two"}]""")
            .RootElement }, [3])],
            (r, s, answer) => answers[(r, s)] = answer, CancellationToken.None);
        Assert.Equal(3, answers.Values.Select(answer => answer.Text).Distinct().Count());
        Assert.All(answers.Values, answer => Assert.True(answer is { Finished: true, Tokens: 5 }));
        var body = endpoint.Requests.First(request => request.GetProperty("messages").GetArrayLength() == 2);
        Assert.Equal("system", body.GetProperty("messages")[0].GetProperty("role").GetString());
        Assert.Equal(0.5, body.GetProperty("temperature").GetDouble(), 1e-6);
        Assert.Equal(33, body.GetProperty("max_completion_tokens").GetInt32());
        Assert.Equal("END", body.GetProperty("stop")[0].GetString());
    }

    private static JudgeScorer Judge(FakeEndpoint endpoint, string? prompt, int parallel = 4) =>
        new(new ChatEndpoint(Options(endpoint.Address) with { Parallel = parallel }), prompt, @"(\d+(?:\.\d+)?)", 10);

    private static EndpointOptions Options(string address) => new()
    {
        BaseUrl = address,
        Model = "fake",
        KeyVariable = "HANDBOOK_TEST_KEY",
        Retries = 3,
        FirstWait = TimeSpan.FromMilliseconds(5),
        Timeout = 20
    };
}
