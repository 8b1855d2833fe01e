using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Data.Mixing;
using Handbook.Data.Sources;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Models.Tests;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Rewards;

namespace Handbook.Training.Tests.Rewards;

/// <summary>Classifiers of several labels.</summary>
[Collection("tensors")]
public sealed class LabelSetTests : IDisposable
{
    private static readonly string[] s_names = ["bad", "so", "good"];

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory] // 1e-6: written in float32
    [InlineData(null)]
    [InlineData("multi_label_classification")]
    [InlineData("regression")]
    public void Rows_get_what_a_reward_model_of_each_label_says(string? kind)
    {
        Save("classifier", kind);
        using var model = Open("classifier");
        var written = Score(model, """
            {"text": "abba", "label": 2}
            {"text": 7}
            """, out var summary);
        var logits = s_names.Select((_, label) =>
        {
            // The same network with one row of the head alone.
            var config = Config(null, s_names).WithScoreHead();
            var head = Data("classifier", "score.weight")[(label * 12)..(label * 12 + 12)];
            WriteLike("classifier", $"one-{label}", config, head);
            using var one = Open($"one-{label}");
            return one.Score([one.Row("", ["abba"])])[0];
        }).ToArray();
        var row = written[0];
        var (named, values) = kind == "regression" ? ("values", logits)
            : ("probabilities", kind is null ? [.. logits.Select(logit => Math.Exp(logit) / logits.Sum(Math.Exp))]
                : logits.Select(logit => 1 / (1 + Math.Exp(-logit))).ToArray());
        Assert.Equal(s_names, row.GetProperty(named).EnumerateObject().Select(label => label.Name));
        Assert.All(row.GetProperty(named).EnumerateObject().Zip(values), pair => Assert.Equal(pair.Second, pair.First.Value.GetDouble(), 1e-6));
        if (kind is null)
        {
            Assert.Equal(s_names[Array.IndexOf(logits, logits.Max())], row.GetProperty("label").GetString());
            Assert.Equal([KeyValuePair.Create(row.GetProperty("label").GetString()!, 1L)], summary.Labels);
        }
        else if (kind != "regression")
            Assert.Equal(s_names.Where((_, label) => logits[label] > 0), row.GetProperty("labels").EnumerateArray().Select(name => name.GetString()!));
        Assert.Equal((2L, 1L), (summary.Rows, summary.Scored));
        Assert.Equal(JsonValueKind.Null, written[1].GetProperty(named).ValueKind);
    }

    [Fact]
    public void Answers_of_a_pair_get_columns_of_their_own()
    {
        Save("classifier", null);
        using var model = Open("classifier");
        var row = Score(model, """{"prompt": "ab", "chosen": "ba", "rejected": "a"}""", out _)[0];
        Assert.Equal(["prompt", "chosen", "rejected", "label_chosen", "probabilities_chosen", "label_rejected", "probabilities_rejected"],
            row.EnumerateObject().Select(column => column.Name));
    }

    [Fact]
    public void What_cannot_be_told_apart_or_is_not_known_is_said()
    {
        Assert.Contains("names two labels \"so\"", Assert.Throws<InputException>(() => LabelSet.Of(Config(null, "so", "so", "x"), "f")).Message);
        Assert.Contains("problem_type in config.json is \"ranking\"", Assert.Throws<InputException>(() =>
            LabelSet.Of(Config("ranking", s_names), "f")).Message);
        Assert.Contains("id2label names no label", Assert.Throws<InputException>(() => Config(null, [])).Message);
    }

    private static PublishedConfig Config(string? kind, params string[] names) => Some.Llama(
        ("architectures", new JsonArray("LlamaForSequenceClassification")), ("problem_type", kind), ("initializer_range", 0.5),
        ("id2label", new JsonObject(names.Select((name, label) =>
            KeyValuePair.Create<string, JsonNode?>($"{label}", name)))));

    private void Save(string name, string? kind)
    {
        var config = Config(kind, s_names);
        WeightFilesWriter.Save(_folder[name], NewModel.Tensors(config, 3, DType.Float32));
        config.Save(_folder[name]);
        ScoreRunTests.MakeTokenizer().Save(_folder[name]);
    }

    private float[] Data(string name, string tensor)
    {
        using var weights = ModelWeights.Open(_folder[name], PublishedConfig.Load(_folder[name]));
        return weights.ReadSingles(tensor);
    }

    private void WriteLike(string from, string to, PublishedConfig config, float[] head)
    {
        using var weights = WeightFiles.Open(_folder[from]);
        WeightFilesWriter.Save(_folder[to], [.. weights.Names.Select(name => name == "score.weight"
            ? TensorToSave.From(name, head, 1, head.Length) : TensorToSave.From(weights.Read(name)))]);
        config.Save(_folder[to]);
        ScoreRunTests.MakeTokenizer().Save(_folder[to]);
    }

    private RewardModel Open(string name) => RewardModel.Open(ModelSource.Find(_folder[name]), DType.Float32, null, 4096, withLabels: true);

    private JsonElement[] Score(RewardModel model, string lines, out ScoreSummary summary)
    {
        File.WriteAllText(_folder["rows.jsonl"], lines);
        var spec = new DatasetSpec { Id = _folder["rows.jsonl"] };
        var source = Dataset.Open(spec);
        using var output = new MemoryStream();
        summary = new();
        new ScoreRun(model, source, new(source, spec, model.Tokenizer, null)).Run(output, summary);
        return [.. System.Text.Encoding.UTF8.GetString(output.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonDocument.Parse(line).RootElement)];
    }
}
