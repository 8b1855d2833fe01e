using System.Text.Json;
using Handbook.Data;
using Handbook.Methods.Preferences;
using Handbook.Recipes;
using Handbook.Tests.Contract;
using Handbook.Torch;

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
        foreach (var (bucket, old, own) in model.Parameters.Buckets.Select((b, i) => (b.Values.ToArray<double>(), before[i], policy.Parameters.Buckets[i].Values.ToArray<double>())))
            for (var i = 0; i < bucket.Length; i++)
                Assert.Equal(Mixup * own[i] + (1 - Mixup) * old[i], bucket[i], 1e-12);
        Assert.Equal(2, reference.StateTensors.Count());
    }

    [Fact]
    public void A_frozen_reference_is_no_part_of_a_checkpoint()
    {
        using var model = Tiny.Model("llama", 2);
        Assert.Empty(new LiveReference(model).StateTensors);
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
        }, stop.Token));
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
