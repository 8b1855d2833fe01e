using Handbook.Hub;

namespace Handbook.Tests.Hub;

/// <summary>Names of files as users write them.</summary>
public sealed class FilePatternsTests
{
    [Theory]
    [InlineData("*.json", "", "config.json sub/config.json")]
    [InlineData("config.json", "", "config.json")]
    [InlineData("sub/", "", "sub/config.json sub/deep/x.bin")]
    [InlineData("", "*.bin", "config.json sub/config.json a1.txt a2.txt")]
    [InlineData("a[1].txt", "", "a1.txt")]
    [InlineData("a[!1].txt", "", "a2.txt")]
    [InlineData("a?.txt", "a2*", "a1.txt")]
    [InlineData("*.json *.bin", "sub/*", "config.json")]
    public void Patterns_choose_files(string include, string exclude, string chosen)
    {
        var patterns = new FilePatterns(Words(include), Words(exclude));
        string[] files = ["config.json", "sub/config.json", "sub/deep/x.bin", "a1.txt", "a2.txt"];
        Assert.Equal(Words(chosen), files.Where(patterns.Take));
    }

    [Theory] // each case as git decides it
    [InlineData("*.log", "a.log", true)]
    [InlineData("*.log", "deep/a.log", true)]
    [InlineData("/a.log", "deep/a.log", false)]
    [InlineData("deep/a.log", "deep/a.log", true)]
    [InlineData("deep/a.log", "very/deep/a.log", false)]
    [InlineData("build/", "build/x", true)]
    [InlineData("build/", "build", false)]
    [InlineData("build", "very/build/x", true)]
    [InlineData("**/x/*.txt", "a/b/x/1.txt", true)]
    [InlineData("a/**", "a/b/c", true)]
    [InlineData("a/**/c", "a/c", true)]
    [InlineData("a/*", "a/b/c", true)]      // its folder b is out
    [InlineData("a/*.txt", "a/b/c.txt", false)]
    [InlineData("*\n!keep", "keep", false)]
    [InlineData("dir/\n!dir/keep", "dir/keep", true)]       // what lies in a folder that is out stays out
    [InlineData("\\#x", "#x", true)]
    [InlineData("# x", "# x", false)]
    [InlineData("x  ", "x", true)]
    [InlineData("", "x", false)]
    public void Lines_of_gitignore_mean_what_git_means(string lines, string path, bool ignored) =>
        Assert.Equal(ignored, new IgnoreRules(lines.Split('\n')).Ignores(path));

    private static string[] Words(string text) => text.Split(' ', StringSplitOptions.RemoveEmptyEntries);
}
