using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Training.Tests.Contract;

/// <summary>The real failures of other trainers that this project answers for: each has a test with its number in the title.</summary>
public sealed partial class NamedFailuresTests
{
    [Theory] // peers.md 4.3: those that concern methods, adapters and several processes
    [InlineData(1), InlineData(2), InlineData(3), InlineData(7), InlineData(8), InlineData(9), InlineData(10), InlineData(11), InlineData(12),
        InlineData(13)]
    [InlineData(15), InlineData(16), InlineData(17), InlineData(18), InlineData(19), InlineData(23), InlineData(24), InlineData(25), InlineData(26)]
    [InlineData(27), InlineData(28), InlineData(29), InlineData(31), InlineData(32)]
    public void A_test_names_the_failure(int number)
    {
        var tests = Path.Combine(SharedFiles.Repository, "tests");
        var titles = Directory.EnumerateFiles(tests, "*Tests.cs", SearchOption.AllDirectories).SelectMany(File.ReadLines)
            .Select(line => Title().Match(line)).Where(match => match.Success);
        Assert.Contains(titles, title => title.Groups["number"].Captures.Any(capture => capture.Value == number.ToString()));
    }

    [GeneratedRegex(@"public (?:async )?(?:void|Task) Number(?:_(?:and_)?(?<number>\d+))+_[a-z]")]
    private static partial Regex Title();
}
