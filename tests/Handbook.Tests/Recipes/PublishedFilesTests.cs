using Handbook.Base;
using Handbook.Recipes;
using Handbook.Training.Plans;

namespace Handbook.Tests.Recipes;

/// <summary>The files of the Python handbook run as they are: every key and spelling of each revision, in both ways of calling.</summary>
public sealed class PublishedFilesTests
{
    public static TheoryData<string> Files() => [.. PublishedFiles.Names];

    [Fact]
    public void Every_file_of_each_revision_is_there() => Assert.Equal([("a", 19), ("b", 24), ("m", 8)],
        PublishedFiles.Names.GroupBy(name => name[..1]).Select(group => (group.Key, group.Count())));

    [Theory, MemberData(nameof(Files))]
    public void A_file_is_good_and_every_key_of_it_is_read_or_told_of(string name)
    {
        var file = new FileInfo(PublishedFiles.PathOf(name));
        var result = Recipe.Load(file, [], PublishedFiles.MethodOf(name));
        Assert.True(result.TryGet(out var recipe, out var diagnostics), diagnostics.ToString());

        var written = (MapNode)YamlReader.Read(File.ReadAllText(file.FullName), null, new Diagnostics(""))!;
        foreach (var (key, value) in written.Entries)
        {
            var known = RecipeKeys.Find(key.Text);
            Assert.True(known is not null, $"{key.Text} is not known");
            if (recipe.Sources.GetValueOrDefault(known.Name) == KeySource.File)
                continue;
            // without effect: it is kept for the recipe of the run, and told where it asks for something
            Assert.Contains(recipe.WithoutEffect, pair => pair.Key == known);
            var isDefault = value is ScalarNode { Text: var text } && string.Equals(text, YamlWriter.Flow(known.Default),
                StringComparison.OrdinalIgnoreCase);
            Assert.True(isDefault || diagnostics.All.Any(said => said.What.StartsWith(key.Text + " ", StringComparison.Ordinal)),
                $"{key.Text} has no effect, and nothing says so");
        }
    }

    [Theory, MemberData(nameof(Files))]
    public void Both_ways_of_calling_change_the_same_keys(string name)
    {
        var path = PublishedFiles.PathOf(name);
        // run_sft.py CONFIG --k=v of the first scripts, and --config CONFIG --k v of the later ones
        var first = Loaded([path, "--learning_rate=1.0e-4", "--output_dir=data/mine", "--bf16=false", "--num_train_epochs=2"]);
        var later = Loaded(["--config", path, "--learning_rate", "1.0e-4", "--output_dir", "data/mine", "--no_bf16", "--num-train-epochs",
            "2"]);
        Assert.Equal((1e-4, "data/mine", false, 2.0),
            (first.Training.LearningRate, first.Training.OutputDir, first.Training.Bf16, first.Training.NumTrainEpochs));
        Assert.Equal(first.ToYaml(), later.ToYaml());

        Recipe Loaded(string[] words)
        {
            var (recipe, overrides) = RecipeArguments.Split(words);
            var result = Recipe.Load(new FileInfo(recipe!), overrides, PublishedFiles.MethodOf(name));
            Assert.True(result.TryGet(out var loaded, out var diagnostics), diagnostics.ToString());
            return loaded;
        }
    }

    [Theory]
    [InlineData("a/zephyr-7b-beta/sft/config_full", true)]
    [InlineData("b/zephyr-7b-beta/sft/config_full", false)]
    [InlineData("b/smollm3/sft/sft", true)]
    public void Only_the_older_files_pack_without_saying_so(string name, bool packs) =>
        Assert.Equal(packs, Recipe.Load(PublishedFiles.PathOf(name), PublishedFiles.MethodOf(name)).Data.Packing);
}
