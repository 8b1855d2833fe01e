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
        Assert.Contains("280 were asked for, but no further pair occurs 2 times", trained.Error);

        var encoded = JsonDocument.Parse(Run("", "tokenizer", "encode", model, "the 𝔉<|end|>", "--json").Out).RootElement;
        Assert.Equal("[0,3]", encoded.GetProperty("offsets")[0].GetRawText());
        Assert.Equal("[5,12]", encoded.GetProperty("offsets")[encoded.GetProperty("ids").GetArrayLength() - 1].GetRawText());
        Assert.Equal("the 𝔉<|end|>\n", Run(encoded.GetProperty("ids").GetRawText(), "tokenizer", "decode", model).Out);
        Assert.Equal("the 𝔉\n", Run(encoded.GetProperty("ids").GetRawText(), "tokenizer", "decode", model, "--skip-special-tokens").Out);

        var inspected = Run("", "tokenizer", "inspect", model).Out;
        Assert.Contains("eos_token       <|end|>  id 1", inspected);
        Assert.Contains("pre_tokenizer   ByteLevel(trim_offsets, use_regex)", inspected);
        Assert.Contains("1 tokens, 3 characters", Run("the", "tokenizer", "encode", model).Out);
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
