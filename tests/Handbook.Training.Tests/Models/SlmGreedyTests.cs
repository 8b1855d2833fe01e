using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Tests;
using Handbook.Models.Tests.Adapters;
using Handbook.Testing;
using Handbook.Torch;

namespace Handbook.Training.Tests.Models;

[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class SlmGreedyTests
{
    [Fact] // one character at a time; the model has 128 positions, so that the context slides
    public void The_answer_recites_the_corpus_beyond_the_model_s_positions()
    {
        var folder = SharedFiles.Need("models", "slm-4096");
        var path = Path.Combine(folder, "ckpt.pt");
        using var temporary = new TemporaryFolder();
        using var weights = AdaptedModel.SlmCheckpoint(path).Save(temporary.Path, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        using var golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
        var ids = TinyStories.Ints(golden.RootElement.GetProperty("prompt_ids")).ToList();
        var expected = TinyStories.Ints(golden.RootElement.GetProperty("greedy_ids"));
        var start = ids.Count;
        using var mode = GradMode.Disabled();
        while (ids.Count - start < expected.Length)
        {
            using var scope = TensorScope.Enter();
            var logits = model.Logits(StreamLayout.Of([[.. ids.TakeLast(model.Config.MaxPositions)]])).ToArray<float>();
            ids.Add(System.Numerics.Tensors.TensorPrimitives.IndexOfMax<float>(logits.AsSpan(^model.Config.VocabularySize..)));
        }
        Assert.Equal(expected, ids[start..]);
        var characters = AdaptedModel.SlmCharacters(path).ToDictionary(c => c.Value, c => c.Key);
        Assert.Equal(golden.RootElement.GetProperty("greedy_text").GetString(), string.Concat(ids[start..].Select(i => characters[i])));
    }
}
