using System.Text.Json.Nodes;
using Handbook.Runs;

namespace Handbook.Tests.Runs;

/// <summary>What the card and the generation config of a real run say.</summary>
[Collection("tensors")]
public sealed class RunCardTests : IDisposable
{
    private readonly AdapterRuns _runs = new();

    [Fact]
    public void The_card_tells_of_licence_origin_data_optimiser_and_method_as_they_were()
    {
        Write("model/README.md", "---\nlicense: other\nlicense_name: mine\nbase_model:\n- org/lower\n---\n# text\nlicense: mit\n");
        _runs.Train("sft", "first", "use_peft: false");
        _runs.Train("dpo", "second", "use_peft: false", $"model_name_or_path: {_runs["first"]}", "beta: 0.3", "optim: rmsprop");
        var card = File.ReadAllText(_runs["second", "README.md"]);
        Assert.StartsWith("---\nlicense: other\nlicense_name: mine\nlibrary_name: transformers\n", card);
        Assert.Contains($"""
            | model | made with |
            | --- | --- |
            | [org/lower](https://huggingface.co/org/lower) |  |
            | {_runs["model"]} |  |
            | {_runs["first"]} | sft |
            | **second** | dpo |
            """, card);
        Assert.Contains("\n- optimizer: RMSprop (alpha 0.99; epsilon 1e-08; weight decay 0), rmsprop\n", card);
        Assert.Contains("\n- beta: 0.3\n", card);
        Assert.Matches(@"\n- .*pairs \[train\]: \d+ rows, \d+ tokens\n", card);
        Assert.Contains("A llama model of ", card);
        Assert.Contains(": 2 layers of width 32, 39 tokens, made for texts of up to 128 tokens. Its weights are saved in float32.", card);
        Assert.Contains("](loss.png)", card);
        Assert.True(File.Exists(_runs["second", "loss.png"]));
    }

    [Fact]
    public void A_run_that_ends_before_its_first_log_shows_no_picture()
    {
        _runs.Train("sft", "short", "use_peft: false", "logging_steps: 10");
        Assert.False(File.Exists(_runs["short", "loss.png"]));
        Assert.DoesNotContain("loss.png", File.ReadAllText(_runs["short", "README.md"]), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", 38)]            // turns end with the tokenizer's own end token
    [InlineData("<|turn|>", 38, 39)]
    public void The_generation_config_ends_answers_where_the_template_ends_turns(string turn, params int[] ends)
    {
        if (turn.Length > 0)
        {
            var tokenizer = File.ReadAllText(_runs["model", "tokenizer.json"]);
            Write("model/tokenizer.json", tokenizer.Replace("\"special\": true}]",
                "\"special\": true}, {\"id\": 39, \"content\": \"<|turn|>\", "
                + "\"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true}]"));
            Write("model/tokenizer_config.json", File.ReadAllText(_runs["model", "tokenizer_config.json"]).Replace("%}</s>{%",
                $"%}}{turn}{{%"));
        }
        _runs.Train("sft", "run", "use_peft: false", "resize_to_multiple_of: 8");
        var said = JsonNode.Parse(File.ReadAllText(_runs["run", "generation_config.json"]))!["eos_token_id"]!;
        Assert.Equal(ends, said is JsonArray list ? list.Select(id => id!.GetValue<int>()) : [said.GetValue<int>()]);
        Assert.Equal(38, JsonNode.Parse(File.ReadAllText(_runs["run", "config.json"]))!["eos_token_id"]!.GetValue<int>());
    }

    [Fact]
    public void A_base_without_a_card_or_with_one_that_goes_in_circles_is_no_trouble()
    {
        Assert.Equal((null, 1), (BaseCard.Of(_runs["model"]).License, BaseCard.Of(_runs["model"]).Chain.Count));
        Write("model/README.md", $"---\nbase_model: {_runs["model"]}\n---\n");
        Assert.Single(BaseCard.Of(_runs["model"]).Chain);
        Write("model/README.md", "---\nlicense: [mit\nno: end");
        Assert.Null(BaseCard.Of(_runs["model"]).License);
        Assert.Equal([new CardAncestor("org/nowhere", null)], BaseCard.Of("org/nowhere").Chain);
    }

    public void Dispose() => _runs.Dispose();

    private void Write(string name, string text) => File.WriteAllText(_runs[name.Split('/')], text);
}
