using System.Text.Json;
using Handbook.Testing;
using Handbook.Text.Tokenizers;

namespace Handbook.Cli.Tests;

public sealed class EvaluateCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact]
    public void Tasks_are_measured_kept_and_gone_on_with()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("rows.jsonl", string.Join('\n', Enumerable.Range(0, 40).Select(i =>
            $$"""{"q": "one two {{i}}", "options": ["three", "the moon"], "gold": {{i % 2}}, "word": "three"}""")));
        _handbook.Write("choice.yaml", """
            task: choice
            dataset_path: rows.jsonl
            output_type: multiple_choice
            doc_to_text: q
            doc_to_choice: options
            doc_to_target: gold
            num_fewshot: 1
            """);
        _handbook.Write("words.yaml", """
            task: words
            dataset_path: rows.jsonl
            doc_to_text: "{{q}}"
            doc_to_target: word
            generation_kwargs: {max_gen_toks: 4, until: ["\n"]}
            """);
        string[] words = ["evaluate", "model", "-t", "choice.yaml", "-t", "words.yaml", "-t", "perplexity", "--data", "perplexity=corpus.txt",
            "--limit", "30", "-o", "out"];
        var whole = SmallModel.Succeed(_handbook.Run(words));
        Assert.Contains("acc_norm", whole.Output);
        Assert.Contains("(Wilson)", whole.Output);
        Assert.Contains("bits_per_byte", whole.Output);
        var results = JsonDocument.Parse(Read("out/results.json")).RootElement;
        Assert.Equal(30, results.GetProperty("n-samples").GetProperty("choice").GetInt32());
        Assert.InRange(results.GetProperty("results").GetProperty("choice").GetProperty("acc,none").GetDouble(), 0, 1);
        var (samples, answers) = (Read("out/samples/choice.jsonl"), Read("out/samples/words.jsonl"));

        // As after a sudden end: some lines, the last of them cut.
        File.WriteAllText(Path.Combine(_handbook.Folder, "out/samples/choice.jsonl"), samples[..(samples.Length / 3)]);
        File.WriteAllText(Path.Combine(_handbook.Folder, "out/samples/words.jsonl"), answers[..(answers.Length / 2)]);
        var again = SmallModel.Succeed(_handbook.Run([.. words, "--batch-size", "3", "--max-tokens", "64"]));
        Assert.Equal(whole.Output, again.Output);
        Assert.Equal((samples, answers), (Read("out/samples/choice.jsonl"), Read("out/samples/words.jsonl")));

        _handbook.Write("before.txt", "One and {{ 1 + 1 }}.\n\n");
        SmallModel.Succeed(_handbook.Run("evaluate", "model", "-t", "choice.yaml", "--limit", "2", "--description", "choice=before.txt", "-o", "described"));
        Assert.StartsWith("One and 2.\n\none two", JsonDocument.Parse(Read("described/samples/choice.jsonl").Split('\n')[0]).RootElement
            .GetProperty("prompt").GetString());

        var other = _handbook.Run([.. words, "--seed", "5"]);
        Assert.Equal(2, other.Code);
        Assert.Contains("name another --output", other.Error);
    }

    [Fact]
    public void A_prompt_that_is_too_long_loses_its_beginning()
    {
        SmallModel.Make(_handbook);
        const string End = " one two three the moon one two three the moon";
        _handbook.Write("rows.jsonl", $$"""{"q": "the{{string.Concat(Enumerable.Repeat(" moon", 40))}}{{End}}", "word": "one"}""");
        _handbook.Write("end.jsonl", $$"""{"q": "{{End}}", "word": "one"}""");
        foreach (var name in (string[])["rows", "end"])
            _handbook.Write($"{name}.yaml", $"task: {name}\ndataset_path: {name}.jsonl\ndoc_to_text: q\ndoc_to_target: word\n"
                + "generation_kwargs: {max_gen_toks: 4, until: [\"\\n\"]}\n");
        // Room for as many tokens as its end has.
        var length = Tokenizer.Load(Path.Combine(_handbook.Folder, "model")).Encode(End).Length;
        var told = SmallModel.Succeed(_handbook.Run("evaluate", "model", "-t", "rows.yaml", "-t", "end.yaml", "--max-length", $"{length + 4}", "-o", "out"));
        Assert.Contains("1 contexts were longer than the model reads, and lost their beginning", told.Output);
        var (cut, whole) = (JsonDocument.Parse(Read("out/samples/rows.jsonl")).RootElement, JsonDocument.Parse(Read("out/samples/end.jsonl")).RootElement);
        Assert.Equal(1, cut.GetProperty("cut").GetInt32());
        Assert.False(whole.TryGetProperty("cut", out _));
        Assert.Equal(whole.GetProperty("answers").GetRawText(), cut.GetProperty("answers").GetRawText());
    }

    [Fact]
    public void A_reward_model_is_measured_on_pairs()
    {
        _handbook.Write("config.json",
            """{"model_type": "llama", "architectures": ["LlamaForSequenceClassification"], "num_labels": 1, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}""");
        SmallModel.Make(_handbook);
        _handbook.Write("pairs.jsonl", string.Join('\n', Enumerable.Range(0, 12).Select(i =>
            $$"""{"prompt": "say {{i}}", "chosen": "one two", "rejected": "the moon"}""")));
        TrainReward();
        var outcome = SmallModel.Succeed(_handbook.Run("evaluate", "reward", "-t", "reward_accuracy", "--data", "reward_accuracy=pairs.jsonl",
            "--limit", "10", "-o", "out"));
        Assert.Matches(@"reward_accuracy +none +0 +acc +[01]\.\d{4} .*\(Wilson\) +10", outcome.Output);
        Assert.Equal(10, Read("out/samples/reward_accuracy.jsonl").Count(letter => letter == '\n'));
        var wrong = _handbook.Run("evaluate", "model", "-t", "reward_accuracy", "--data", "reward_accuracy=pairs.jsonl");
        Assert.Equal(2, wrong.Code);
        Assert.Contains("is a language model, and reward_accuracy asks a reward model", wrong.Error);
    }

    [Fact]
    [Trait("speed", "slow")]
    public void Two_processes_measure_what_one_does()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("pairs.jsonl", string.Concat(Enumerable.Range(0, 40).Select(i =>
            $$"""{"prompt": "say {{i}}", "chosen": "one {{i % 7}} two", "rejected": "the {{i % 3}} moon"}""" + "\n")) + "{\"prompt\": \"x\"}\n");
        TrainReward();
        Same("reward", "reward_accuracy", "pairs.jsonl");
        _handbook.Write("rows.jsonl", string.Concat(Enumerable.Range(0, 6).Select(i =>
            $$"""{"task_id": "t/{{i}}", "prompt": "def f():\n", "entry_point": "f", "canonical_solution": "    return 1\n", "test": "def check(f):\n    assert f() == 1\n", "key": {{i}}, "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], "question": "two and {{i}}", "answer": "#### {{i}}"}""" + "\n")));
        foreach (var task in (string[])["gsm8k", "humaneval", "ifeval"])
            Same("model", task, "rows.jsonl", "--allow-code", "--num-fewshot", "0");

        void Same(string model, string task, string rows, params string[] more)
        {
            string[] words = ["evaluate", model, "-t", task, "--data", $"{task}={rows}", .. more];
            var one = SmallModel.Succeed(_handbook.Run([.. words, "-o", $"one-{task}"]));
            var two = SmallModel.Succeed(_handbook.Run(["launch", "--nproc-per-node", "2", .. words, "-o", $"two-{task}"]));
            Assert.Equal(one.Output, two.Output);
            Assert.Contains("shared out among 2 processes", two.Error);
            Assert.Equal(Lines($"one-{task}/samples/{task}.jsonl"), Lines($"two-{task}/samples/{task}.jsonl"));
        }

        string[] Lines(string file) => [.. Read(file).Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public void What_cannot_be_evaluated_says_so_before_anything_is_written()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("rows.jsonl", """{"question": "a", "answer": "b"}""");
        _handbook.Write("task.yaml", "task: mine\ndataset_path: rows.jsonl\ndoc_to_text: '{{quetsion}}'\ndoc_to_target: answer\n");
        Says("no task is named", "evaluate", "model");
        Says("no model is named", "evaluate", "-t", "gsm8k");
        Says("there is no task gsm9k\n  fix: did you mean gsm8k?", "evaluate", "model", "-t", "gsm9k");
        Says("rows.jsonl:1: doc_to_text of mine asks for quetsion, but the row has question, answer\n  fix: did you mean question?", "evaluate",
            "model", "-t", "task.yaml", "-o", "out");
        Says("perplexity has no rows of its own", "evaluate", "model", "-t", "perplexity");
        Says("--data names the task gsm8k, which is not evaluated", "evaluate", "model", "-t", "perplexity", "--data", "gsm8k=rows.jsonl");
        Says("--data rows.jsonl is not understood", "evaluate", "model", "-t", "perplexity", "--data", "rows.jsonl");
        Says("--description names the task gsm8k, which is not evaluated", "evaluate", "model", "-t", "perplexity", "--description", "gsm8k=rows.jsonl");
        Says("none.txt is not there", "evaluate", "model", "-t", "task.yaml", "--description", "mine=none.txt");
        Says("--limit is 0", "evaluate", "model", "-t", "perplexity", "--data", "perplexity=rows.jsonl", "--limit", "0");
        Says("two tasks are called perplexity", "evaluate", "model", "-t", "perplexity", "-t", "perplexity", "--data", "perplexity=rows.jsonl");
        Assert.False(Directory.Exists(Path.Combine(_handbook.Folder, "out")));
    }

    // A reward model in the folder reward, of pairs.jsonl.
    private void TrainReward()
    {
        _handbook.Write("reward.yaml", """
            model_name_or_path: model
            dataset_name: pairs.jsonl
            max_steps: 1
            eval_strategy: "no"
            output_dir: reward
            report_to: none
            """);
        SmallModel.Succeed(_handbook.Run("reward", "reward.yaml"));
    }

    private void Says(string expected, params string[] words)
    {
        var outcome = _handbook.Run(words);
        Assert.True(outcome.Code == 2, $"{outcome.Code}: {outcome.Error}");
        Assert.Contains(expected, outcome.Error);
    }

    private string Read(string name) => File.ReadAllText(Path.Combine(_handbook.Folder, name));
}
