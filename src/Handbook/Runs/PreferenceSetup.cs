using Handbook.Base.Keys;
using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Plans;
using Handbook.Recipes;
using Handbook.Text.Templates;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Runs;

/// <summary>What a preference run needs before its first step: its rows in the form that the objective reads, and the reference's scores or the reference itself.</summary>
internal sealed class PreferenceSetup(Recipe recipe, IWorkObserver observer, CancellationToken cancel) : IDisposable
{
    private readonly DensityRatios? _ratios = recipe.Method == TrainingMethod.Bco && recipe.Preference.UseDensityRatio ? new() : null;
    private IPreferenceObjective? _objective;
    private LiveReference? _live;
    private bool _beginsAsReference;

    public IPreferenceObjective Objective => _objective ??= _ratios is null ? PreferenceObjective.Create(recipe) : PreferenceObjective.Create(recipe, row => _ratios.Train[row], row => _ratios.HeldOut[row]);

    public PreferenceMethod Method => new(RecipeNames.Of(recipe.Method), Objective, _live, _beginsAsReference);

    /// <summary>Whether the reference stays in memory beside the policy.</summary>
    private bool IsLive => Objective.NeedsReference && (recipe.Preference.SyncRefModel || recipe.Preference.PrecomputeRefLogProbs == false);

    /// <summary>Gives rows their reference scores where these are computed once; opens the reference where it stays.</summary>
    /// <param name="policy">The policy, with its weights of now.</param>
    /// <param name="policyFolder">Where the policy's weights were read from.</param>
    /// <param name="initialFolder">The model that the recipe trains.</param>
    public (ITokenRows Train, ITokenRows? Evaluation) Attach(Decoder policy, string policyFolder, string initialFolder, ITokenRows train, ITokenRows? evaluation)
    {
        train = Laid(train);
        evaluation = evaluation is null ? null : Laid(evaluation);
        if (_ratios is not null)
            WeighPrompts(policy, policyFolder, initialFolder, train, evaluation);
        if (!Objective.NeedsReference)
            return (train, evaluation);
        var folder = recipe.Preference.RefModelNameOrPath is { } named ? ModelFolder.Find(named, "ref_model_name_or_path") : initialFolder;
        _beginsAsReference = ReferenceScores.AreSameWeights(folder, initialFolder, CacheFolder.Default);
        if (IsLive)
        {
            _live = new LiveReference(Open(recipe, folder, policy.Compute, recipe.Preference.SyncRefModel), recipe.Preference.SyncRefModel ? recipe.Preference.RefModelSyncSteps : 0, recipe.Preference.RefModelMixupAlpha);
            observer.Said($"reference: {folder}, kept in memory{(recipe.Preference.SyncRefModel ? $"; takes {recipe.Preference.RefModelMixupAlpha:g} of the policy every {recipe.Preference.RefModelSyncSteps} steps" : "")}");
            return (train, evaluation);
        }
        var isPolicy = Path.GetFullPath(folder) == Path.GetFullPath(policyFolder);
        Decoder? opened = null;
        try
        {
            return (Referenced(train, RecipeData.Plan(recipe, train).RowsSeen(), "training rows"), evaluation is null ? null : Referenced(evaluation, null, "held-out rows"));
        }
        finally
        {
            opened?.Dispose();
        }

        // Rows that a short run never comes to are not scored.
        ReferencedRows Referenced(ITokenRows all, int[]? seen, string what)
        {
            var rows = seen is null ? all : new SelectedRows(all, seen);
            var cache = new ReferenceScores(CacheFolder.Default);
            var key = cache.Key(folder, policy.Compute, Objective, rows);
            var count = seen is null ? $"{rows.Count:N0}" : $"the run's {rows.Count:N0} of {all.Count:N0}";
            if (cache.Find(key, rows.Count) is not { } scores)
            {
                observer.Said($"reference: scores of {count} {what} by {folder}, computed once and kept in the cache");
                using var bar = observer.Began($"reference scores, {what}", rows.Count, "rows");
                var model = isPolicy ? policy : opened ??= Open(recipe, folder, policy.Compute);
                scores = cache.Compute(key, model, Objective, rows, recipe.Data.MaxTokens ?? TrainingRun.DefaultMaxTokens, bar.Report, cancel);
            }
            else
                observer.Said($"reference: scores of {count} {what} by {folder}, from the cache");
            var byRow = new ReferenceScore?[all.Count];
            for (var i = 0; i < scores.Length; i++)
                byRow[seen?[i] ?? i] = scores[i];
            return new(all, byRow);
        }
    }

    /// <summary>Weighs bad answers by how much their prompts look like those of good ones, to the model as it was before training.</summary>
    private void WeighPrompts(Decoder policy, string policyFolder, string initialFolder, ITokenRows train, ITokenRows? evaluation)
    {
        var isPolicy = Path.GetFullPath(initialFolder) == Path.GetFullPath(policyFolder);
        using var opened = isPolicy ? null : Open(recipe, initialFolder, policy.Compute);
        using (var bar = observer.Began("prompts for the density ratio", train.Count + (evaluation?.Count ?? 0), "rows"))
            _ratios!.Compute(opened ?? policy, train, evaluation, recipe.Preference.MinDensityRatio, recipe.Preference.MaxDensityRatio,
                recipe.Data.MaxTokens ?? TrainingRun.DefaultMaxTokens, rows => bar.Advance(rows), cancel);
        observer.Said($"density ratio: bad answers weigh from {_ratios.Least:g3} to {_ratios.Greatest:g3}, {_ratios.Mean:g3} in the mean");
    }

    /// <summary>Rows as the objective reads them.</summary>
    private ITokenRows Laid(ITokenRows rows) => recipe.Preference.SharePrompts ? rows : new SeparatePrompts(rows);

    /// <summary>A reference beside the policy that a recipe trains.</summary>
    /// <param name="follows">Whether its weights will change; otherwise they stay in the file's own element type.</param>
    internal static Decoder Open(Recipe recipe, string folder, DType compute, bool follows = false)
    {
        var config = PublishedConfig.Load(folder);
        using var weights = ModelWeights.Open(folder, config, fused: true);
        return Decoder.Load(weights, follows ? ParameterPlan.Resident(weights.Parameters, DType.Float32, compute) : ParameterPlan.Frozen(weights, compute));
    }

    public void Dispose() => _live?.Dispose();
}
