using Handbook.Recipes;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary><c>recipes</c> tells of recipes what their files say.</summary>
public sealed class RecipesCommandTests : IDisposable
{
    private static readonly string s_folder = Path.Combine(SharedFiles.Repository, "recipes");

    private readonly HandbookProcess _handbook = new();

    public void Dispose() => _handbook.Dispose();

    [Fact]
    public void Every_recipe_is_listed_with_what_it_is()
    {
        var outcome = _handbook.Run("recipes", "--folder", s_folder);
        Assert.Equal(0, outcome.Code);
        var lines = outcome.Output.Split('\n');
        var zephyr = Array.FindIndex(lines, line => line == "zephyr-7b-beta");
        var listed = Assert.Single(lines.Skip(zephyr), line => line.StartsWith("  sft/config_qlora ", StringComparison.Ordinal)
            && line.Contains("Mistral"));
        Assert.Matches(@"sft +mistralai/Mistral-7B-v0\.1 +ultrachat_200k +QLoRA, 4 bits, rank 16 +64$", listed);
        Assert.Contains("      Zephyr 7B, stage 1 of 2: Mistral 7B learns to chat from the conversations of UltraChat 200k.", lines);
        foreach (var recipe in ListedRecipe.In(s_folder))
            Assert.Contains(lines, line => line.StartsWith($"  {recipe.Name[(recipe.Name.IndexOf('/') + 1)..]} ",
                StringComparison.Ordinal));
    }

    [Theory] // by its name, its path, or a path with the ending
    [InlineData("smollm3/dpo/apo")]
    [InlineData("smollm3/dpo/apo.yaml")]
    public void One_is_shown_with_what_to_type(string name)
    {
        var outcome = _handbook.Run("recipes", name, "--folder", s_folder);
        Assert.Equal(0, outcome.Code);
        Assert.Contains("batch     1 x 2 x 16 processes = 32 rows a step", outcome.Output);
        Assert.Contains("data      HuggingFaceTB/smoltalk2; splits", outcome.Output);
        Assert.Contains("handbook launch --num_processes 16 dpo ", outcome.Output);
    }

    [Fact]
    public void A_name_that_nothing_has_gets_the_nearest()
    {
        var outcome = _handbook.Run("recipes", "smollm33", "--folder", s_folder);
        Assert.Equal(2, outcome.Code);
        Assert.Contains("has no recipe smollm33\n  fix: did you mean smollm3?", outcome.Error);
        Assert.Contains("nowhere is no folder", _handbook.Run("recipes", "--folder", "nowhere").Error);
    }

    [Fact] // of every file: what its comment says of the batch is the product of its keys
    public void The_batch_in_a_recipe_s_comments_is_that_of_its_keys()
    {
        foreach (var recipe in ListedRecipe.In(s_folder))
            if (recipe.Says.FirstOrDefault(line => line.StartsWith("Global batch", StringComparison.Ordinal)) is { } line)
            {
                var training = recipe.Recipe.Training;
                Assert.True(line.StartsWith($"Global batch {training.PerDeviceTrainBatchSize} x {training.GradientAccumulationSteps};",
                    StringComparison.Ordinal),
                    $"{recipe.Name}: {line}");
                Assert.True(System.Text.RegularExpressions.Regex.IsMatch(line, $@"\b{recipe.RowsAStep}\b"), $"{recipe.Name}: {line}");
            }
    }

    [Fact]
    public void Another_trainer_s_file_becomes_a_recipe_that_validates()
    {
        _handbook.Write("qlora.yml", "base_model: org/model\nadapter: qlora\nlora_r: 8\nlora_alpha: 16\ndatasets:\n  - path: rows.jsonl\n    type: alpaca\n"
            + "micro_batch_size: 2\ngradient_accumulation_steps: 4\nlearning_rate: 0.0002\nstrict: true\n");
        var outcome = _handbook.Run("migrate", "qlora.yml", "--out", "sft/mine.yaml");
        Assert.Equal(0, outcome.Code);
        Assert.Contains("1 setting has no counterpart, each told at its end. Next: handbook validate sft/mine.yaml --method sft",
            outcome.Error);
        outcome = _handbook.Run("validate", "sft/mine.yaml", "--keys-only");
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains("a good recipe for `handbook sft`. It would train org/model on rows.jsonl", outcome.Output);
        Assert.Contains("--out names qlora.yml", _handbook.Run("migrate", "qlora.yml", "--out", "qlora.yml").Error);
    }

    [Fact] // instructions and conversations in one mixture, over an adapter: what most files of Axolotl say
    [Trait("speed", "slow")]
    public void A_recipe_that_was_made_of_another_trainer_s_file_trains()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("alpaca.jsonl", """{"instruction": "one", "input": "", "output": "two three"}""" + "\n");
        _handbook.Write("chats.jsonl",
            """{"messages": [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two three"}]}""" + "\n");
        _handbook.Write("lora.yml", "base_model: model\nadapter: lora\nlora_r: 2\nlora_alpha: 4\nlora_target_linear: true\ndatasets:\n"
            + "  - {path: alpaca.jsonl, type: alpaca}\n  - {path: chats.jsonl, type: chat_template, roles_to_train: [assistant]}\n"
            + "train_on_inputs: false\nsequence_len: 64\nmicro_batch_size: 2\nlearning_rate: 0.001\nbf16: false\noutput_dir: out\n");
        Assert.Contains("; nothing is left over", SmallModel.Succeed(_handbook.Run("migrate", "lora.yml", "--out", "mine.yaml")).Error);
        SmallModel.Succeed(_handbook.Run("sft", "mine.yaml", "--max_steps=1", "--report_to=none"));
        Assert.True(File.Exists(Path.Combine(_handbook.Folder, "out", "adapter_config.json")));
    }

    [Fact] // a recipe is edited by people; a schema is made again from the same words
    public void A_file_that_people_edit_is_not_replaced()
    {
        _handbook.Write("qlora.yml", "base_model: m\nmicro_batch_size: 1\ndatasets: [{path: d, type: alpaca}]\n");
        var mine = _handbook.Write("mine.yaml", "# mine\n");
        var outcome = _handbook.Run("migrate", "qlora.yml", "--out", "mine.yaml");
        Assert.Equal((2, "error: --out mine.yaml is there already\n  fix: choose another name, or add --force to replace it\n"),
            (outcome.Code, outcome.Error));
        outcome = _handbook.Run("schema", "--out", "mine.yaml");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("--out mine.yaml is there already, and it is no schema of an earlier command", outcome.Error);
        Assert.Equal("# mine\n", File.ReadAllText(mine));
        Assert.Equal(0, _handbook.Run("migrate", "qlora.yml", "--out", "mine.yaml", "--force").Code);
        Assert.StartsWith("# Made by handbook migrate", File.ReadAllText(mine));
    }

    [Fact]
    public void The_schema_of_a_method_is_written_to_a_file()
    {
        Assert.Equal(0, _handbook.Run("schema", "--method", "kto", "--out", "kto.json").Code);
        var written = File.ReadAllText(Path.Combine(_handbook.Folder, "kto.json"));
        Assert.Contains("\"title\": \"A recipe for handbook kto\"", written);
        Assert.Equal(written, _handbook.Run("schema", "--method", "kto").Output);
        Assert.Equal(0, _handbook.Run("schema", "--out", "kto.json").Code);
    }
}
