using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Models.Files;

namespace Handbook.Cli.Tests;

/// <summary>Merges of an adapter that was trained over weights in nf4 with double quantisation: <c>q</c> on <c>model</c>.</summary>
public sealed class MergeIntoTests : IClassFixture<AdapterFolders>
{
    private readonly AdapterFolders _folders;

    public MergeIntoTests(AdapterFolders folders)
    {
        _folders = folders;
        if (!Directory.Exists(folders.At("q")))
            SmallModel.Succeed(Run("cpt", "recipe.yaml", "--output_dir=q", "--load_in_4bit=true", "--use_bnb_nested_quant=true"));
    }

    [Fact]
    public void A_merge_takes_the_values_of_the_codes_unless_asked_and_shows_how_far_both_are_off()
    {
        var (output, original) = (_folders.New("merged"), _folders.New("merged"));
        var outcome = SmallModel.Succeed(Run("merge", "q", "--out", output));
        Assert.Contains("\n14 layers changed, float32, ", outcome.Output);
        Assert.Contains("\ndifference from the model as it was trained, over weights in nf4, double (", outcome.Output);
        Assert.Contains("; up to 0.0050 is let pass):\nmerged into               largest     mean\n", outcome.Output);
        Assert.Contains("\nkept: the dequantised values, which it was trained on; --into original takes", outcome.Output);
        var (near, far) = (Row(outcome, "the dequantised values"), Row(outcome, "the original weights"));
        Assert.True(near.Largest < 1e-4 && near.Largest * 100 < far.Largest && near.Mean * 100 < far.Mean, outcome.Output);

        var other = SmallModel.Succeed(Run("merge", "q", "--out", original, "--into", "original", "--max-drift", "100"));
        Assert.Contains("\nkept: the original weights; --into dequantised takes", other.Output);
        Assert.Equal((near, far), (Row(other, "the dequantised values"), Row(other, "the original weights")));
        Assert.NotEqual(Bytes(output, "model.layers.0.mlp.up_proj.weight"), Bytes(original, "model.layers.0.mlp.up_proj.weight"));
        Assert.Equal(Bytes(output, "model.norm.weight"), Bytes(original, "model.norm.weight"));
        Assert.False(Directory.Exists(_folders.At(original, "other")));
    }

    [Fact]
    public void A_merge_into_the_original_weights_answers_as_the_adapter_over_them() => A_merge_into_weights_answers_as_the_adapter_over_them("original");

    [Theory, Trait("speed", "slow"), InlineData("dequantised")]
    public void A_merge_into_weights_answers_as_the_adapter_over_them(string weights)
    {
        var output = _folders.New("merged");
        SmallModel.Succeed(Run("merge", "q", "--out", output, "--into", weights, "--max-drift", "100"));
        string[] question = ["the sun and", "--raw", "--max-new-tokens", "20"];
        Assert.Equal(SmallModel.Succeed(Run(["generate", "q", "--over", weights, .. question])).Output,
            SmallModel.Succeed(Run(["generate", output, .. question])).Output);
    }

    [Fact]
    public void A_merge_into_the_original_weights_that_drifts_too_far_names_the_other_way()
    {
        var output = _folders.New("merged");
        Refused(Run("merge", "q", "--out", output, "--into", "original"), output,
            "the merged model differs from q, trained over weights in nf4, double, by up to ", "and 0.0050 is allowed; nothing was written",
            "why: it was merged into the original weights", "fix: merge with --into dequantised, which differs by up to ");
    }

    [Fact]
    public void Without_codes_in_training_there_is_nothing_to_choose()
    {
        Refused(Run("merge", "a", "--out", "x", "--into", "dequantised"), "x",
            "--into: a does not say that it was trained over quantised weights", "fix: leave --into out");
        Refused(Run("merge", "a", "--out", "x", "--into", "int4"), "x", "int4");
    }

    [Fact]
    [Trait("speed", "slow")]
    public void A_base_that_is_codes_itself_has_no_original()
    {
        SmallModel.Succeed(Run("quantize", "model", "--output", "coded", "--to", "nf4", "--double"));
        string[] over = ["merge", "q", "--base", "coded", "--allow-other-base"];
        Refused(Run([.. over, "--out", "x", "--into", "original"]), "x", "--into original: the base is codes itself (",
            "fix: name that folder with --base and --allow-other-base, or merge into the values of the codes: --into dequantised");

        var (output, straight) = (_folders.New("merged"), _folders.New("merged"));
        Assert.DoesNotContain("merged into", SmallModel.Succeed(Run([.. over, "--out", output])).Output);
        SmallModel.Succeed(Run("merge", "q", "--out", straight));
        Assert.Equal(Bytes(straight, "model.layers.1.self_attn.q_proj.weight"), Bytes(output, "model.layers.1.self_attn.q_proj.weight"));
    }

    [Fact]
    public void The_header_of_a_merged_model_says_what_it_was_made_of()
    {
        var (output, plain) = (_folders.New("merged"), _folders.New("merged"));
        SmallModel.Succeed(Run("merge", "q", "--out", output));
        SmallModel.Succeed(Run("merge", "c", "--out", plain));
        using var merged = WeightFiles.Open(_folders.At(output));
        using var adapter = WeightFiles.Open(_folders.At("q", "adapter_model.safetensors"));
        var links = JsonSerializer.Deserialize<string[][]>(merged.Metadata["merged_from"])!;
        Assert.Equal(["model", "q"], links.Select(link => link[0]));
        Assert.Equal(JsonSerializer.Deserialize<string[][]>(adapter.Metadata["trained_on"])![0], links[0]);
        Assert.Equal("the values of nf4, double", merged.Metadata["merged_into"]);

        using var other = WeightFiles.Open(_folders.At(plain));
        Assert.Equal(["model", "a", "c"], JsonSerializer.Deserialize<string[][]>(other.Metadata["merged_from"])!.Select(link => link[0]));
        Assert.DoesNotContain("merged_into", other.Metadata.Keys);
    }

    private static (double Largest, double Mean) Row(Outcome outcome, string name)
    {
        var row = Regex.Match(outcome.Output, $@"\n{name} +([0-9.e-]+) +([0-9.e-]+)\n");
        return (Number(row.Groups[1].Value), Number(row.Groups[2].Value));

        static double Number(string text) => double.Parse(text, CultureInfo.InvariantCulture);
    }

    private byte[] Bytes(string folder, string tensor)
    {
        using var files = WeightFiles.Open(_folders.At(folder));
        return files.Bytes(tensor).ToArray();
    }

    private void Refused(Outcome outcome, string output, params string[] messages)
    {
        Assert.Equal(2, outcome.Code);
        foreach (var message in messages)
            Assert.Contains(message, outcome.Error);
        Assert.False(Directory.Exists(_folders.At(output)), $"{output} is there");
    }

    private Outcome Run(params string[] words) => _folders.Handbook.Run(words);
}
