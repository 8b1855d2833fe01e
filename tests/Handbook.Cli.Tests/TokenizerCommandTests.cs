using System.Diagnostics;
using System.Text.Json;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The real executable on a tokenizer it trains itself.</summary>
public sealed class TokenizerCommandTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact] // by hand: 256 bytes, 2 special tokens, 17 merges (𝔉 4, the 2, and 3, end 2, cat 2, hat 2, at 1, " the" 1)
    public void A_trained_tokenizer_encodes_decodes_and_describes_itself()
    {
        File.WriteAllText(_folder["rows.jsonl"], string.Concat(Enumerable.Repeat("{\"text\": \"the cat and the hat 𝔉\"}\n{\"messages\": "
            + "[{\"role\": \"user\", \"content\": \"the end\"}]}\n", 5)));
        var model = _folder["model"];
        var trained = Run("", "tokenizer", "train", _folder["rows.jsonl"], "--vocab-size", "280", "--output", model, "--eos-token",
            "<|end|>", "--special-token", "<|user|>");
        Assert.Equal(0, trained.Code);
        Assert.StartsWith("275 tokens from 10 texts, 145 characters", trained.Out);
        Assert.Contains("280 were asked for, but no further pair occurs as often as --min-frequency says", trained.Error);

        var encoded = JsonDocument.Parse(Run("", "tokenizer", "encode", model, "the 𝔉<|end|>", "--json").Out).RootElement;
        Assert.Equal("[0,3]", encoded.GetProperty("offsets")[0].GetRawText());
        Assert.Equal("[5,12]", encoded.GetProperty("offsets")[encoded.GetProperty("ids").GetArrayLength() - 1].GetRawText());
        Assert.Equal("the 𝔉<|end|>\n", Run(encoded.GetProperty("ids").GetRawText(), "tokenizer", "decode", model).Out);
        Assert.Equal("the 𝔉\n", Run(encoded.GetProperty("ids").GetRawText(), "tokenizer", "decode", model, "--skip-special-tokens").Out);

        var inspected = Run("", "tokenizer", "inspect", model).Out;
        Assert.Contains("eos_token       <|end|>  id 1", inspected);
        Assert.Contains("pre_tokenizer   ByteLevel(trim_offsets, use_regex)", inspected);
        Assert.Contains("1 tokens, 3 characters", Run("the", "tokenizer", "encode", model).Out);

        foreach (var (kind, name) in new[] { ("unigram", "Unigram"), ("wordpiece", "WordPiece") })
        {
            Assert.Equal(0, Run("", "tokenizer", "train", _folder["rows.jsonl"], "--kind", kind, "--vocab-size", "40", "--output",
                _folder[kind]).Code);
            Assert.Contains($"model           {name}(", Run("", "tokenizer", "inspect", _folder[kind]).Out);
        }
        Assert.Contains("--pattern has no effect with --kind unigram", Run("", "tokenizer", "train", _folder["rows.jsonl"], "--kind", "unigram",
            "--vocab-size", "40", "--output", _folder["none"], "--pattern", "qwen2").Error);
    }

    [Fact]
    public void Tokens_are_added_to_a_tokenizer_and_rows_to_its_model()
    {
        File.WriteAllText(_folder["rows.jsonl"], "{\"text\": \"the cat and the hat\"}\n");
        Assert.Equal(0, Run("", "tokenizer", "train", _folder["rows.jsonl"], "--vocab-size", "257", "--output", _folder["base"],
            "--eos-token", "<|end|>").Code);
        var chat = Run("", "tokenizer", "add", _folder["base"], "--chat-format", "--output", _folder["chat"]);
        Assert.Equal((0, $"257 <|im_start|>\n258 <|im_end|>\n259 tokens → {_folder["chat"]}\n"), (chat.Code, chat.Out));
        Assert.Contains("eos_token       <|im_end|>  id 258", Run("", "tokenizer", "inspect", _folder["chat"]).Out);
        Assert.Contains("<|im_start|>", File.ReadAllText(_folder["chat", "chat_template.jinja"]));

        File.WriteAllText(_folder["config.json"], """
            {"model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2,
            "max_position_embeddings": 32}
            """);
        Assert.Equal(0, Run("", "init", "--config", _folder["config.json"], "--tokenizer", _folder["base"], "--output", _folder["model"]).Code);
        var tools = Run("", "tokenizer", "add", _folder["model"], "--special-token", "<|tool|>", "--eos-token", "<|stop|>",
            "--resize-to-multiple-of", "64", "--output", _folder["tools"]);
        Assert.Equal((0, $"257 <|tool|>\n258 <|stop|>\n259 tokens; 63 rows added to the model's 257 → {_folder["tools"]}\n"),
            (tools.Code, tools.Out));
        var config = JsonDocument.Parse(File.ReadAllText(_folder["tools", "config.json"])).RootElement;
        Assert.Equal((320, 258), (config.GetProperty("vocab_size").GetInt32(), config.GetProperty("eos_token_id").GetInt32()));
        Assert.Equal(258, JsonDocument.Parse(File.ReadAllText(_folder["tools", "generation_config.json"])).RootElement
            .GetProperty("eos_token_id").GetInt32());
        Assert.Equal(0, Run("", "generate", _folder["tools"], "the", "--max-new-tokens", "2").Code);

        var again = Run("", "tokenizer", "add", _folder["model"], "--special-token", "<|tool|>", "--output", _folder["tools"]);
        Assert.Equal(2, again.Code);
        Assert.Contains("is not empty", again.Error);
        Assert.Equal(2, Run("", "tokenizer", "add", _folder["model"], "--output", _folder["none"]).Code);
    }

    [Fact]
    public void Mistakes_are_answered_with_exit_code_2_and_what_to_do()
    {
        File.WriteAllText(_folder["tokenizer.json"], "{}");
        var missing = Run("", "tokenizer", "encode", _folder["none"], "text");
        Assert.Equal((2, $"error: {_folder["none"]} does not exist\n  why: it should be a folder with tokenizer.json, or such a file\n  "
            + "fix: check the path\n"), (missing.Code, missing.Error));
        Assert.Equal(2, Run("", "tokenizer", "encode", _folder.Path, "text").Code);
        File.WriteAllText(_folder["rows.jsonl"], "{\"prompt\": \"x\"}\n");
        var column = Run("", "tokenizer", "train", _folder["rows.jsonl"], "--vocab-size", "300", "--output", _folder["model"]);
        Assert.Equal(2, column.Code);
        Assert.Contains("has no text in the column \"text\", and no messages; its columns are prompt", column.Error);
        Assert.False(Directory.Exists(_folder["model"]));
    }

    [Fact]
    public void Help_is_given_without_the_arguments()
    {
        var help = Run("", "tokenizer", "train", "--help");
        Assert.Equal(0, help.Code);
        Assert.Contains("--vocab-size", help.Out);
    }

    /// <summary>Like HandbookProcess, with a text on standard input.</summary>
    private static (int Code, string Out, string Error) Run(string input, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Combine(AppContext.BaseDirectory, "handbook-cli.dll"), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = System.Text.Encoding.UTF8,
            StandardInputEncoding = new System.Text.UTF8Encoding(false),
        };
        using var process = Process.Start(start)!;
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output, error.Result);
    }
}
