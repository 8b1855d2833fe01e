using Handbook.Testing;

namespace Handbook.Tests.Repository;

/// <summary>What lies in the shared folder and no test reads yet is named, so that <c>make golden</c> leaves out nothing in
/// silence.</summary>
[Trait("kind", "golden")]
public sealed class UnreadGoldenCasesTests
{
    /// <summary>The folders of <c>golden</c> that tests walk.</summary>
    private static readonly HashSet<string> s_read = ["curves", "generation", "lora", "losses", "losses_trl1", "models", "optim",
        "quantised",
        "reward", "runs", "schedules"];

    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>();
        foreach (var folder in SharedFiles.Folders("golden"))
            if (!s_read.Contains(Path.GetFileName(folder)))
                foreach (var path in Directory.EnumerateFileSystemEntries(folder)
                    .Where(path => !path.EndsWith(".md", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
                    data.Add($"{Path.GetFileName(folder)}/{Path.GetFileName(path)}");
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Every_golden_case_is_read_by_a_test(string name)
    {
        if (name.Length > 0)
            GoldenCase.NotBuilt($"golden/{name}: no test reads it");
    }
}
