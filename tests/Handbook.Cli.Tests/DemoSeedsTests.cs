using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The whole demo, as <c>make demo</c> runs it, with other seeds: every stage is better than the one before.</summary>
public sealed partial class DemoSeedsTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    [Theory]
    [Trait("speed", "slow")]
    [InlineData(17), InlineData(18), InlineData(19)]
    public async Task Every_stage_is_better_than_the_one_before(int seed)
    {
        var start = new ProcessStartInfo("bash",
            [Path.Combine(SharedFiles.Repository, "tools", "demo.sh")])
        { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["DEMO_SEED"] = seed.ToString(CultureInfo.InvariantCulture);
        start.Environment["DEMO_FOLDER"] = _folder["demo"];
        start.Environment["HANDBOOK_CACHE"] = _folder["cache"];
        using var process = Process.Start(start)!;
        var reading = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        var output = await process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var errors = await reading;
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.True(process.ExitCode == 0, $"{output}\n{errors}");

        var table = Row().Matches(output).ToDictionary(row => row.Groups[1].Value,
            row => Figure().Matches(row.Groups[2].Value).Select(f => double.Parse(f.Value, CultureInfo.InvariantCulture)).ToArray());
        Assert.True(table.Count == 5, output);
        var (read, tuned, reward, dpo, sampled) = (table["reading"], table["fine-tuning"], table["reward modelling"], table["DPO"],
            table["rejection sampling"]);
        Assert.True(read[0] < tuned[0] && tuned[0] < dpo[0] && dpo[0] < sampled[0], $"accuracy\n{output}");
        Assert.True(0.5 < reward[0] && reward[0] < dpo[1], $"reward accuracy\n{output}");
        Assert.True(0.5 < dpo[2] && dpo[2] < sampled[1], $"win rate\n{output}");
    }

    public void Dispose() => _folder.Dispose();

    [GeneratedRegex(@"^  (reading|fine-tuning|reward modelling|DPO|rejection sampling) \([^)]*\)(.*)$", RegexOptions.Multiline)]
    private static partial Regex Row();

    [GeneratedRegex(@"\d\.\d+")]
    private static partial Regex Figure();
}
