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
        _handbook.Write("sft.yaml",
            "model_name_or_path: tok\nmax_bad_rows: 0.5\ndataset_name: rows.jsonl\nmax_length: 16\npacking: true\n");
        var outcome = Inspect("sft.yaml", "--method", "sft");
        Assert.Equal((0, ""), (outcome.Code, outcome.Code == 0 ? "" : outcome.Error));
        Assert.Contains("rows.jsonl [train]: layout PromptCompletion, 2 of 3 rows, 6 tokens, 66.7 % with loss", outcome.Output);
        Assert.Contains("unusable: 1 × no completion, e.g. rows.jsonl:3: {\"prompt\": \"a\"}", outcome.Output);
        Assert.Contains("1 training rows; tokens a row: shortest 6", outcome.Output);
        Assert.Contains("b[ab</s>]\n┄┄┄ segment ┄┄┄\nab[b</s>]\n", outcome.Output);
    }

    [Fact]
    public void A_preference_recipe_shows_a_prompt_once_with_both_answers_and_what_is_left_out()
    {
        _handbook.Write("pairs.jsonl", """
            {"prompt": "b", "chosen": "ab", "rejected": "a", "margin": 0.5}
            {"prompt": "b", "chosen": "ab", "rejected": "ab"}
            {"prompt": "b", "chosen": "ab"}
            """);
        _handbook.Write("dpo.yaml", "model_name_or_path: tok\nmax_bad_rows: 0.5\ndataset_name: pairs.jsonl\n");
        var outcome = Inspect("dpo.yaml", "--method", "dpo");
        Assert.Equal((0, ""), (outcome.Code, outcome.Code == 0 ? "" : outcome.Error));
        Assert.Contains("pairs.jsonl [train]: layout Preference, 1 of 3 rows, 5 tokens, 80.0 % with loss", outcome.Output);
        Assert.Contains("left out: 1 × chosen and rejected are the same, e.g. pairs.jsonl:2:", outcome.Output);
        Assert.Contains("unusable: 1 × no rejected, e.g. pairs.jsonl:3:", outcome.Output);
        Assert.Contains("── row 1: 5 tokens in 3 segments, margin 0.5; [in brackets] carries loss ──\n┄┄┄ prompt: 1 tokens ┄┄┄\nb\n┄┄┄ "
            + "chosen: 2 tokens ┄┄┄\n[ab</s>]\n┄┄┄ rejected: 2 tokens ┄┄┄\n[a</s>]\n", outcome.Output);
    }

    [Theory]
    [InlineData("asked.txt", "b\n\nab\n")]
    [InlineData("asked.jsonl", """{"question": "b"}""" + "\n" + """{"question": "ab"}""" + "\n")]
    [InlineData("asked.jsonl", """{"instruction": "b"}""" + "\n" + """{"prompt": "ab"}""" + "\n")]
    public void Prompts_of_any_kind_are_shown_to_every_method_that_samples(string file, string rows)
    {
        _handbook.Write(file, rows);
        _handbook.Write("asked.yaml", $"model_name_or_path: tok\ndataset_name: {file}\nreward_funcs: finished\n");
        foreach (var method in (string[])["grpo", "rejection-sample"])
        {
            var outcome = Inspect("asked.yaml", "--method", method);
            Assert.Equal((0, ""), (outcome.Code, outcome.Code == 0 ? "" : outcome.Error));
            Assert.Contains($"{file} [train]: layout Prompt, 2 of {(file == "asked.txt" ? 3 : 2)} rows, 2 tokens", outcome.Output);
            Assert.Contains("┄┄┄ prompt: 1 tokens ┄┄┄\nb\n", outcome.Output);
            Assert.Contains("┄┄┄ prompt: 1 tokens ┄┄┄\nab\n", outcome.Output);
            Assert.DoesNotContain("with loss", outcome.Output);
        }
    }

    [Fact]
    public void A_recipe_of_single_answers_shows_which_are_good()
    {
        _handbook.Write("rated.jsonl", """
            {"prompt": "b", "completion": "ab", "label": true}
            {"prompt": "b", "completion": "a", "label": false}
            """);
        _handbook.Write("kto.yaml", "model_name_or_path: tok\ndataset_name: rated.jsonl\nper_device_train_batch_size: 2\n");
        var outcome = Inspect("kto.yaml", "--method", "kto");
        Assert.Equal((0, ""), (outcome.Code, outcome.Code == 0 ? "" : outcome.Error));
        Assert.Contains("┄┄┄ good answer (label true): 2 tokens ┄┄┄\n[ab</s>]\n", outcome.Output);
        Assert.Contains("┄┄┄ bad answer (label false): 2 tokens ┄┄┄\n[a</s>]\n", outcome.Output);
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
        Assert.Contains("bad.jsonl [train]: not one of its 1 rows can be used", outcome.Error);
        Assert.Contains("1 × empty completion, e.g. bad.jsonl:1:", outcome.Error);
    }

    private Outcome Inspect(params string[] words) =>
        _handbook.Run(["inspect", .. words], TimeSpan.FromMinutes(2),
            new Dictionary<string, string> { ["HANDBOOK_CACHE"] = Path.Combine(_handbook.Folder, "cache") });
}
