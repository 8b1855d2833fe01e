using System.Text;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Models;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary>The chapter on models of one's own: its family is the one that is built, its commands run, and its list is whole.</summary>
public sealed class BringYourModelTests : IDisposable
{
    private static readonly string s_chapter = File.ReadAllText(Path.Combine(SharedFiles.Repository, "docs", "guide", "bring-your-model.md"));

    private readonly HandbookProcess _handbook = new();

    [Fact]
    public void The_family_that_it_shows_is_the_one_that_is_built()
    {
        var file = Regex.Match(s_chapter, @"`(src/[^`]*\.cs)`").Groups[1].Value;
        var shown = Regex.Match(s_chapter, @"^```csharp\n(namespace .*?)^```", RegexOptions.Singleline | RegexOptions.Multiline).Groups[1].Value;
        Assert.Equal(File.ReadAllText(Path.Combine(SharedFiles.Repository, file)), shown);
    }

    [Fact]
    public void The_variants_that_it_shows_are_tested()
    {
        var variants = File.ReadAllText(Path.Combine(SharedFiles.Repository, "tests/Handbook.Training.Tests/Models/FamilyVariants.cs"));
        string[] shown = [.. Regex.Matches(s_chapter, @"^\(""[^\n]*\),$", RegexOptions.Multiline).Select(line => line.Value)];
        Assert.Equal(2, shown.Length);
        Assert.All(shown, line => Assert.Contains("        " + line + "\n", variants));
    }

    [Fact]
    public void It_and_the_readme_name_every_family_that_is_built()
    {
        var why = Assert.Throws<Models.Families.UnsupportedFamilyException>(() =>
            PublishedConfig.Parse(Encoding.UTF8.GetBytes("""{"model_type": "t5"}"""), "config.json")).Why!;
        var readme = File.ReadAllText(Path.Combine(SharedFiles.Repository, "README.md"));
        Assert.All(why["supported are ".Length..].Split(", "), type =>
        {
            Assert.Contains($"`{type}`", s_chapter);
            Assert.Contains($"`{type}`", readme);
        });
    }

    [Fact]
    [Trait("speed", "slow")]
    public void Every_command_of_the_chapter_runs()
    {
        GuideChapter.Prepare(_handbook);
        foreach (var line in GuideChapter.Lines("bring-your-model.md"))
            GuideChapter.Run(_handbook, GuideChapter.Short(GuideChapter.Words(line)));
        var adapted = Encoding.Latin1.GetString(File.ReadAllBytes(Path.Combine(_handbook.Folder,
            "runs/tiny-nemotron-lora/adapter_model.safetensors")));
        Assert.All((string[])["up_proj", "down_proj", "q_proj", "o_proj"], layer => Assert.Contains($"{layer}.lora_A.weight", adapted));
    }

    public void Dispose() => _handbook.Dispose();
}
