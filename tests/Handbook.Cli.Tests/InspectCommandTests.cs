namespace Handbook.Cli.Tests;

public sealed class InspectCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public InspectCommandTests()
    {
        _handbook.Write("tok/tokenizer.json", """
            {"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
             "added_tokens": [{"id": 3, "content": "</s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}],
             "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false, "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}}
            """);
        _handbook.Write("tok/tokenizer_config.json", """{"eos_token": "</s>"}""");
        _handbook.Write("rows.jsonl", """
            {"prompt": "b", "completion": "ab"}
            {"prompt": "ab", "completion": "b"}
            {"prompt": "a"}
            """);
    }

    public void Dispose() => _handbook.Dispose();

    [Fact]
    public void A_recipe_shows_its_rows_with_their_loss_and_what_is_unusable()
    {
        _handbook.Write("sft.yaml", "model_name_or_path: tok\nmax_bad_rows: 0.5\ndataset_name: rows.jsonl\nmax_length: 16\npacking: true\n");
        var outcome = Inspect("sft.yaml", "--method", "sft");
        Assert.Equal((0, ""), (outcome.Code, outcome.Code == 0 ? "" : outcome.Error));
        Assert.Contains("rows.jsonl [train]: layout PromptCompletion, 2 of 3 rows, 6 tokens, 66.7 % with loss", outcome.Output);
        Assert.Contains("unusable: 1 × no completion, e.g. rows.jsonl:3: {\"prompt\": \"a\"}", outcome.Output);
        Assert.Contains("1 training rows; tokens a row: shortest 6", outcome.Output);
        Assert.Contains("b[ab</s>]\n┄┄┄ segment ┄┄┄\nab[b</s>]\n", outcome.Output);
    }

    [Fact]
    public void A_file_and_a_tokenizer_are_enough()
    {
        var outcome = Inspect("--data", "rows.jsonl", "--tokenizer", "tok", "--loss", "all", "--rows", "1");
        Assert.Equal(0, outcome.Code);
        Assert.Contains("\nb[ab</s>]\n", outcome.Output);
        Assert.DoesNotContain("row 2:", outcome.Output);
    }

    [Fact]
    public void An_absent_file_is_the_user_s_to_fix()
    {
        var outcome = Inspect("--data", "absent.jsonl", "--tokenizer", "tok");
        Assert.Equal(2, outcome.Code);
        Assert.StartsWith("error: data set \"absent.jsonl\" was not found; looked for", outcome.Error);
        Assert.DoesNotContain("   at ", outcome.Error);
    }

    [Fact]
    public void Only_unusable_rows_end_with_their_reasons()
    {
        _handbook.Write("bad.jsonl", "{\"prompt\": \"a\", \"completion\": \"\"}\n");
        var outcome = Inspect("--data", "bad.jsonl", "--tokenizer", "tok");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("bad.jsonl [train]: 1 of 1 rows cannot be used", outcome.Error);
        Assert.Contains("1 × empty completion, e.g. bad.jsonl:1:", outcome.Error);
    }

    private Outcome Inspect(params string[] words) =>
        _handbook.Run(["inspect", .. words], TimeSpan.FromMinutes(2), new Dictionary<string, string> { ["HANDBOOK_CACHE"] = Path.Combine(_handbook.Folder, "cache") });
}
