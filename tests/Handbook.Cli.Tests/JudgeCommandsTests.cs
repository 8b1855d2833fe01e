using System.Text.Json;

namespace Handbook.Cli.Tests;

/// <summary><c>handbook mt-bench</c> and <c>handbook alpaca-eval</c>.</summary>
public sealed class JudgeCommandsTests : IDisposable
{
    private const string Questions = """{"question_id": 5, "category": "writing", "turns": ["one", "two"]}""";

    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact, Trait("speed", "slow")]
    public void A_model_answers_and_another_judges()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("questions.jsonl", Questions);
        string[] words = ["mt-bench", "model", "--questions", "questions.jsonl", "--max-new-tokens", "8", "--judge-max-tokens", "8",
            "--output", "bench"];
        SmallModel.Succeed(_handbook.Run(words));
        var answer = JsonDocument.Parse(Read("bench/model_answer/model.jsonl")).RootElement;
        Assert.Equal(2, answer.GetProperty("choices")[0].GetProperty("turns").GetArrayLength());
        var judged = SmallModel.Succeed(_handbook.Run([.. words, "--judge", "model"]));
        Assert.Contains("2 of 2 judgements hold no verdict", judged.Output);        // it has learned nothing
        Assert.Contains("our own words", judged.Error);
        Assert.Equal(2, File.ReadAllLines(Path.Combine(_handbook.Folder, "bench/model_judgment/model_single.jsonl")).Length);

        _handbook.Write("reference.json", """[{"instruction": "one two", "output": "three", "generator": "base"}]""");
        var compared = SmallModel.Succeed(_handbook.Run("alpaca-eval", "model", "--reference", "reference.json", "--judge", "model",
            "--max-new-tokens", "8", "--judge-max-tokens", "8", "--output", "alpaca"));
        Assert.Contains("model against base", compared.Output);
        Assert.Matches(@"win_rate +–\n", compared.Output);
        Assert.Matches(@"n_unparsed +1\n", compared.Output);
        var outputs = JsonDocument.Parse(Read("alpaca/model_outputs.json")).RootElement;
        Assert.Equal(["dataset", "instruction", "output", "generator"], outputs[0].EnumerateObject().Select(property => property.Name));
    }

    [Theory]
    [InlineData("mt-bench --questions questions.jsonl --output out", "neither a model nor answers are named")]
    [InlineData("mt-bench --questions none.jsonl --output out --judge m", "--questions none.jsonl is not there")]
    [InlineData("mt-bench --questions questions.jsonl --answers a.jsonl --output out", "answers are named, but no judge")]
    [InlineData("mt-bench --questions questions.jsonl --answers a.jsonl --base-url http://x/v1 --output out",
        "--base-url is given without --endpoint-model")]
    [InlineData("mt-bench --questions questions.jsonl --answers a.jsonl --base-url x --endpoint-model y --output out",
        "is no http or https address")]
    [InlineData("alpaca-eval --outputs a.json --output out", "--reference is missing")]
    [InlineData("alpaca-eval model --annotations a.json --output out --limit 3", "--annotations is given with --limit, --output, a model")]
    [InlineData("alpaca-eval --annotations wrong.json", "wrong.json")]
    public void A_wrong_use_is_told(string line, string message)
    {
        _handbook.Write("questions.jsonl", Questions);
        _handbook.Write("wrong.json", """[{"instruction": "a", "output_1": 5}]""");
        var outcome = _handbook.Run(line.Split(' '));
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
        Assert.False(Directory.Exists(Path.Combine(_handbook.Folder, "out")));
    }

    private string Read(string name) => File.ReadAllText(Path.Combine(_handbook.Folder, name));
}
