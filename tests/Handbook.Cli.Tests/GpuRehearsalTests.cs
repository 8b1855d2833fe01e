using System.Diagnostics;
using System.Text.Json.Nodes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary><c>make test-gpu</c> and <c>make bench-gpu</c> on a device that stands in for a GPU: nothing of them is run for the first time when there
/// is a card.</summary>
public sealed class GpuRehearsalTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private (int Code, string Said) Say(params string[] words)
    {
        string[] all = [Path.Combine(SharedFiles.Repository, "tools", "gpu.sh"), .. words, "--dry", "--out", _folder["found.json"]];
        using var process = Process.Start(new ProcessStartInfo("bash", all) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + errors.Result);
    }

    private JsonObject Run(params string[] words)
    {
        var (code, said) = Say(words);
        Assert.True(code == 0, said);
        return JsonNode.Parse(File.ReadAllText(_folder["found.json"]))!.AsObject();
    }

    [Theory, Trait("speed", "slow")]
    [InlineData("test", "device families optimisers answers runs repeat resume memory ranks")]
    [InlineData("bench", "sft-full sft-lora dpo-lora sft-qlora decode pytorch")]
    public void Every_stage_ends_and_finds_nothing_wrong(string kind, string stages)
    {
        SharedFiles.Need("golden", "runs");
        var report = Run(kind, "--seconds", "1200");
        Assert.Equal(stages, string.Join(' ', report["stages"]!.AsArray().Select(stage => stage!["name"]!.GetValue<string>())));
        Assert.All(report["stages"]!.AsArray(), stage => Assert.Equal("done", stage!["state"]!.GetValue<string>()));
        Assert.True(report["is_rehearsal"]!.GetValue<bool>());
        Assert.DoesNotContain(report["rows"]!.AsArray(), row => row!["ok"] is { } ok && !ok.GetValue<bool>());
    }

    [Fact, Trait("speed", "slow")]
    public void Without_time_stages_are_left_out_and_what_was_found_is_kept()
    {
        var (code, said) = Say("test", "--seconds", "8");
        Assert.Equal(1, code);
        var stages = JsonNode.Parse(File.ReadAllText(_folder["found.json"]))!["stages"]!.AsArray();
        Assert.Equal(9, stages.Count);
        Assert.Equal("left out", stages[^1]!["state"]!.GetValue<string>());
        Assert.Contains("no time was left", stages[^1]!["note"]!.GetValue<string>());
        Assert.Contains("left out", said);
    }
}
