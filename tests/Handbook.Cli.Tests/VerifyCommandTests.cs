using System.Text.Json.Nodes;
using Handbook.Cli.Tests.BadInput;

namespace Handbook.Cli.Tests;

/// <summary>The commands that look at a recorded run, as they are typed.</summary>
public sealed class VerifyCommandTests : IDisposable
{
    private readonly TinyRun _run = new();

    [Fact]
    public void A_run_is_verified_and_repeated_from_any_folder_and_a_change_has_an_exit_code_of_its_own()
    {
        Assert.Equal(0, _run.Sft("--logging_steps=1", "--eval_strategy=no").Code);
        _run.Write("elsewhere/empty", "");
        var verified = Elsewhere("verify", _run.At("out"));
        Assert.True(verified.Code == 0, verified.Output + verified.Error);
        Assert.Matches(@"(?m)^data +rows\.jsonl \[train\] +same$", verified.Output);
        Assert.Matches(@"(?m)^weights +model +same$", verified.Output);
        Assert.Matches(@"(?m)^\d+ same$", verified.Output);

        // Moved alone, its names are looked up in the folder where the command is typed.
        foreach (var file in Directory.EnumerateFiles(_run.At("out"), "*", SearchOption.AllDirectories))
        {
            var copy = Path.Combine(_run.At("elsewhere", "moved", "out"), Path.GetRelativePath(_run.At("out"), file));
            Directory.CreateDirectory(Path.GetDirectoryName(copy)!);
            File.Copy(file, copy);
        }
        var moved = _run.Handbook.Run("verify", "elsewhere/moved/out", "--quick");
        Assert.True(moved.Code == 0, moved.Output + moved.Error);

        var repeated = Elsewhere("reproduce", _run.At("out"), "--steps", "2", "--output_dir", "again");
        Assert.True(repeated.Code == 0, repeated.Output + repeated.Error);
        Assert.Contains("2 steps: the same bits in every number; the weights have the same bits", repeated.Output);
        Assert.Contains("stopped after step 2, as asked, with checkpoint-2 on disk", repeated.Error);
        Assert.DoesNotContain("interrupted", repeated.Error);
        Assert.True(File.Exists(_run.At("elsewhere", "again", "reproduction.svg")));

        _run.Write("rows.jsonl", _run.Read("rows.jsonl").Replace("number", "Number"));
        var changed = _run.Handbook.Run("verify", "out", "--json", "--no-rows");
        Assert.Equal(4, changed.Code);
        var data = JsonNode.Parse(changed.Output)!["parts"]!.AsArray().Single(part => part!["what"]!.ToString() == "data")!;
        Assert.Equal(("changed", "rows.jsonl has other content (its SHA-256 differs)"), (data["state"]!.ToString(), data["detail"]!.ToString()));
        var refused = _run.Handbook.Run("reproduce", "out");
        Assert.Equal(2, refused.Code);
        Assert.Contains("  fix: put these back as they were; or repeat it all the same with --anyway", refused.Error);

        _run.Write("out/run.json", _run.Read("out/run.json")[..200]);
        var damaged = _run.Handbook.Run("verify", "out");
        Assert.Equal((2, ""), (damaged.Code, damaged.Output));
        Assert.Matches(@"^error: \S+run\.json is damaged: line \d+ is not JSON, or the file was cut there\n  why: .*\n  fix: ", damaged.Error);
        var alone = _run.Handbook.Run(["reproduce", "out"], TimeSpan.FromMinutes(2), new Dictionary<string, string>
        { ["RANK"] = "0", ["WORLD_SIZE"] = "2", ["MASTER_ADDR"] = "127.0.0.1", ["MASTER_PORT"] = "29500" });
        Assert.Equal(2, alone.Code);
        Assert.StartsWith("error: reproduce was started as one of 2 processes\n  why: one process repeats", alone.Error);
    }

    [Theory, Trait("speed", "slow")]
    [InlineData("--steps is 0, but must be 1 or more", "reproduce", "out", "--steps", "0")]
    [InlineData("--tolerance is -1, but must be 0 or more", "reproduce", "out", "--tolerance", "-1")]
    [InlineData("out: there is no such folder", "verify", "out")]
    [InlineData("model holds no run of the handbook", "reproduce", "model")]
    public void A_wrong_word_is_refused(string message, params string[] words)
    {
        var outcome = _run.Handbook.Run(words);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
        Assert.Contains("  fix: ", outcome.Error);
    }

    public void Dispose() => _run.Dispose();

    private Outcome Elsewhere(params string[] words)
    {
        var line = string.Join(' ', words.Select(word => $"'{word}'"));
        return _run.Handbook.RunOther("bash", "-c", $"cd elsewhere && dotnet exec '{HandbookProcess.ProgramFile}' {line}");
    }
}
