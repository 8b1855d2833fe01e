using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Models;
using Handbook.Models.Tests;
using Handbook.Models.Tests.Adapters;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Tests.Models;

/// <summary>Models that others trained or made, from their own formats to their own logits.</summary>
[Trait("kind", "golden")]
[Collection("tensors")]
public sealed class RealModelLogitsTests
{
    [Fact] // tolerance of its golden.json: 1e-4
    public void Stories260k_gives_its_logits_and_its_greedy_text()
    {
        var folder = SharedFiles.Need("models", "stories260k");
        using var temporary = new TemporaryFolder();
        using var weights = AdaptedModel.Llama2C(Path.Combine(folder, "stories260K.bin")).Save(temporary.Path, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        using var golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
        var expected = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(Path.Combine(folder, "golden-logits.f32"))).ToArray();
        var vocabulary = model.Config.VocabularySize;
        var at = 0;
        foreach (var each in golden.RootElement.GetProperty("cases").EnumerateArray())
        {
            int[] ids = [.. each.GetProperty("ids").EnumerateArray().Select(i => i.GetInt32())];
            var logits = Logits(model, ids);
            Close(expected.AsSpan(at, 64 * vocabulary), logits.AsSpan(0, 64 * vocabulary), 1e-4);
            at += 64 * vocabulary;
            // Greedy: behind the prompt every id is the best one of the position before it; the prompts are short, the continuations long.
            for (var i = ids.Length / 2; i + 1 < ids.Length; i++)
                Assert.Equal(ids[i + 1], Best(logits.AsSpan(i * vocabulary, vocabulary)));
        }
        Assert.Equal(expected.Length, at);
    }

    [Fact] // float32 of torch against ours: its README says a float64 forward differs by less than 2e-6
    public void Gpt_nano_gives_its_logits_and_sorts()
    {
        var folder = SharedFiles.Need("models", "gpt-nano-sort");
        using var temporary = new TemporaryFolder();
        using var weights = AdaptedModel.GptJson(Path.Combine(folder, "gpt-nano-sort-model.json")).Save(temporary.Path, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        using var partials = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "gpt-nano-sort-t0-partials.json")));
        var ids = AdaptedModel.Read(partials.RootElement.GetProperty("idx")).Values.Select(i => (int)i).Chunk(11).ToArray();
        var expected = AdaptedModel.Read(partials.RootElement.GetProperty("lm_head")).Values;

        var logits = Logits(model, ids);

        Close(expected, logits, 2e-5); // logits reach ±20: 1e-6 of that, in float32 twice
        foreach (var (row, r) in ids.Select((row, r) => (row, r)))
        {
            var sorted = Enumerable.Range(5, 6).Select(c => Best(logits.AsSpan((r * 11 + c) * 3, 3)));
            Assert.Equal(row[..6].Order(), sorted);
        }
    }

    [Fact] // golden values are a float64 run, printed with ten digits; ours is float32 over logits up to 21
    public void Slm_4096_recites_its_corpus()
    {
        var folder = SharedFiles.Need("models", "slm-4096");
        var path = Path.Combine(folder, "ckpt.pt");
        using var temporary = new TemporaryFolder();
        using var weights = AdaptedModel.SlmCheckpoint(path).Save(temporary.Path, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));
        using var golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
        var characters = AdaptedModel.SlmCharacters(path);

        int[] prompt = [.. golden.RootElement.GetProperty("prompt").GetString()!.Select(c => characters[c])];
        Assert.Equal(golden.RootElement.GetProperty("prompt_ids").EnumerateArray().Select(i => i.GetInt32()), prompt);
        var logits = Logits(model, prompt);
        var expected = golden.RootElement.GetProperty("logits_at_last_prompt_position").EnumerateArray().Select(x => x.GetSingle())
            .ToArray();
        Close(expected, logits.AsSpan(logits.Length - expected.Length), 2e-4);

        int[] corpus = [.. File.ReadAllText(Path.Combine(folder, "corpus.txt")).Select(c => characters[c])];
        double sum = 0;
        var targets = 0;
        foreach (var start in Enumerable.Range(0, corpus.Length / 128).Select(b => b * 128))
        {
            var block = Logits(model, corpus[start..Math.Min(start + 128, corpus.Length)]);
            for (var i = 0; i < 128 && start + i + 1 < corpus.Length; i++, targets++)
                sum -= LogProb(block.AsSpan(i * 54, 54), corpus[start + i + 1]);
        }
        Assert.Equal(golden.RootElement.GetProperty("corpus_nll").GetProperty("targets").GetInt32(), targets);
        Assert.Equal(golden.RootElement.GetProperty("corpus_nll").GetProperty("mean_nll").GetDouble(), sum / targets, 1e-5);
    }

    [Fact] // float32 of torch 2.12; a float64 run agrees to 5e-8
    public void Gpt2_tiny_gives_its_logits()
    {
        var folder = SharedFiles.Need("models", "gpt2-tiny");
        using var golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "gpt2_tiny_golden.json")));
        var keys = golden.RootElement.GetProperty("config").EnumerateObject()
            .Select(p => (p.Name, System.Text.Json.Nodes.JsonNode.Parse(p.Value.GetRawText()))).ToArray();
        using var weights = ModelWeights.Open(folder, Some.Config([("model_type", "gpt2"), .. keys]), fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float32));

        var logits = Logits(model, [.. golden.RootElement.GetProperty("input_ids").EnumerateArray().Select(i => i.GetInt32())]);

        // logits below 1, float32 on both sides
        Close([.. golden.RootElement.GetProperty("logits").EnumerateArray().Select(x => x.GetSingle())], logits, 2e-6);
    }

    // float64 on both sides; but our rotation is float32, 6e-8, as in the reference library, and these logits were made with a float64 one
    [Theory]
    [InlineData("tiny_llama", 1e-7)]
    [InlineData("tiny_mistral", 1e-7)]
    [InlineData("tiny_mixtral", 5e-6)] // its router's probabilities were rounded to float32
    [InlineData("tiny_gemma", 1e-7)]
    [InlineData("tiny_gptneox", 1e-7)]
    [InlineData("tiny_gpt2", 1e-12)]
    public void Toy_models_give_their_logits_in_float64(string name, double absolute)
    {
        var folder = SharedFiles.Need("models", "hf-architectures");
        var file = Path.Combine(folder, name + "_config.json");
        var config = File.Exists(file) ? PublishedConfig.Load(file)
            : Some.Gpt2(vocabulary: 11, hidden: 8, layers: 2, heads: 2, positions: 16);
        using var weights = ModelWeights.Open(Path.Combine(folder, name + ".safetensors"), config, fused: true);
        using var model = Decoder.Load(weights, ParameterPlan.Frozen(weights, DType.Float64));
        using var golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, name + "_logits.json")));
        int[][] sequences = [.. golden.RootElement.GetProperty("sequences").EnumerateArray()
            .Select(s => s.EnumerateArray().Select(i => i.GetInt32()).ToArray())];
        double[] expected = [.. golden.RootElement.GetProperty("logits").EnumerateArray().SelectMany(s => s.EnumerateArray())
            .SelectMany(p => p.EnumerateArray()).Select(x => x.GetDouble())];

        using var scope = TensorScope.Enter();
        var hidden = model.Hidden(StreamLayout.Of(sequences), ForwardOptions.Plain);
        var logits = LinearLogProb.Logits(hidden.Detach(), model.Head, model.HeadOptions).ToArray<double>();

        Assert.Equal(expected.Length, logits.Length);
        Assert.All(expected.Zip(logits), pair => Assert.Equal(pair.First, pair.Second, absolute));
    }

    private static float[] Logits(Decoder model, params int[][] sequences)
    {
        using var scope = TensorScope.Enter();
        var hidden = model.Hidden(StreamLayout.Of(sequences), ForwardOptions.Plain);
        return LinearLogProb.Logits(hidden.Detach(), model.Head, model.HeadOptions).ToArray<float>();
    }

    private static int Best(ReadOnlySpan<float> logits) => System.Numerics.Tensors.TensorPrimitives.IndexOfMax(logits);

    private static double LogProb(ReadOnlySpan<float> logits, int target)
    {
        var sum = 0.0;
        foreach (var x in logits)
            sum += Math.Exp(x);
        return logits[target] - Math.Log(sum);
    }

    private static void Close(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, double absolute)
    {
        Assert.Equal(expected.Length, actual.Length);
        var worst = 0.0;
        for (var i = 0; i < expected.Length; i++)
            worst = Math.Max(worst, Math.Abs(expected[i] - (double)actual[i]));
        Assert.True(worst <= absolute, $"differs by {worst:g3}, more than {absolute:g3}");
    }
}
