using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Methods.Preferences;

/// <summary>A reference model in memory: frozen, or following the policy (TR-DPO, arXiv 2404.09656).</summary>
/// <remarks>
/// <code>
/// θ_ref ← α·θ + (1 − α)·θ_ref        every <c>syncSteps</c> updates
/// </code>
/// </remarks>
/// <param name="model">The reference; owned from here on.</param>
/// <param name="syncSteps">Updates between two changes; 0 keeps it frozen.</param>
/// <param name="mixup">α.</param>
internal sealed class LiveReference(Decoder model, int syncSteps = 0, double mixup = 0.6) : IDisposable
{
    internal Decoder Model => model;

    /// <summary>The weights, where they change with the run.</summary>
    public IEnumerable<(string Name, Tensor Value)> StateTensors =>
        syncSteps == 0 ? []
            : model.Parameters.Buckets.SelectMany(bucket => NamedSlices.Of("reference", model.Parameters, bucket, bucket.Values));

    /// <summary>Scores of the answers of a bin, by row.</summary>
    internal Dictionary<int, ReferenceScore> Scores(Bin bin, IPreferenceObjective objective, LossGroup group) =>
        Score(model, bin, objective, number => group[number]);

    /// <summary>Scores of the answers of a bin under a model, by row.</summary>
    public static Dictionary<int, ReferenceScore> Score(Decoder model, Bin bin, IPreferenceObjective objective, Func<int, TokenRow> rows)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var places = new AnswerPlaces(bin.Batch, withEnd: false);
        var statistics = new HeadStatistics(places.Count);
        TokenLogProbs.Of(model, bin, places.Places, places.Targets, statistics);
        ReferenceReading.Level(places, statistics, rows);
        var result = new Dictionary<int, ReferenceScore>();
        foreach (var (number, spans) in places.Rows)
            result[number] = ReferenceReading.Of(spans, statistics, objective, PreferenceMethod.PromptLength(rows(number)));
        return result;
    }

    internal void AfterStep(Decoder policy, int updates)
    {
        if (syncSteps == 0 || updates % syncSteps != 0)
            return;
        using var mode = GradMode.Disabled();
        foreach (var rule in policy.Parameters.Plan.Rules.Where(rule => rule.IsTrained))
        {
            var (own, its) = (model.Parameters[rule.Spec.Name].Value, policy.Parameters.Whole(rule.Spec.Name));
            own.MulInPlace(1 - mixup);
            own.AddInPlace(its.Detach(), mixup);
        }
        model.Parameters.RefreshCompute();
    }

    /// <summary>Copies the weights that a checkpoint has put back into the form that products read.</summary>
    internal void Refresh() => model.Parameters.RefreshCompute();

    public void Dispose() => model.Dispose();
}
