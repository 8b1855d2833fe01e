using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Cli.Tests;

/// <summary>What runs write beside their metrics.</summary>
public sealed class EvaluationSamplesTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public EvaluationSamplesTests()
    {
        SmallModel.Make(_handbook);
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train", 32), ("test", 20)])
            _handbook.Write($"pairs/{split}.jsonl", string.Concat(Enumerable.Range(0, count).Select(i =>
                JsonSerializer.Serialize(new { chosen = Turns(i, $"the sun {i}"), rejected = Turns(i, $"the moon {i}") }) + "\n")));
        _handbook.Write("recipe.yaml", "model_name_or_path: model\ndataset_name: pairs\nlearning_rate: 1e-3\nper_device_train_batch_size: "
            + "8\nlr_scheduler_type: constant\n");
    }

    private static object[] Turns(int i, string answer) =>
        [new { role = "user", content = $"one two {i}" }, new { role = "assistant", content = answer }];

    [Fact]
    [Trait("speed", "slow")]
    public void Generate_during_eval_writes_answers_to_the_same_prompts_at_each_evaluation()
    {
        string[] words = ["dpo", "recipe.yaml", "--generate_during_eval=true", "--max_steps=4", "--eval_strategy=steps", "--eval_steps=2",
            "--save_strategy=steps", "--save_steps=2", "--max_completion_length=8", "--output_dir=run"];
        SmallModel.Succeed(_handbook.Run(words));

        var rows = Samples();
        Assert.Equal([.. Enumerable.Repeat(2, 16), .. Enumerable.Repeat(4, 16)], rows.Select(row => (int)row["step"]!));
        Assert.Equal(rows.Take(16).Select(row => (string)row["prompt"]!), rows.Skip(16).Select(row => (string)row["prompt"]!));
        Assert.Contains("one two 3", (string)rows[3]["prompt"]!);
        Assert.Equal(("the sun 3", "the moon 3"), ((string)rows[3]["chosen"]!, (string)rows[3]["rejected"]!));
        Assert.All(rows, row => Assert.NotNull((string?)row["answer"]));

        // going on from step 2 writes those of step 4 once
        File.Delete(Path.Combine(_handbook.Folder, "run", "model.safetensors"));
        Directory.Delete(Path.Combine(_handbook.Folder, "run", "checkpoint-4"), recursive: true);
        SmallModel.Succeed(_handbook.Run(words));
        Assert.Equal(rows.Select(row => row.ToJsonString()), Samples().Select(row => row.ToJsonString()));
    }

    [Theory]
    [Trait("speed", "slow")]
    [InlineData("sft", "")]                             // every token is learnt: the template tells where the answer begins
    [InlineData("sft", "--assistant_only_loss=true")]   // what is learnt tells it
    [InlineData("cpt", "")]                             // a text goes on from its beginning
    public void Texts_are_asked_from_where_their_answer_begins(string method, string more)
    {
        foreach (var (split, count) in (ReadOnlySpan<(string, int)>)[("train", 16), ("test", 3)])
            _handbook.Write($"chats/{split}.jsonl", string.Concat(Enumerable.Range(0, count).Select(i => (method == "cpt"
                ? JsonSerializer.Serialize(new { text = $"{i} one two three four the sun" })
                : JsonSerializer.Serialize(new { messages = Turns(i, $"the sun {i}") })) + "\n")));
        _handbook.Write("texts.yaml", $"model_name_or_path: model\ndataset_name: chats\n{(method == "cpt" ? "text_column: text\n" : "")}"
            + "generate_during_eval: true\nreport_to: none\n");
        SmallModel.Succeed(_handbook.Run([method, "texts.yaml", "--max_steps=2", "--do_eval", "--output_dir=run", .. more.Split(' ', StringSplitOptions.RemoveEmptyEntries)]));

        var rows = Samples();
        Assert.Equal([2, 2, 2], rows.Select(row => (int)row["step"]!));
        if (method == "cpt")
        {
            Assert.StartsWith("1 one two", (string)rows[1]["prompt"]!, StringComparison.Ordinal);
            Assert.Equal("1 one two three four the sun", (string)rows[1]["prompt"]! + (string)rows[1]["reference"]!);
        }
        else
        {
            Assert.Equal("<|im_start|>user\none two 1<|im_end|>\n\n<|im_start|>assistant\n", (string)rows[1]["prompt"]!);
            Assert.Equal("the sun 1", (string)rows[1]["reference"]!);
        }
        var watched = SmallModel.Succeed(_handbook.Run("watch", "run", "--once"));
        Assert.Contains("  step 2: ", watched.Output);
        Assert.Contains(method == "cpt" ? "1 one two" : "one two 1<|im_end|> <|im_start|>assistant", watched.Output);
    }

    [Fact]
    public void Use_density_ratio_tells_what_it_weighs()
    {
        var outcome = SmallModel.Succeed(_handbook.Run("bco", "recipe.yaml", "--use_density_ratio=true", "--max_steps=2", "--do_eval",
            "--output_dir=bco"));

        // chosen and rejected answers have the same prompts
        Assert.Contains("density ratio: bad answers weigh from 1 to 1, 1 in the mean", outcome.Error);
    }

    private JsonNode[] Samples() =>
        [.. File.ReadAllLines(Path.Combine(_handbook.Folder, "run", "samples.jsonl")).Select(line => JsonNode.Parse(line)!)];

    public void Dispose() => _handbook.Dispose();
}
