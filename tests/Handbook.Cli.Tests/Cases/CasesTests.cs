using System.Reflection;
using Handbook.Testing;

namespace Handbook.Cli.Tests.Cases;

/// <summary>Every folder of the shared cases is run; what exactly it must give, a test of its own says.</summary>
[Trait("kind", "golden")]
[Trait("needs", "shared")]
public sealed class CasesTests
{
    private static readonly HashSet<string> s_asserted = [.. typeof(CasesTests).Assembly.GetTypes()
        .SelectMany(type => type.GetMethods(BindingFlags.Public | BindingFlags.Instance))
        .SelectMany(method => method.GetCustomAttributes<CaseAttribute>())
        .Select(named => named.Folder)];

    public static TheoryData<string> Folders() =>
        [.. SharedFiles.Folders("cases").Where(folder => File.Exists(Path.Combine(folder, "run.sh")))
            .Select(folder => Path.GetFileName(folder)!)];

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void A_case_runs_without_a_fault_of_ours_and_has_a_test_of_its_own(string folder)
    {
        var run = CaseRun.Of(folder);
        Assert.True(run.OwnFault is null, $"{folder}: {run.OwnFault}\n{run.Text}");
        if (!s_asserted.Contains(folder))
            GoldenCase.NotBuilt($"{folder}: no test asserts what its expected.txt says");
    }

    [Fact]
    public void The_fault_of_a_run_is_found_in_what_it_printed()
    {
        Assert.Null(new CaseRun("recipe.yaml: a good recipe\n  looked at 3 rows\nrc=2\n").OwnFault);
        Assert.Equal("   at Handbook.Data.RowReader.Read(JsonElement row)",
            new CaseRun("error\n   at Handbook.Data.RowReader.Read(JsonElement row)\n").OwnFault);
        Assert.Equal("rc=1", new CaseRun("error: x\nrc=1\n").OwnFault);
        Assert.Equal(["[a] b", "c"], new CaseRun("x\n── row 1: 2 tokens; [in brackets] carries loss ──\n[a] b\n\n── row 2: 1 tokens; [in "
            + "brackets] carries loss ──\nc\n").Rows);
        Assert.Equal([0, 2], new CaseRun("rc=0\nfoo\nrc=2\n").Codes);
    }
}
