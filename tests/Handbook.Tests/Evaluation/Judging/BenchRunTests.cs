using System.Text.Json;
using Handbook.Base;
using Handbook.Evaluation.Judging;
using Handbook.Models.Generation;
using Handbook.Testing;
using Handbook.Training.Progress;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Endpoints;
using Handbook.Training.Tests.Sampling;

namespace Handbook.Tests.Evaluation.Judging;

/// <summary>The whole of MT-Bench: answers, judgements, tables.</summary>
public sealed class BenchRunTests
{
    [Fact]
    public void Every_question_is_answered_and_marked_beside_its_reference()
    {
        using var folder = new TemporaryFolder();
        var questions = BenchQuestion.Read(SharedFiles.Need("data", "mt-bench", "question.jsonl"));
        var references = SharedFiles.Need("data", "mt-bench", "reference_answer-gpt-4.jsonl");
        var speaker = new Speaker();
        using var endpoint = new FakeEndpoint(body => (200, Mark(Last(body)), null));
        var options = new BenchOptions
        {
            Questions = questions,
            Output = folder["bench"],
            Model = new("mine", "weights", speaker.At),
            Judge = On(endpoint),
            Prompts = JudgePrompts.Read(SharedFiles.Need("data", "mt-bench", "judge_prompts.jsonl")),
            References = references,
            Observer = RunObservers.None,
        };
        var standing = Assert.Single(BenchRun.Run(options));

        // Answers: every turn, at the temperature of its category, the second one with the first one's answer before it.
        Assert.Equal(160, speaker.Asked.Count);
        Assert.Equal([0.0, 0.1, 0.7], speaker.Asked.Select(asked => asked.Temperature).Distinct().Order());
        foreach (var (temperature, messages) in speaker.Asked)
        {
            var question = questions.Single(question => question.Turns[0] == messages[0].GetProperty("content").GetString());
            Assert.Equal(question.Category switch
            {
                "writing" or "roleplay" => 0.7,
                "stem" or "humanities" => 0.1,
                _ => 0,
            }, temperature);
            Assert.Equal(messages.GetArrayLength() == 1 ? ["user"] : (string[])["user", "assistant", "user"],
                messages.EnumerateArray().Select(message => message.GetProperty("role").GetString()!));
        }
        var answers = File.ReadAllLines(folder["bench/model_answer/mine.jsonl"]).Select(line => JsonDocument.Parse(line).RootElement).ToArray();
        Assert.Equal(questions.Select(question => question.Id).Order(), answers.Select(answer => answer.GetProperty("question_id").GetInt32()));
        Assert.All(answers, answer => Assert.Equal(["question_id", "answer_id", "model_id", "choices", "tstamp"],
            answer.EnumerateObject().Select(property => property.Name)));

        // Judgements: every turn once; a reference beside math, reasoning and coding alone.
        Assert.Equal(160, endpoint.Requests.Count);
        Assert.Equal(60, endpoint.Requests.Count(body => Last(body).Contains("Reference", StringComparison.Ordinal)));
        var lines = File.ReadAllLines(folder["bench/model_judgment/judge_single.jsonl"]);
        var judgements = lines.Select(line => JsonDocument.Parse(line).RootElement).ToArray();
        Assert.Equal(["question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp"],
            judgements[0].EnumerateObject().Select(property => property.Name));
        foreach (var turn in (int[])[1, 2])
        {
            // As show_result.py has it: the mean of all marks but −1.
            double[] marks = [.. judgements.Where(judgement => judgement.GetProperty("turn").GetInt32() == turn)
                .Select(judgement => judgement.GetProperty("score").GetDouble()).Where(mark => mark != -1)];
            Assert.Equal(marks.Average(), standing.Values.Single(value => value.Name == $"turn_{turn}").Value.Value, 1e-12);
        }
        Assert.Equal(judgements.Count(judgement => judgement.GetProperty("score").GetDouble() == -1), standing.Unparsed);
        Assert.InRange(standing.Unparsed, 5, 60);
        Assert.Equal(11, standing.Values.Count);        // two turns, all, and eight categories

        // After a sudden end the same command asks for what is missing.
        File.WriteAllText(folder["bench/model_judgment/judge_single.jsonl"], string.Join('\n', lines[..100]) + "\n" + lines[100][..30]);
        var again = Assert.Single(BenchRun.Run(options));
        Assert.Equal(220, endpoint.Requests.Count);
        Assert.Equal(160, speaker.Asked.Count);
        Assert.Equal(standing.Values, again.Values);

        Assert.Contains("--references is missing", Assert.Throws<InputException>(() => BenchRun.Run(options with { References = null })).Message,
            StringComparison.Ordinal);
        Assert.Contains("were made from another model", Assert.Throws<InputException>(() => BenchRun.Run(options with
        {
            Model = new("mine", "other weights", speaker.At),
        })).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Pairs_are_judged_in_both_orders_and_a_doubt_is_a_tie()
    {
        using var folder = new TemporaryFolder();
        BenchQuestion[] questions = [.. Enumerable.Range(1, 6).Select(id => new BenchQuestion(id, "writing", [$"first {id}", $"then {id}"]))];
        Answer("strong", "strong");
        Answer("weak", "weak");
        Answer("other", "other");
        // The strong one is better, the weak one worse; between "other" and a weak one the judge takes whoever stands first; question 6: no word.
        using var endpoint = new FakeEndpoint(body =>
        {
            var words = Last(body);
            var first = words.IndexOf("Assistant B begins", StringComparison.Ordinal);
            return (200, words.Contains(" 6", StringComparison.Ordinal) ? "[[D]]"
                : !words.Contains("strong", StringComparison.Ordinal) ? "[[A]]"
                : words.IndexOf("strong", StringComparison.Ordinal) < first ? "[[A]]" : "[[B]]", null);
        });
        var options = new BenchOptions
        {
            Questions = questions,
            Output = folder["bench"],
            Answers = [folder["strong.jsonl"], folder["weak.jsonl"], folder["other.jsonl"]],
            Judge = On(endpoint),
            Mode = JudgeMode.PairwiseAll,
            Observer = RunObservers.None,
        };
        var standings = BenchRun.Run(options);
        Assert.Equal(3 * 2 * 6 * 2, endpoint.Requests.Count);       // pairs, turns, questions, orders
        Assert.Equal("strong", standings[0].Model);
        Assert.Equal([1.0, 0, 0, 1], standings[0].Values.Select(value => value.Value.Value));
        foreach (var model in standings.Skip(1))
            Assert.Equal([0, 0.5, 0.5, 0.25], model.Values.Select(value => value.Value.Value));
        Assert.All(standings, standing => Assert.Equal((4, 24), (standing.Unparsed, standing.Count)));
        var line = JsonDocument.Parse(File.ReadLines(folder["bench/model_judgment/judge_pair.jsonl"]).First()).RootElement;
        Assert.Equal(["question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge", "g1_user_prompt", "g1_judgment", "g2_user_prompt",
            "g2_judgment", "turn", "tstamp"], line.EnumerateObject().Select(property => property.Name));

        var against = BenchRun.Run(options with { Mode = JudgeMode.PairwiseBaseline, Baseline = "weak", Output = folder["against"] });
        Assert.Equal(["strong", "other"], against.Select(standing => standing.Model));
        Assert.Contains("--baseline nobody is none of the models", Assert.Throws<InputException>(() => BenchRun.Run(options with
        {
            Mode = JudgeMode.PairwiseBaseline,
            Baseline = "nobody",
        })).Message, StringComparison.Ordinal);

        // Another answer is not taken for the one that was judged.
        Answer("other", "changed");
        Assert.Contains("a judgement of other answers of", Assert.Throws<InputException>(() => BenchRun.Run(options)).Message,
            StringComparison.Ordinal);

        void Answer(string model, string says) => File.WriteAllLines(folder[$"{model}.jsonl"], questions.Select(question =>
            BenchAnswers.Line(question.Id, model, [says, says], 1).ToJsonString()));
    }

    [Theory]
    [InlineData("Fine. Rating: [[7]]", 7.0), InlineData("[[3]] then [[9]]", 3.0), InlineData("so [8.5]", 8.5), InlineData("[[10]]", 10.0)]
    [InlineData("[[11]]", null), InlineData("[[0]]", 0.0), InlineData("[[rating]]", null), InlineData("", null)]
    public void A_mark_stands_in_brackets(string reply, double? mark) => Assert.Equal(mark, Verdict.Mark(reply));

    [Theory]
    [InlineData("[[A]]", "[[A]]", "A"), InlineData("[[B]] rather than [[A]]", "[[A]]", "A"), InlineData("[[C]]", "[[A]]", "Tie")]
    [InlineData("A is better", "[[A]]", "Error"), InlineData("[[7,8]]", "[[rating_a,rating_b]]", "B")]
    [InlineData("[[7, 7.1]]", "[[rating_a,rating_b]]", "Tie"), InlineData("[9,2]", "[[rating_a,rating_b]]", "A")]
    [InlineData("[[7]]", "[[rating_a,rating_b]]", "Error")]
    public void A_verdict_is_read_as_the_reference_reads_it(string reply, string rating, string winner) =>
        Assert.Equal(winner, Verdict.Of(reply, rating).ToString());

    [Fact]
    public void A_prompt_is_filled_in_one_pass()
    {
        var prompt = new JudgePrompt("p", "", "{{x}} {question} / {answer}", "[[rating]]");
        Assert.Equal("{x} {answer} / {question}", prompt.Filled(new Dictionary<string, string>
        {
            ["question"] = "{answer}",
            ["answer"] = "{question}",
        }));
        Assert.Contains("{answer}", Assert.Throws<InputException>(() => prompt.Filled(new Dictionary<string, string> { ["question"] = "" })).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"question_id": 1, "category": "math", "turns": []}""", "\"turns\" is not a list of texts")]
    [InlineData("""{"question_id": 1.5, "category": "math", "turns": ["a"]}""", "\"question_id\" is not a whole number")]
    [InlineData("""{"question_id": 1, "turns": ["a", "b", "c"]}""", "the question has 3 turns")]
    [InlineData("""{"question_id": 7, "turns": ["a"]}""" + "\n" + """{"question_id": 7, "turns": ["b"]}""", "question_id 7 stands at")]
    [InlineData("""{"question_id": 7, "turns": ["a"]""", "questions.jsonl:1:")]
    [InlineData("", "is empty"), InlineData("\n\n", "holds no row")]
    public void A_wrong_file_of_questions_is_told_with_its_place(string text, string message)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["questions.jsonl"], text);
        Assert.Contains(message, Assert.Throws<InputException>(() => BenchQuestion.Read(folder["questions.jsonl"])).Message,
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"question_id": 2, "choices": [{"turns": ["a", "b"]}]}""", "answers 0 of 1 questions: 1 are missing")]
    [InlineData("""{"question_id": 1, "choices": []}""", "\"choices\" is not a list with the turns of an answer")]
    [InlineData("""{"question_id": 1, "choices": [{"turns": ["a"]}]}""", "question 1 has 2 turns, and the answer 1")]
    public void A_wrong_file_of_answers_is_told_with_its_place(string text, string message)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["a.jsonl"], text);
        Assert.Contains(message, Assert.Throws<InputException>(() => BenchAnswers.Read(folder["a.jsonl"], [new(1, "math", ["x", "y"])],
            "--answers")).Message, StringComparison.Ordinal);
    }

    /// <summary>A judge on an endpoint.</summary>
    internal static Judge On(FakeEndpoint endpoint) => new("judge", () => new EndpointAnswers(
        new ChatEndpoint(new() { BaseUrl = endpoint.Address, Model = "judge" }), "judge", new SamplingOptions { Temperature = 0 }, []));

    private static string Last(JsonElement body) => body.GetProperty("messages").EnumerateArray().Last().GetProperty("content").GetString()!;

    // A mark by what is judged; none now and then.
    private static string Mark(string words) => words.Length % 7 == 0 ? "I cannot say." : $"Well. Rating: [[{1 + words.Length % 10}]]";

    private sealed class Speaker : IAnswerSource
    {
        private double _temperature;

        public List<(double Temperature, JsonElement Messages)> Asked { get; } = [];

        public string Name => "speaker";

        public Speaker At(double temperature)
        {
            _temperature = temperature;
            return this;
        }

        public string? Refuses(Prompt prompt) => null;

        public void Answer(IReadOnlyList<AnswerRequest> requests, Action<int, int, GivenAnswer> done, CancellationToken cancel)
        {
            for (var i = requests.Count - 1; i >= 0; i--)
            {
                Asked.Add((_temperature, requests[i].Prompt.Messages!.Value));
                done(i, 0, new($"answer {requests[i].Streams[0]}", true));
            }
        }

        public void Dispose()
        {
        }
    }
}
