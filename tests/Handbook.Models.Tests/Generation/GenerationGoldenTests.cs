using System.Text.Json;
using Handbook.Models.Generation;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Models.Tests.Generation;

/// <summary>Greedy continuations of the reference library, alone and in a batch.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class GenerationGoldenTests
{
    public static TheoryData<string> Cases()
    {
        var data = new TheoryData<string>();
        if (SharedFiles.Root is { } root && Directory.Exists(Path.Combine(root, "golden", "generation")))
            foreach (var file in Directory.GetFiles(Path.Combine(root, "golden", "generation"), "*.json").Order(StringComparer.Ordinal))
                data.Add(Path.GetFileNameWithoutExtension(file));
        if (data.Count == 0)
            data.Add("");
        return data;
    }

    [Theory, MemberData(nameof(Cases))]
    public void Greedy_answers_are_the_reference_library_s(string name)
    {
        using var document = JsonDocument.Parse(File.ReadAllText(SharedFiles.Need("golden", "generation", name + ".json")));
        var golden = document.RootElement;
        var folder = SharedFiles.Need("golden", golden.GetProperty("base").GetString()!);
        var modelType = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "config.json"))).RootElement.GetProperty("model_type")
            .GetString()!;
        if (!Handbook.Models.Families.Family.All.Any(f => f.ModelType == modelType))
            GoldenCase.NotBuilt($"generation/{name}: family {modelType}");
        var published = PublishedConfig.Load(folder);
        using var weights = ModelWeights.Open(folder, published, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        var generator = new Generator(model);
        var greedy = new SamplingOptions { Temperature = 0, MaxNewTokens = golden.GetProperty("max_new_tokens").GetInt32() };

        var singles = golden.GetProperty("single").EnumerateArray().ToArray();
        foreach (var single in singles)
            Assert.Equal(Ints(single.GetProperty("new_tokens")),
                generator.Generate([Ints(single.GetProperty("prompt"))], greedy)[0].Tokens);

        var batch = generator.Generate([.. singles.Select(s => Ints(s.GetProperty("prompt")))], greedy);
        var expected = golden.GetProperty("batch_left_padded").GetProperty("new_tokens").EnumerateArray().Select(Ints).ToArray();
        Assert.Equal(expected, batch.Select(a => a.Tokens));

        var ending = golden.GetProperty("batch_left_padded_with_eos");
        var eos = ending.GetProperty("eos_token_id").GetInt32();
        var stopped = generator.Generate([.. singles.Select(s => Ints(s.GetProperty("prompt")))], greedy with { StopIds = [eos] });
        var sequences = ending.GetProperty("sequences_after_prompt").EnumerateArray().Select(Ints).ToArray();
        for (var row = 0; row < stopped.Length; row++)
        {
            var end = Array.IndexOf(sequences[row], eos);
            Assert.Equal(end < 0 ? sequences[row] : sequences[row][..end], stopped[row].Tokens);
            Assert.Equal(end < 0 ? FinishReason.Length : FinishReason.Stop, stopped[row].Finish);
        }
    }

    private static int[] Ints(JsonElement list) => [.. list.EnumerateArray().Select(i => i.GetInt32())];
}
