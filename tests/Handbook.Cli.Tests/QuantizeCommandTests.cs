using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace Handbook.Cli.Tests;

/// <summary><c>handbook quantize</c> as users type it, and the commands that open what it wrote.</summary>
public sealed class QuantizeCommandTests : IDisposable
{
    private readonly HandbookProcess _handbook = new();

    public QuantizeCommandTests()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("held.txt", string.Join('\n', Enumerable.Range(0, 40).Select(i => $"one two three {i}, the moon and the sun")));
    }

    [Theory]
    [InlineData("nf4", true, 0.5)]
    [InlineData("fp4", false, 0.5)]
    [InlineData("int8", false, 0.2)]
    [Trait("speed", "slow")]
    public void A_quantised_model_is_smaller_and_answers(string kind, bool isDouble, double worse)
    {
        var outcome = SmallModel.Succeed(_handbook.Run(["quantize", "model", "--to", kind, "-o", "small", "--text", "held.txt",
            "--max-length", "64", .. isDouble ? (string[])["--double"] : []]));
        // By hand: 2 layers of 4 attention matrices and 3 of the feed-forward; 4 · 32² + 3 · 32 · 64 weights each.
        Assert.Contains($"small: {kind}{(isDouble ? ", double" : "")}: 14 matrices with 20,480 weights; ", outcome.Output);
        var numbers = Regex.Match(outcome.Output, @"perplexity of held\.txt \(([\d,]+) tokens\): ([\d.]+) before, ([\d.]+) now");
        Assert.True(numbers.Success, outcome.Output);
        var (before, now) = (double.Parse(numbers.Groups[2].Value, CultureInfo.InvariantCulture),
            double.Parse(numbers.Groups[3].Value, CultureInfo.InvariantCulture));
        Assert.NotEqual(before, now);
        Assert.InRange(now, before * (1 - worse), before * (1 + worse));
        Assert.True(Weights("small") < Weights("model"));

        var config = JsonDocument.Parse(File.ReadAllText(At("small/config.json"))).RootElement.GetProperty("quantization_config");
        Assert.Equal("bitsandbytes", config.GetProperty("quant_method").GetString());
        Assert.Equal(kind != "int8", config.GetProperty("load_in_4bit").GetBoolean());
        Assert.Equal(isDouble, config.GetProperty("bnb_4bit_use_double_quant").GetBoolean());

        var answer = SmallModel.Succeed(_handbook.Run("generate", "small", "one two", "--max-new-tokens", "5"));
        Assert.NotEqual("", answer.Output.Trim());
        // Sixteen at once give what each gives alone.
        _handbook.Write("prompts.txt", "one two\nthe sun and\nthree four\nthe moon");
        var together = SmallModel.Succeed(_handbook.Run("generate", "small", "--prompts", "prompts.txt", "--max-new-tokens", "8")).Output;
        var alone = SmallModel.Succeed(_handbook.Run("generate", "small", "--prompts", "prompts.txt", "--max-new-tokens", "8",
            "--batch-size", "1")).Output;
        Assert.Equal(alone, together);
    }

    [Fact]
    public void Wrong_uses_are_told_before_anything_is_written()
    {
        Fails("--double and --to int8 are both given", "quantize", "model", "--to", "int8", "--double", "-o", "small");
        Fails("--output names the model itself", "quantize", "model", "--to", "nf4", "-o", "./model", "--force");
        Fails("model already holds a model", "quantize", "model", "--to", "nf4", "-o", "model");
        Fails("--text nowhere.txt cannot be read", "quantize", "model", "--to", "nf4", "-o", "small", "--text", "nowhere.txt");
        Assert.False(Directory.Exists(At("small")));
        SmallModel.Succeed(_handbook.Run("quantize", "model", "--to", "nf4", "-o", "small"));
        Fails("small is quantised already (bitsandbytes, 4-bit nf4)", "quantize", "small", "--to", "nf4", "-o", "smaller");
        Assert.False(Directory.Exists(At("smaller")));
    }

    [Fact]
    public void A_run_that_would_train_codes_is_refused()
    {
        SmallModel.Succeed(_handbook.Run("quantize", "model", "--to", "nf4", "-o", "small"));
        _handbook.Write("rows.jsonl", """{"text": "one two three"}""");
        _handbook.Write("recipe.yaml", "model_name_or_path: small\ndataset_name: rows.jsonl\noutput_dir: run\nmax_steps: 1\n");
        Fails("the weights are quantised (bitsandbytes, 4-bit nf4), and this run would train them all", "cpt", "recipe.yaml");
        Fails("the weights are quantised (bitsandbytes, 4-bit nf4), and this run would train them all", "validate", "recipe.yaml");
    }

    private void Fails(string message, params string[] words)
    {
        var outcome = _handbook.Run(words);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
    }

    private string At(string path) => Path.Combine(_handbook.Folder, path);

    private long Weights(string folder) => new FileInfo(At($"{folder}/model.safetensors")).Length;

    public void Dispose() => _handbook.Dispose();
}
