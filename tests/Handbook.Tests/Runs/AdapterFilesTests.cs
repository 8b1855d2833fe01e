using Handbook.Models;
using Handbook.Models.Adapters;
using Handbook.Models.Files;
using Handbook.Runs;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Tests.Runs;

/// <summary>What whole runs of adapters leave in their folders, and what others make of it.</summary>
[Collection("tensors")]
public sealed class AdapterFilesTests : IDisposable
{
    private const string Still = "learning_rate: 0";

    private readonly AdapterRuns _runs = new();

    public void Dispose() => _runs.Dispose();

    [Theory]
    [InlineData(true), InlineData(false)]
    public void Number_22_trained_tokens_have_their_rows_in_a_padded_vocabulary_and_the_others_stay(bool tied)
    {
        Padded(tied);
        string[] keys = [$"model_name_or_path: {_runs["padded"]}", "lora_target_modules: [q_proj, v_proj]", "trainable_token_indices: [20, 7]"];
        _runs.Train("cpt", "still", [Still, .. keys]);
        _runs.Train("cpt", "moved", keys);
        MergeRun.Run(new() { Adapter = _runs["moved"], Output = _runs["merged"] });

        var (before, after) = (Rows("padded"), Rows("merged"));
        var (still, moved) = (TokenRows("still"), TokenRows("moved"));
        Assert.Equal((48, 48, 2, 2), (before.Length, after.Length, still.Length, moved.Length));
        var ids = AdapterConfigFile.Read(_runs["moved"]).TrainedTokens.Values.Single();
        Assert.Equal([7, 20], ids.Order());
        for (var i = 0; i < ids.Count; i++)
        {
            Assert.Equal(before[ids[i]], still[i]);
            Assert.NotEqual(still[i], moved[i]);
            Assert.Equal(moved[i], after[ids[i]]);
        }
        foreach (var id in Enumerable.Range(0, 48).Except(ids))
            Assert.Equal(before[id], after[id]);
        using var merged = WeightFiles.Open(_runs["merged"]);
        Assert.Equal(!tied, merged.Names.Contains("lm_head.weight"));
    }

    /// <summary>Head and embedding are one in this model; an adapter may make two of them, or train the one.</summary>
    [Theory]
    [InlineData("[lm_head, embed_tokens]", false), InlineData("[lm_head]", false), InlineData("[embed_tokens]", false)]
    [InlineData("[lm_head, embed_tokens]", true)]
    public void A_tied_head_is_trained_whole_used_and_merged(string saved, bool asOne)
    {
        string[] keys = [$"lora_modules_to_save: {saved}", $"ensure_weight_tying: {(asOne ? "true" : "false")}", "save_strategy: steps",
            "save_steps: 2", "save_total_limit: 5"];
        _runs.Train("cpt", "whole", keys);
        _runs.CutAfter("whole", "cut", 2);
        _runs.Train("cpt", "cut", keys);
        var (tensors, again) = (Tensors("whole"), Tensors("cut"));
        Assert.Equal(tensors.Keys, again.Keys);
        Assert.All(tensors, tensor => Assert.Equal(tensor.Value, again[tensor.Key]));

        MergeRun.Run(new() { Adapter = _runs["whole"], Output = _runs["merged"] });
        Assert.Equal(asOne, PublishedConfig.Load(_runs["merged"]).Decoder.TiedHead);
        using var below = WeightFiles.Open(_runs["model"]);
        using var merged = WeightFiles.Open(_runs["merged"]);
        Assert.Equal(!asOne, merged.Has("lm_head.weight"));
        foreach (var name in (string[])["model.embed_tokens.weight", "lm_head.weight"])
        {
            var own = tensors.GetValueOrDefault("base_model.model." + name);
            Assert.Equal(asOne || saved.Contains(name.Split('.')[^2]), own is not null);
            if (own is not null)
                Assert.NotEqual(Values(below, "model.embed_tokens.weight"), own);
            if (!asOne)
                Assert.Equal(own ?? Values(below, "model.embed_tokens.weight"), Values(merged, name));
        }
        if (!asOne)
            return;
        Assert.Equal(tensors["base_model.model.lm_head.weight"], tensors["base_model.model.model.embed_tokens.weight"]);
        Assert.Equal(tensors["base_model.model.lm_head.weight"], Values(merged, "model.embed_tokens.weight"));
    }

    [Fact]
    public void Number_29_an_adapter_saved_over_any_form_of_weights_is_read_over_any_other()
    {
        (string Name, string Key)[] forms = [("numbers", "load_in_4bit: false"), ("nf4", "load_in_4bit: true"), ("int8", "load_in_8bit: true")];
        foreach (var (name, key) in forms)
            _runs.Train("cpt", name, key, "max_steps: 1");
        Assert.Equal(Tensors("numbers").Select(tensor => (tensor.Key, tensor.Value.Length)),
            Tensors("nf4").Select(tensor => (tensor.Key, tensor.Value.Length)));
        foreach (var (i, (name, _)) in forms.Index())
        {
            var (other, key) = forms[(i + 1) % forms.Length];
            _runs.Train("cpt", $"{name}-{other}", key, "max_steps: 1", Still, $"adapter_name_or_path: {_runs[name]}", "adapter_dtype: float32");
            var (saved, again) = (Tensors(name), Tensors($"{name}-{other}"));
            Assert.Equal(saved.Keys, again.Keys);
            Assert.All(saved, tensor => Assert.Equal(tensor.Value, again[tensor.Key]));
        }
    }

    /// <summary>The model with more rows than its tokenizer has tokens.</summary>
    private void Padded(bool tied)
    {
        Directory.CreateDirectory(_runs["padded"]);
        foreach (var file in (string[])["tokenizer.json", "tokenizer_config.json"])
            File.Copy(_runs["model", file], _runs["padded", file]);
        File.WriteAllText(_runs["padded.json"], File.ReadAllText(_runs["config.json"]).Replace("\"tie_word_embeddings\": true",
            $"\"vocab_size\": 48, \"tie_word_embeddings\": {(tied ? "true" : "false")}"));
        var config = NewModel.Config(_runs["padded.json"], Tokenizer.Load(_runs["padded"]));
        WeightFilesWriter.Save(_runs["padded"], NewModel.Tensors(config, 3, DType.Float32));
        config.Save(_runs["padded"]);
    }

    private float[][] Rows(string model)
    {
        using var files = WeightFiles.Open(_runs[model]);
        return [.. Values(files, "model.embed_tokens.weight").Chunk(32)];
    }

    private float[][] TokenRows(string adapter) =>
        [.. Tensors(adapter)["base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"].Chunk(32)];

    private SortedDictionary<string, float[]> Tensors(string adapter)
    {
        using var files = WeightFiles.Open(AdapterFolder.FileOf(_runs[adapter]));
        return new(files.Names.ToDictionary(name => name, name => Values(files, name)), StringComparer.Ordinal);
    }

    private static float[] Values(WeightFiles files, string name)
    {
        var values = new float[files.Info(name).Count];
        ElementConversion.Convert(files.Bytes(name), files.Info(name).DType,
            System.Runtime.InteropServices.MemoryMarshal.AsBytes(values.AsSpan()), DType.Float32);
        return values;
    }
}
