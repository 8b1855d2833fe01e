using System.Text;
using System.Text.Json.Nodes;
using Handbook.Models.Families;
using Handbook.Models.Files;
using Handbook.Testing;

namespace Handbook.Models.Tests;

/// <summary>Every model folder of the golden values: its configs parse, and its tensors are the parameters we expect.</summary>
public sealed class GoldenModelTests
{
    public static TheoryData<string> Folders() => [.. SharedFiles.Folders("golden", "models").Select(f => Path.GetFileName(f)!)];

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void Both_layouts_of_the_config_describe_the_same_decoder(string model)
    {
        var folder = SharedFiles.Need("golden", "models", model);
        var first = GoldenModel.Load(folder, "config.json");
        var second = File.Exists(Path.Combine(folder, "config.transformers5.json")) ? GoldenModel.Load(folder, "config.transformers5.json")
            : Older(first);

        Assert.Equal(first.Decoder, second.Decoder);
        Assert.Empty(first.Unknown);
        Assert.Empty(second.Unknown);
    }

    /// <summary>A config of transformers 5 as 4 writes it: the keys of the rotation stand for themselves.</summary>
    private static PublishedConfig Older(PublishedConfig config)
    {
        var json = config.Json.DeepClone().AsObject();
        json["torch_dtype"] = json["dtype"]!.DeepClone();
        json.Remove("dtype");
        if (json["rope_parameters"] is JsonObject rope)
        {
            json.Remove("rope_parameters");
            if (rope["sliding_attention"] is { } windowed)
                json["rope_local_base_freq"] = windowed["rope_theta"]!.DeepClone();
            rope = rope["full_attention"]?.AsObject() ?? rope;
            json["rope_theta"] = rope["rope_theta"]!.DeepClone();
            if (rope["partial_rotary_factor"] is { } part)
                json["partial_rotary_factor"] = part.DeepClone();
            rope = rope.DeepClone().AsObject();
            rope.Remove("rope_theta");
            rope.Remove("partial_rotary_factor");
            json["rope_scaling"] = (string)rope["rope_type"]! == "default" ? null : rope;
        }
        return PublishedConfig.Parse(Encoding.UTF8.GetBytes(json.ToJsonString()), "config.json");
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void Tensors_of_the_file_are_exactly_the_parameters(string model)
    {
        var folder = SharedFiles.Need("golden", "models", model);
        var config = GoldenModel.Load(folder, "config.json");
        using var files = WeightFiles.Open(folder);

        var parts = config.Family.Parameters(config.Decoder).SelectMany(p => p.Parts).DistinctBy(p => p.Published);

        Assert.Equal(files.Names.Select(n => (n, files.Info(n).Shape)).OrderBy(n => n.n, StringComparer.Ordinal),
            parts.Select(p => (p.Published, p.PublishedShape)).OrderBy(n => n.Published, StringComparer.Ordinal));
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void Weights_open_with_nothing_missing_and_nothing_left_over(string model)
    {
        var folder = SharedFiles.Need("golden", "models", model);
        var config = GoldenModel.Load(folder, "config.json");
        foreach (var fused in (bool[])[false, true])
        {
            using var weights = ModelWeights.Open(folder, config, fused);
            Assert.Empty(weights.Unused);
            Assert.All(weights.Parameters, p => Assert.Contains(weights.ReadSingles(p.Name), v => v != 0));
        }
    }

    [Theory(SkipTestWithoutData = true), MemberData(nameof(Folders))]
    public void Fused_parameters_are_the_separate_ones_below_one_another(string model)
    {
        var folder = SharedFiles.Need("golden", "models", model);
        var config = GoldenModel.Load(folder, "config.json");
        using var separate = ModelWeights.Open(folder, config);
        using var fused = ModelWeights.Open(folder, config, fused: true);

        (string Fused, string[] Parts)[] all = [("attention.query_key_value", ["attention.query", "attention.key", "attention.value"]),
            ("mlp.gate_up", ["mlp.gate", "mlp.up"]), ("mlp.experts.1.gate_up", ["mlp.experts.1.gate", "mlp.experts.1.up"])];
        var found = 0;
        foreach (var (name, parts) in all)
            foreach (var kind in (string[])["weight", "bias"])
                if (fused.Parameters.Any(p => p.Name == $"layers.1.{name}.{kind}"))
                {
                    Assert.Equal(parts.SelectMany(part => separate.ReadSingles($"layers.1.{part}.{kind}")),
                        fused.ReadSingles($"layers.1.{name}.{kind}"));
                    found++;
                }
        Assert.NotEqual(0, found);
    }
}
