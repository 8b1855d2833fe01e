using System.Text.Json.Nodes;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Cli.Tests;

/// <summary>An adapter says how the weights below it were kept while it was trained, and is told of where it meets them
/// otherwise.</summary>
public sealed class QuantisedBaseTests(QuantisedBaseTests.Made made) : IClassFixture<QuantisedBaseTests.Made>
{
    private const string OverNumbers = "trained over weights kept as nf4, double, and used over them kept as numbers: q; an adapter also "
        + "learns to make up for the rounding of codes";

    [Fact]
    public void The_header_of_an_adapter_says_how_its_base_was_kept()
    {
        Assert.Equal("nf4, double", Metadata("q")["quantised"]);
        Assert.False(Metadata("a").ContainsKey("quantised"));
        Assert.Contains("The weights below were kept as numbers while it was trained.", made.Card("a"));
        Assert.Contains("kept as codes: nf4, double (`load_in_4bit=True, bnb_4bit_quant_type=\"nf4\", bnb_4bit_use_double_quant=True` "
            + "in Python)",
            made.Card("q"));
    }

    [Fact]
    public void A_run_that_continues_an_adapter_over_another_form_is_told()
    {
        var other = made.Train("--adapter_name_or_path=q", "--output_dir=further");
        Assert.Contains("note: " + OverNumbers, other.Error);
        var same = made.Train("--adapter_name_or_path=q", "--output_dir=same", "--load_in_4bit=true", "--use_bnb_nested_quant=true");
        Assert.DoesNotContain("trained over weights kept", same.Error);
    }

    [Fact]
    public void An_adapter_over_one_that_was_trained_over_another_form_is_told() =>
        Assert.Contains("note: trained over weights kept as numbers, "
        + "and used over them kept as int8: a; ", made.Train("--model_name_or_path=a", "--output_dir=above", "--load_in_8bit=true").Error);

    [Fact]
    public void A_merge_compares_with_the_model_as_it_was_trained()
    {
        Assert.Contains("\ndifference from the model as it was trained, over weights in nf4, double (",
            made.Run("merge", "q", "--out", "merged").Output);
        Assert.DoesNotContain("as it was trained", made.Run("merge", "a", "--out", "merged-a").Output);
    }

    [Fact] // the same codes on both sides: what is left is the rounding of merged float32 weights
    public void A_merge_into_the_quantised_base_is_the_model_as_it_was_trained()
    {
        made.Run("quantize", "model", "--to", "nf4", "--double", "-o", "coded");
        var outcome = made.Run("merge", "q", "--out", "dequantised", "--base", "coded", "--allow-other-base");
        Assert.Matches(@"\ndifference from the model with the adapter: largest (\d\.\de-\d|0\.000\d),", outcome.Output);
        Assert.DoesNotContain("as it was trained", outcome.Output);
        Assert.Null(JsonNode.Parse(File.ReadAllText(made.Folders.At("dequantised", "config.json")))!["quantization_config"]);
        made.Run("generate", "dequantised", "one two", "--raw", "--max-new-tokens", "8");
    }

    [Fact] // the values of int8 codes are halves; a merged model has one element type all the same
    [Trait("speed", "slow")]
    public void A_merge_into_an_int8_base_is_in_the_models_element_type()
    {
        made.Run("quantize", "model", "--to", "int8", "-o", "halves");
        var told = made.Train("--model_name_or_path=halves", "--output_dir=over-halves", "--load_in_4bit=true").Error;
        Assert.Contains("note: load_in_4bit asks for nf4, but halves holds codes already (int8): these are used as they are", told);
        Assert.Matches(@"\ndifference from the model with the adapter: largest (\d\.\de-\d|0\.000\d),",
            made.Run("merge", "over-halves", "--out", "whole").Output);
        using var files = WeightFiles.Open(made.Folders.At("whole", "model.safetensors"));
        Assert.All(files.Names, name => Assert.Equal(DType.Float32, files.Info(name).DType));
    }

    [Theory] // over codes an adapter is kept in bfloat16, while the head is computed in float32
    [InlineData("head", "[q_proj,lm_head]", "false")]
    [InlineData("head-dora", "[q_proj,lm_head]", "true")]
    [InlineData("tables", "[q_proj,embed_tokens,lm_head]", "false")]
    [Trait("speed", "slow")]
    public void An_adapter_in_bfloat16_trains_on_the_head_as_one_in_float32_does(string name, string targets, string dora)
    {
        double Loss(string type)
        {
            made.Train($"--output_dir={name}-{type}", "--load_in_4bit=true", $"--lora_target_modules={targets}", $"--use_dora={dora}",
                $"--adapter_dtype={type}");
            return (double)JsonNode.Parse(File.ReadAllText(made.Folders.At($"{name}-{type}", "train_results.json")))!["train_loss"]!;
        }
        var (narrow, whole) = (Loss("bfloat16"), Loss("float32"));
        Assert.NotEqual(whole, narrow);
        Assert.Equal(whole, narrow, tolerance: 0.005 * whole);
        made.Run("merge", $"{name}-bfloat16", "--out", $"{name}-merged");
    }

    [Fact]
    public void A_combination_says_what_its_adapters_have_in_common()
    {
        made.Run("merge", "--cat", "q:0.5", "q:0.5", "--out", "both");
        Assert.Equal("nf4, double", Metadata("both")["quantised"]);
        made.Run("merge", "--cat", "q:0.5", "a:0.5", "--out", "mixed");
        Assert.False(Metadata("mixed").ContainsKey("quantised"));
    }

    private IReadOnlyDictionary<string, string> Metadata(string folder)
    {
        using var files = WeightFiles.Open(made.Folders.At(folder, "adapter_model.safetensors"));
        return files.Metadata;
    }

    /// <summary>The adapters of <see cref="AdapterFolders"/>, and <c>q</c> over the model in four bits.</summary>
    public sealed class Made : IDisposable
    {
        public Made() => Train("--output_dir=q", "--load_in_4bit=true", "--use_bnb_nested_quant=true");

        public AdapterFolders Folders { get; } = new();

        internal Outcome Train(params string[] keys) => Run(["cpt", "recipe.yaml", .. keys]);

        internal Outcome Run(params string[] words) => SmallModel.Succeed(Folders.Handbook.Run(words));

        public string Card(string run) => File.ReadAllText(Folders.At(run, "README.md"));

        public void Dispose() => Folders.Dispose();
    }
}
