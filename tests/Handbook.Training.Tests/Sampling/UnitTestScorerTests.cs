using Handbook.Base;
using Handbook.Training.Sampling;
using Handbook.Training.Sampling.Scorers;

namespace Handbook.Training.Tests.Sampling;

/// <summary>What a model's code can and cannot do; skipped where the machine lets nobody isolate it.</summary>
public sealed class UnitTestScorerTests
{
    [Fact]
    public void Code_is_off_unless_it_is_allowed() =>
        Assert.Equal("add --allow_code, or allow_code: true",
            Assert.Throws<InputException>(() => new UnitTestScorer(new() { Command = "true" })).Fix);

    [Fact]
    public void An_answer_passes_where_the_command_ends_with_0()
    {
        using var scorer = Scorer("sh solution.sh");
        var scores = scorer.Score([Answer("```sh\ntest 2 = \"$(cat reference.txt)\"\n```"),
            Answer("test 3 = \"$(cat reference.txt)\" || { echo wrong; exit 7; }")]);
        Assert.Equal([1, 0], scores.Select(score => score.Value));
        Assert.Equal("ended with 7: wrong\n", scores[1].Detail);
    }

    [Theory]
    [InlineData("cat /etc/hostname > /dev/null; ls /home /root /var")]      // no folder of the user's
    [InlineData("echo x > /usr/bin/handbook-was-here")]
    [InlineData("echo x > /handbook-was-here && test -e /proc/1/root/etc/passwd && ls /.old/usr")]
    [InlineData("cat < /dev/tcp/127.0.0.1/80")]
    [InlineData("ip link set lo up && ping -c1 127.0.0.1")]
    [InlineData("mount -t tmpfs none /tmp")]        // no way to capabilities
    [InlineData("unshare -r true")]
    [InlineData("head -c 200000000 /dev/zero > big")]
    [InlineData("head -c 2000000000 /dev/zero | tail -c 1000000000")]
    [InlineData("i=0; while [ $i -lt 200 ]; do sleep 3 & i=$((i+1)); done; wait")]
    [InlineData("env | grep -q HANDBOOK")]
    [InlineData("kill -9 1; sleep 30")]
    public void What_it_must_not_do_fails(string code)
    {
        Environment.SetEnvironmentVariable("HANDBOOK_SECRET_OF_THIS_TEST", "1");
        using var scorer = Scorer("sh solution.sh", seconds: 5);
        Assert.Equal(0, scorer.Score([Answer(code)])[0].Value);
    }

    [Fact]
    public void What_runs_too_long_is_stopped_with_all_its_children()
    {
        using var scorer = Scorer("sh solution.sh", seconds: 1);
        var clock = System.Diagnostics.Stopwatch.StartNew();
        var score = scorer.Score([Answer("echo begun; (sleep 31.4159; true) & sleep 31.4159")])[0];
        Assert.StartsWith("stopped after 1 s: begun", score.Detail);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20));
        Assert.DoesNotContain(Directory.GetDirectories("/proc").Where(folder => int.TryParse(Path.GetFileName(folder), out _))
            .Select(CommandLine), line => line.Contains("31.4159", StringComparison.Ordinal));
        Assert.Empty(Directory.GetDirectories(Path.GetTempPath(), "handbook-code-*"));

        static string CommandLine(string folder)
        {
            try
            {
                return File.ReadAllText(Path.Combine(folder, "cmdline"));
            }
            catch (IOException)
            {
                return "";      // gone in between
            }
            catch (UnauthorizedAccessException)
            {
                return "";
            }
        }
    }

    [Fact]
    public void All_files_together_have_a_limit()
    {
        using var scorer = Scorer("sh solution.sh");
        var scores = scorer.Score([Answer("for i in 1 2 3; do head -c 10000000 /dev/zero > file$i || exit 1; done"),
            Answer("for i in 1 2 3; do head -c 30000000 /dev/zero > file$i || exit 1; done"),
            Answer("i=0; while [ $i -lt 20000 ]; do : > $i || exit 1; i=$((i+1)); done")]);
        Assert.Equal([1, 0, 0], scores.Select(score => score.Value));
        Assert.Contains("No space left", scores[1].Detail);
    }

    [Fact]
    public void What_a_killed_process_ran_dies_with_it_and_its_folder_goes_at_the_next_start()
    {
        Scorer("true").Dispose();
        if (Environment.GetEnvironmentVariable("HANDBOOK_TEST_IS_KILLED") is not null)
            Scorer("sleep 777.25", seconds: 300).Score([Answer("# 777.25")]);
        using var child = System.Diagnostics.Process.Start(new System.Diagnostics.ProcessStartInfo("dotnet",
            ["exec", typeof(UnitTestScorerTests).Assembly.Location, "-method",
                $"{typeof(UnitTestScorerTests).FullName}.{nameof(What_a_killed_process_ran_dies_with_it_and_its_folder_goes_at_the_next_start)}"])
        {
            Environment = { ["HANDBOOK_TEST_IS_KILLED"] = "1" },
            RedirectStandardOutput = true,
        })!;
        Wait(() => Sleeping() > 0);
        child.Kill();        // it alone
        Wait(() => Sleeping() == 0);
        Assert.NotEmpty(Folders());
        Scorer("true").Dispose();
        Assert.Empty(Folders());

        static int Sleeping() => System.Diagnostics.Process.GetProcessesByName("sleep")
            .Count(process => File.ReadAllText($"/proc/{process.Id}/cmdline").Contains("777.25", StringComparison.Ordinal));

        static string[] Folders() =>
            [.. Directory.GetDirectories(Path.GetTempPath(), "handbook-code-*")
            .Where(folder => File.Exists(Path.Combine(folder, "work", "solution.sh"))
            && File.ReadAllText(Path.Combine(folder, "work", "solution.sh")).Contains("777.25", StringComparison.Ordinal))];

        static void Wait(Func<bool> holds) => Assert.True(SpinWait.SpinUntil(() =>
        {
            Thread.Sleep(50);
            return holds();
        }, TimeSpan.FromSeconds(30)));
    }

    private static SampledAnswer Answer(string code) => new() { Answer = code, Reference = "2" };

    private static UnitTestScorer Scorer(string command, double seconds = 20)
    {
        try
        {
            return new(new() { Command = command, File = "solution.sh", Allowed = true, Limits = new() { Seconds = seconds } });
        }
        catch (InputException refused)
        {
            Assert.Skip(refused.What);
            throw;
        }
    }
}
