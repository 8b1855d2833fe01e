using Handbook.Base;
using Handbook.Cli.Progress;
using Handbook.Training;

namespace Handbook.Cli.Tests.Progress;

/// <summary>How much a run tells is the recipe's to say.</summary>
public sealed class TalkTests
{
    [Theory]
    [InlineData("passive", "a line\nnote: n\nwarning: w\n")]
    [InlineData("debug", "a line\nnote: n\nwarning: w\n")]
    [InlineData("warning", "warning: w\n")]
    [InlineData("critical", "")]
    public void Lines_below_the_level_are_not_shown(string level, string shown)
    {
        using var writer = new StringWriter { NewLine = "\n" };
        var observer = new ConsoleObserver(new LiveLine(writer, terminal: false)) { Least = Talk.Least(Enum.Parse<LogLevel>(level, ignoreCase: true)) };
        foreach (var line in (string[])["a line", "note: n", "warning: w"])
            observer.Said(line);
        Assert.Equal(shown, writer.ToString());
    }

    [Fact]
    public void A_recipe_s_own_messages_keep_to_it_too()
    {
        var report = new Diagnostics("r.yaml");
        report.Note(null, "n");
        report.Warning("seed", "is odd");
        report.Error("seed", "is wrong");
        Assert.Equal("r.yaml: warning: seed is odd\nr.yaml: error: seed is wrong\n", Talk.Messages(report, Severity.Warning));
        Assert.Equal("r.yaml: error: seed is wrong\n", Talk.Messages(report, Severity.Error));
    }
}
