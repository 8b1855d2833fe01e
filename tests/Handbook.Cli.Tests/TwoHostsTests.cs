using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Handbook.Cli.Tests;

/// <summary>Two hosts that have only a network in common, and that goes away.</summary>
public sealed class TwoHostsTests
{
    /// <summary>The hosts of the slow tests below; where they cannot be made, a run of the usual tests says so too.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData("netem delay 3ms 1ms loss 0.5%")]
    [InlineData("tbf rate 8mbit burst 2kb latency 2ms")]
    public void Two_hosts_reach_each_other_over_their_link_alone(string? shaping)
    {
        using var hosts = TwoHosts.MakeOrSkip(shaping);
        var sent = hosts.Sent(1);
        Assert.Contains("refused", Knock());        // nobody listens, but somebody answers
        Assert.True(hosts.Sent(1) > sent, "it went another way");
        hosts.Link(isUp: false);
        Assert.DoesNotContain("refused", Knock());

        string Knock()
        {
            using var process = Process.Start(new ProcessStartInfo("ip", [.. hosts.On(1), "timeout", "1", "bash", "-c",
                $"exec 3<>/dev/tcp/{TwoHosts.Address}/9"])
            { RedirectStandardError = true, Environment = { ["LC_ALL"] = "C" } })!;
            var said = process.StandardError.ReadToEnd();
            process.WaitForExit();
            return said;
        }
    }

    [Theory, Trait("speed", "slow")]
    [InlineData(null)]
    [InlineData("netem delay 3ms 1ms loss 0.5%")]
    [InlineData("tbf rate 8mbit burst 2kb latency 2ms")]        // where a kernel has no netem: packets wait, and what comes too fast is lost
    public async Task A_job_whose_link_is_cut_ends_by_itself_and_goes_on_with_the_same_bits(string? shaping)
    {
        using var hosts = TwoHosts.MakeOrSkip(shaping);
        using var folder = new TrainingFolder("max_steps: 200\nsave_steps: 3\nsave_total_limit: 2\neval_strategy: \"no\"");
        Assert.Equal(0, folder.Launch(["--nproc-per-node", "2"], "--output_dir=whole").Code);

        var ended = Start(hosts, folder, "--output_dir=cut");
        for (var waited = Stopwatch.StartNew(); folder.Lines("cut") < 8; Thread.Sleep(2))
        {
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), "no step is done");
            Assert.False(ended.Any(host => host.Process.HasExited), "it ended before anything happened");
        }
        Assert.True(shaping is null || hosts.Lost() > 0, "the link loses nothing");
        hosts.Link(isUp: false);
        var clock = Stopwatch.StartNew();
        foreach (var host in ended)
            Assert.True(host.Process.WaitForExit(TimeSpan.FromSeconds(20) - clock.Elapsed), "it goes on for more than 20 s");
        Assert.InRange(folder.Lines("cut"), 8, 199);
        foreach (var (host, process, said) in ended)
        {
            Assert.NotEqual(0, process.ExitCode);
            Assert.Contains($"rank {1 - host} on ", await said);        // each names the one that it does not hear
            process.Dispose();
        }

        hosts.Link(isUp: true);
        foreach (var (_, process, said) in Start(hosts, folder, "--output_dir=cut"))
        {
            Assert.True(process.WaitForExit(TimeSpan.FromMinutes(3)), "it does not end");
            Assert.True(process.ExitCode == 0, await said);
            process.Dispose();
        }
        Assert.Equal(folder.Curve("whole"), folder.Curve("cut"));
        Assert.Equal(folder.Weights("whole"), folder.Weights("cut"));
    }

    /// <summary>What the kernel counts on the link against what the plan says; a start and an end of a run cost the same for any number of
    /// steps.</summary>
    [Theory, Trait("speed", "slow")]
    [InlineData(0), InlineData(1), InlineData(2), InlineData(3)]
    public async Task Bytes_on_the_wire_are_those_of_the_plan(int stage)
    {
        const int Few = 4, Many = 14;
        using var hosts = TwoHosts.MakeOrSkip(shaping: null);
        using var folder = new TrainingFolder("save_strategy: \"no\"\neval_strategy: \"no\"");
        folder.Write("large.json", """
            {"model_type": "llama", "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
             "max_position_embeddings": 64, "vocab_size": 512}
            """);
        Run("init", "--config", "large.json", "--tokenizer", "tok", "--output", "large");
        Run("plan", "recipe.yaml", "--method", "cpt", "--world", "2", "--network", "1GB/s", "--passes", "1", "--json", "plan.json",
            "--model_name_or_path=large");
        var planned = JsonNode.Parse(File.ReadAllText(folder["plan.json"]))!["rows"]!.AsArray()
            .Single(row => row!["zero_stage"]!.GetValue<int>() == stage)!["sent_bytes"]!.GetValue<double>();

        var sent = new List<long>();
        foreach (var steps in (int[])[Few, Many])
        {
            var before = hosts.Sent(1);
            foreach (var (_, process, said) in Start(hosts, folder, $"--max_steps={steps}", $"--zero_stage={stage}", $"--output_dir=run-{steps}",
                "--model_name_or_path=large", "--lr_scheduler_type=constant"))
            {
                Assert.True(process.WaitForExit(TimeSpan.FromMinutes(2)), "it does not end");
                Assert.True(process.ExitCode == 0, await said);
                process.Dispose();
            }
            sent.Add(hosts.Sent(1) - before);
        }
        Assert.Equal(planned, (sent[1] - sent[0]) / (double)(Many - Few), 0.02 * planned);

        void Run(params string[] words)
        {
            using var process = folder.StartOther("dotnet", ["exec", HandbookProcess.ProgramFile, .. words], new Dictionary<string, string>());
            process.BeginOutputReadLine();
            var said = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, said);
        }
    }

    private static (int Host, Process Process, Task<string> Said)[] Start(TwoHosts hosts, TrainingFolder folder, params string[] overrides) =>
        [.. Enumerable.Range(0, 2).Select(host =>
        {
            var process = folder.StartOther("ip", [.. hosts.On(host), "dotnet", "exec", HandbookProcess.ProgramFile, "launch", "--nnodes", "2",
                "--node-rank", $"{host}", "--rdzv-endpoint", $"{TwoHosts.Address}:29500", "--nproc-per-node", "1", "cpt", "recipe.yaml",
                .. overrides], new Dictionary<string, string>());
            process.BeginOutputReadLine();
            return (host, process, process.StandardError.ReadToEndAsync());
        })];
}
