using System.Text.RegularExpressions;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Dpo;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Tests.Recipes;

/// <summary>The keys that the guide names exist, and so do the losses.</summary>
public sealed class GuideKeysTests
{
    [Fact]
    public void Every_key_in_a_table_of_keys_is_a_key()
    {
        var found = 0;
        foreach (var (chapter, row) in Rows("key"))
            foreach (Match name in Regex.Matches(row, "`([a-z_0-9]+)`"))
            {
                found++;
                Assert.True(RecipeKeys.Find(name.Groups[1].Value) is not null, $"{chapter}: {name.Groups[1].Value} is no key of a recipe");
            }
        Assert.True(found > 20);
    }

    [Fact]
    public void Every_loss_of_the_family_loads_and_none_is_left_out()
    {
        var losses = Rows("`loss_type`").SelectMany(row => Regex.Matches(row.First, "`([a-z_]+)`").Select(match => match.Groups[1].Value))
            .ToHashSet();
        foreach (var loss in losses)
            Assert.DoesNotContain("error", RecipeFile.Said(RecipeFile.Good + $"loss_type: {loss}\n", TrainingMethod.Dpo));
        var known = RecipeNames.Spellings(typeof(DpoLossType)).Where(spelling => spelling.IsFirst).Select(spelling => spelling.Name);
        Assert.Equal([], known.Except(losses));
    }

    /// <summary>The first cells of the tables whose first column has this name.</summary>
    private static IEnumerable<(string Chapter, string First)> Rows(string column)
    {
        foreach (var file in Directory.EnumerateFiles(Path.Combine(SharedFiles.Repository, "docs", "guide"), "*.md"))
        {
            var lines = File.ReadAllLines(file);
            for (var header = 0; header + 1 < lines.Length; header++)
                if (lines[header].StartsWith($"| {column} |", StringComparison.Ordinal)
                    && lines[header + 1].StartsWith("|---", StringComparison.Ordinal))
                    for (var row = header + 2; row < lines.Length && lines[row].StartsWith('|'); row++)
                        yield return (Path.GetFileName(file), lines[row].Split('|')[1]);
        }
    }
}
