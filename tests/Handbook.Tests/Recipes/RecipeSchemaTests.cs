using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;
using Json.Schema;

namespace Handbook.Tests.Recipes;

/// <summary>The schema of recipes says what reading says: of good recipes, of wrong ones, and of each key.</summary>
public sealed partial class RecipeSchemaTests
{
    private static readonly EvaluationOptions s_options = new() { OutputFormat = OutputFormat.List };
    private static readonly JsonSchema s_all = JsonSchema.FromText(RecipeSchema.Write());

    public static TheoryData<string> Recipes() => [.. ListedRecipe.In(Path.Combine(SharedFiles.Repository, "recipes"))
        .Select(recipe => Path.GetRelativePath(SharedFiles.Repository, recipe.Path))];

    [Fact]
    public void The_file_of_the_repository_is_what_the_command_writes() => Assert.Equal(RecipeSchema.Write(),
        File.ReadAllText(Path.Combine(SharedFiles.Repository, "docs", "schema", "recipe.json")));

    [Theory, MemberData(nameof(Recipes))]
    public void A_recipe_names_the_schema_and_keeps_to_it(string path)
    {
        var text = File.ReadAllText(Path.Combine(SharedFiles.Repository, path));
        var named = NamedSchema().Match(text);
        Assert.True(named.Success, "its first line names no schema");
        Assert.Equal(Path.Combine(SharedFiles.Repository, "docs", "schema", "recipe.json"),
            Path.GetFullPath(Path.Combine(SharedFiles.Repository, Path.GetDirectoryName(path)!, named.Groups[1].Value)));
        Assert.Empty(Problems(s_all, text));
        Assert.Empty(Problems(JsonSchema.FromText(RecipeSchema.Write(Recipe.GuessMethod(new FileInfo(path)))), text));
    }

    public static TheoryData<string> Published() => PublishedFilesTests.Files();

    [Theory, MemberData(nameof(Published))]
    public void A_published_file_keeps_to_it(string name) => Assert.Empty(Problems(s_all, File.ReadAllText(PublishedFiles.PathOf(name))));

    [Theory]
    [InlineData("learning_rte: 1.0e-4", "/learning_rte")]
    [InlineData("learning_rate: fast", "/learning_rate")]
    [InlineData("num_train_epochs: [1]", "/num_train_epochs")]
    [InlineData("max_length: 1.5", "/max_length")]
    [InlineData("optim: adamw_tortch", "/optim")]
    [InlineData("packing: 3", "/packing")]
    [InlineData("dataset_mixer: {a: much}", "/dataset_mixer/a")]
    [InlineData("dataset_mixture: {datasets: [{id: a, wieght: 1}]}", "/dataset_mixture/datasets/0/wieght")]
    [InlineData("loss_type: sigmiod", "/loss_type")]
    [InlineData("use_vllm: true", "/use_vllm")]
    [InlineData("save_steps: -5", "/save_steps")]
    [InlineData("seed: -1", "/seed")]
    [InlineData("max_length: 1", "/max_length")]
    [InlineData("per_device_train_batch_size: 0", "/per_device_train_batch_size")]
    [InlineData("learning_rate: -1.0e-5", "/learning_rate")]
    [InlineData("warmup_ratio: 1.5", "/warmup_ratio")]
    [InlineData("adam_beta1: 1", "/adam_beta1")]
    [InlineData("lora_r: 0", "/lora_r")]
    [InlineData("lora_dropout: 1.5", "/lora_dropout")]
    [InlineData("save_total_limit: 0", "/save_total_limit")]
    [InlineData("dataset_mixer: {a: -0.3}", "/dataset_mixer/a")]
    [InlineData("dataset_mixture: {datasets: [{id: a, weight: -1}]}", "/dataset_mixture/datasets/0/weight")]
    [InlineData("dataset_mixture: {datasets: [{split: train}]}", "/dataset_mixture/datasets/0")]
    public void A_wrong_recipe_fails_where_it_is_wrong(string line, string place) =>
        Assert.Contains(place, Problems(s_all, $"model_name_or_path: m\ndataset_name: d\n{line}\n"));

    [Theory] // what lies on a bound, and what YAML 1.1 takes for a text
    [InlineData("seed: 0")]
    [InlineData("max_length: 2")]
    [InlineData("warmup_ratio: 1.0")]
    [InlineData("adam_beta1: 0.0")]
    [InlineData("max_steps: -1")]
    [InlineData("lora_dropout: 0.0")]
    [InlineData("save_total_limit: null")]
    [InlineData("learning_rate: '5e-7'")]
    [InlineData("max_grad_norm: 0")]
    [InlineData("max_steps: 10\nnum_train_epochs: 0")]
    public void A_value_at_its_bound_passes(string line) =>
        Assert.Empty(Problems(s_all, $"model_name_or_path: m\ndataset_name: d\n{line}\n"));

    [Fact]
    public void A_key_of_another_method_fails_in_a_method_s_own_schema()
    {
        const string recipe = "model_name_or_path: m\ndataset_name: d\nsimpo_gamma: 1.0\n";
        Assert.Empty(Problems(s_all, recipe));
        Assert.Contains("/simpo_gamma", Problems(JsonSchema.FromText(RecipeSchema.Write(TrainingMethod.Dpo)), recipe));
        Assert.Empty(Problems(JsonSchema.FromText(RecipeSchema.Write(TrainingMethod.Cpo)), recipe));
    }

    [Fact] // by hand: the defaults of DPO, and the losses of each
    public void A_method_s_own_schema_has_its_defaults_and_losses()
    {
        var dpo = JsonNode.Parse(RecipeSchema.Write(TrainingMethod.Dpo))!["properties"]!;
        Assert.Equal(0.1, dpo["beta"]!["default"]!.GetValue<double>());
        Assert.Equal(1e-6, dpo["learning_rate"]!["default"]!.GetValue<double>());
        Assert.Contains("apo_zero", dpo["loss_type"]!.ToJsonString());
        Assert.DoesNotContain("simpo\"", dpo["loss_type"]!.ToJsonString());
        Assert.True(dpo["max_seq_length"]!["deprecated"]!.GetValue<bool>());
    }

    [Fact]
    public void Every_key_has_a_description_and_takes_its_own_default()
    {
        var properties = JsonNode.Parse(RecipeSchema.Write())!["properties"]!.AsObject();
        foreach (var key in RecipeKeys.All)
        {
            var schema = properties[key.Name]!.AsObject();
            Assert.NotEqual("", schema["description"]!.GetValue<string>());
            if (schema.TryGetPropertyValue("default", out var value))
                Assert.True(JsonSchema.FromText(schema.ToJsonString()).Evaluate(JsonSerializer.SerializeToElement(value)).IsValid,
                    $"{key.Name}: {value}");
        }
    }

    private static IEnumerable<string> Problems(JsonSchema schema, string yaml)
    {
        var result = schema.Evaluate(JsonSerializer.SerializeToElement(Node(YamlReader.Read(yaml, null, new Diagnostics(""))!)), s_options);
        return result.IsValid ? [] : (result.Details ?? []).Where(detail => !detail.IsValid && detail.Errors is { Count: > 0 })
            .Select(detail => detail.InstanceLocation.ToString()).Distinct();
    }

    // as YAML 1.2 reads a value, which editors do
    private static JsonNode? Node(RecipeNode node) => node switch
    {
        ListNode list => new JsonArray([.. list.Items.Select(Node)]),
        MapNode map => new JsonObject(map.Entries.Select(entry => KeyValuePair.Create(entry.Key.Text, Node(entry.Value)))),
        ScalarNode { Quoted: true } quoted => quoted.Text,
        ScalarNode { Text: "null" or "~" or "" } => null,
        ScalarNode { Text: "true" or "True" } => true,
        ScalarNode { Text: "false" or "False" } => false,
        ScalarNode scalar when long.TryParse(scalar.Text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture,
            out var whole) => whole,
        ScalarNode scalar when double.TryParse(scalar.Text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) => number,
        ScalarNode scalar => scalar.Text,
        _ => null,
    };

    [GeneratedRegex(@"\A# yaml-language-server: \$schema=(\S+)\n")]
    private static partial Regex NamedSchema();
}
