namespace Handbook.Cli.Tests.BadInput;

/// <summary>Tokenizers and chat templates that cannot work.</summary>
public sealed class BadTextTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void A_tokenizer_that_is_not_JSON()
    {
        _run.Write("model/tokenizer.json", "{\"version\": \"1.0\",\n \"model\": ");
        _run.Refuses([], "tokenizer.json:2:11 is not JSON");
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Theory]
    [InlineData("\"type\": \"BPE\"", "\"type\": \"Magic\"", "Magic")]
    [InlineData("\"type\": \"ByteLevel\"", "\"type\": \"CharLevel\"", "CharLevel")]
    public void A_tokenizer_with_an_unknown_component(string old, string @new, string message)
    {
        Edit(old, @new);
        _run.Refuses([], "tokenizer.json", message);
    }

    [Fact]
    public void A_merge_of_tokens_that_are_not_in_the_vocabulary()
    {
        var at = _run.Read("model/tokenizer.json").IndexOf("\"merges\"", StringComparison.Ordinal);
        var text = _run.Read("model/tokenizer.json");
        var open = text.IndexOf('[', at);
        _run.Write("model/tokenizer.json", text[..(open + 1)] + "[\"qqq\", \"zzz\"], " + text[(open + 1)..]);
        _run.Refuses([], "tokenizer.json", "qqq");
    }

    [Fact]
    public void A_tokenizer_with_more_ids_than_the_embedding_has_rows()
    {
        // 40 more special tokens; the model has 300 rows for fewer than 290
        Edit("\"added_tokens\": [", "\"added_tokens\": [" + string.Concat(Enumerable.Range(0, 40).Select(i =>
            $$"""{"id": {{300 + i}}, "content": "<|extra{{i}}|>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true}, """)));
        _run.Refuses([], "model: the embedding has 300 rows, but the tokenizer gives ids up to 3",
            "name the model's own tokenizer in tokenizer_name_or_path");
    }

    [Fact]
    public void A_tokenizer_that_is_not_there() => _run.Refuses(["--tokenizer_name_or_path=nowhere"], "nowhere");

    [Theory]
    [InlineData("--eos_token=<|stop|>", "<|stop|>")]
    [InlineData("--pad_token=<|fill|>", "<|fill|>")]
    public void A_special_token_that_does_not_exist(string word, string message) => _run.Refuses([word], message);

    [Theory]
    [InlineData("{% for message in messages %}{{ message.content }}", "t.jinja:1:")]
    [InlineData("{{ messages | shuffle }}", "shuffle")]
    [InlineData("{{ 1 / 0 }}", "refused by the chat template, e.g. rows.jsonl:1: t.jinja:1:6: division by zero")]
    [InlineData("{% for i in range(10 ** 12) %}x{% endfor %}", "Range too big")]
    [InlineData("{{ raise_exception('roles must alternate') }}", "roles must alternate")]
    [InlineData("{{ messages[0].nothing.at_all }}", "refused by the chat template, e.g. rows.jsonl:1: ")]
    public void A_template_that_cannot_work(string template, string message)
    {
        _run.Write("t.jinja", template);
        _run.Refuses(["--chat_template_path=t.jinja"], message);
        Assert.False(Directory.Exists(_run.At("out")));
    }

    [Fact]
    public void A_template_that_is_not_there() => _run.Refuses(["--chat_template_path=t.jinja"],
        "chat_template_path: t.jinja does not exist", "fix: name a .jinja file or a model folder");

    private void Edit(string old, string @new)
    {
        // the file may be written with or without spaces after colons
        var name = _run.Read("model/tokenizer.json").Contains(old, StringComparison.Ordinal) ? old : old.Replace("\": ", "\":");
        _run.Replace("model/tokenizer.json", name, @new);
    }
}
