namespace Handbook.Cli.Tests.BadInput;

/// <summary>Models and prompts that cannot be answered.</summary>
public sealed class BadGenerateTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Theory]
    [InlineData("generate", "nowhere", "hello")]
    [InlineData("chat", "nowhere")]
    [InlineData("generate", "r.yaml", "hello")]
    public void A_model_that_is_not_there(params string[] words) => _run.Refused(_run.Handbook.Run(words), words[1]);

    [Fact]
    public void Weights_that_end_early()
    {
        using (var file = File.OpenWrite(_run.At("model/model.safetensors")))
            file.SetLength(1000);
        _run.Refused(_run.Handbook.Run("generate", "model", "hello"), "model.safetensors");
    }

    [Fact]
    public void Prompts_that_are_not_there() =>
        _run.Refused(_run.Handbook.Run("generate", "model", "--prompts", "absent.jsonl"), "absent.jsonl");

    [Theory]
    [InlineData("--temperature", "-1")]
    [InlineData("--top-p", "2")]
    [InlineData("--max-new-tokens", "0")]
    public void A_number_out_of_range(string option, string value) =>
        _run.Refused(_run.Handbook.Run("generate", "model", "hello", option, value), value);

    [Fact]
    public void A_file_of_answers_that_cannot_be_written() =>
        _run.Refused(_run.Handbook.Run("generate", "model", "--prompts", "rows.jsonl", "--max-new-tokens", "2", "--output",
            "rows.jsonl/answers.jsonl"), "--output rows.jsonl/answers.jsonl cannot be written");
}
