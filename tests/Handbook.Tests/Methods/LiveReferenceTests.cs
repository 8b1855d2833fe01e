using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Methods;

/// <summary>The reference: in memory where it follows the policy, in a file where it does not.</summary>
[Collection("tensors")]
public sealed class LiveReferenceTests
{
    [Fact]
    public void A_reference_that_follows_takes_its_share_of_the_policy_at_every_nth_update()
    {
        const double Mixup = 0.6;
        using var policy = Tiny.Model("llama", 1);
        using var model = Tiny.Model("llama", 2);
        var before = model.Parameters.Buckets.Select(b => b.Values.ToArray<double>()).ToArray();
        var reference = new LiveReference(model, syncSteps: 3, Mixup);

        reference.AfterStep(policy, 1);
        reference.AfterStep(policy, 2);
        Assert.Equal(before[0], model.Parameters.Buckets[0].Values.ToArray<double>());

        reference.AfterStep(policy, 3);
        foreach (var (bucket, old, own) in model.Parameters.Buckets.Select((b, i) =>
            (b.Values.ToArray<double>(), before[i], policy.Parameters.Buckets[i].Values.ToArray<double>())))
            for (var i = 0; i < bucket.Length; i++)
                Assert.Equal(Mixup * own[i] + (1 - Mixup) * old[i], bucket[i], 1e-12);
        Assert.Equal(model.Parameters.Specs.Sum(spec => spec.Pieces.Count()), reference.StateTensors.Count());
    }

    [Fact]
    public void A_frozen_reference_is_no_part_of_a_checkpoint()
    {
        using var model = Tiny.Model("llama", 2);
        Assert.Empty(new LiveReference(model).StateTensors);
    }

    [Fact] // whatever decides a score decides the key; the rest of a recipe does not
    public void Number_26_the_key_of_cached_scores_changes_with_model_rows_truncation_and_type()
    {
        using var folder = new TemporaryFolder();
        var config = Tiny.Config("llama");
        foreach (var (name, seed) in new[] { ("model", 1), ("same", 1), ("other", 2) })
        {
            WeightFilesWriter.Save(folder[name], NewModel.Tensors(config, seed, DType.Float32));
            config.Save(folder[name]);
        }
        config.With(("rms_norm_eps", 1e-3)).Save(folder["same"]);
        using var plain = JsonDocument.Parse("{}");
        using var desensitised = JsonDocument.Parse("""{"ld_alpha": 0.5}""");
        using var hinge = JsonDocument.Parse("""{"loss_type": "hinge", "beta": 0.7}""");
        var cache = new ReferenceScores(new CacheFolder(folder["cache"]));
        var rows = PreferenceContractTests.Rows(TrainingMethod.Dpo, 4);
        var cut = new TokenRowList([.. Enumerable.Range(0, 4).Select(i => Cut(rows.Read(i)))]);
        var exchanged = new TokenRowList([rows.Read(1), rows.Read(0), rows.Read(2), rows.Read(3)]);

        var key = Key("model", plain, rows);
        Assert.Equal(key, Key("model", plain, rows));
        Assert.Equal(key, Key("model", hinge, rows));
        string[] others = [Key("other", plain, rows), Key("same", plain, rows), Key("model", desensitised, rows), Key("model", plain, cut),
            Key("model", plain, exchanged), Key("model", plain, rows, DType.BFloat16)];
        Assert.Equal(others.Length + 1, others.Append(key).Distinct().Count());

        string Key(string model, JsonDocument options, ITokenRows data, DType compute = DType.Float32) =>
            cache.Key([folder[model]], compute,
                PreferenceObjective.Create(PreferenceCase.Recipe(TrainingMethod.Dpo, null, options.RootElement)),
                RowSurvey.Of(data, new() { Digests = true }).ContentOf());

        static TokenRow Cut(TokenRow row) =>
            row with
            {
                Segments = [.. row.Segments.Select(segment => segment.Ids.Length > 2
            ? segment with { Ids = segment.Ids[..^1], Loss = segment.Loss[..^1] } : segment)]
            };
    }

    [Fact]
    public void A_copy_of_a_model_folder_holds_the_same_weights_under_another_path()
    {
        using var folder = new TemporaryFolder();
        foreach (var (name, seed) in new[] { ("model", 1), ("copy", 1), ("other", 2) })
        {
            WeightFilesWriter.Save(folder[name], NewModel.Tensors(Tiny.Config("llama"), seed, DType.Float32));
            Tiny.Config("llama").Save(folder[name]);
        }
        var cache = new CacheFolder(folder["cache"]);

        Assert.True(ReferenceScores.AreSameWeights(folder["model"], folder["model"] + "/", cache));
        Assert.True(ReferenceScores.AreSameWeights(folder["model"], folder["copy"], cache));
        Assert.False(ReferenceScores.AreSameWeights(folder["model"], folder["other"], cache));
        Tiny.Config("llama").With(("rms_norm_eps", 1e-3)).Save(folder["copy"]);
        Assert.False(ReferenceScores.AreSameWeights(folder["model"], folder["copy"], cache));
    }

    [Fact]
    public void Scores_go_on_behind_the_last_group_that_was_kept_and_are_found_again()
    {
        using var folder = new TemporaryFolder();
        using var model = Tiny.Model("llama", 2);
        using var none = JsonDocument.Parse("{}");
        var objective = PreferenceObjective.Create(PreferenceCase.Recipe(TrainingMethod.Dpo, null, none.RootElement));
        var rows = PreferenceContractTests.Rows(TrainingMethod.Dpo, 150);
        var expected = new ReferenceScores(new CacheFolder(folder["whole"])).Compute("key", model, objective, rows, 500);
        var cache = new ReferenceScores(new CacheFolder(folder["cut"]));
        using var stop = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => cache.Compute("key", model, objective, rows, 500, done =>
        {
            if (done >= 64)
                stop.Cancel();
        }, cancel: stop.Token));
        Assert.Null(cache.Find("key", rows.Count));

        var first = -1L;
        var scores = cache.Compute("key", model, objective, rows, 500, done => first = first < 0 ? done : first);
        Assert.True(first >= 64, $"began at row {first}");
        Assert.Equal(expected, scores);
        Assert.Equal(expected, cache.Find("key", rows.Count));
        Assert.Null(cache.Find("key", rows.Count + 1));
        Assert.Null(cache.Find("other", rows.Count));
    }
}
