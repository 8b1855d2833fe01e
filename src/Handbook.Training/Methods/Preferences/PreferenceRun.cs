using Handbook.Base.Progress;
using Handbook.Data;
using Handbook.Data.Cache;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Preferences;

/// <summary>A preference method in one run: its rows in the form that the objective reads, and the reference's scores of them or the
/// reference itself.</summary>
internal sealed class PreferenceRun : IMethodRun
{
    private readonly LiveReference? _reference;

    private PreferenceRun(string name, IPreferenceObjective objective, (ITokenRows Train, ITokenRows? Evaluation) rows,
        LiveReference? reference, bool beginsAsReference)
    {
        ((Train, Evaluation), _reference) = (rows, reference);
        Method = new PreferenceMethod(name, objective, reference, beginsAsReference);
    }

    public ITokenRows Train { get; }

    public ITokenRows? Evaluation { get; }

    public ITrainingMethod Method { get; }

    /// <summary>Gives rows their reference scores where these are computed once; opens the reference where it stays.</summary>
    public static PreferenceRun Begin(MethodStart start, IPreferenceObjective objective)
    {
        var (rows, name, keys) = (Laid(start), start.Run.MethodName, start.Run.Preference);
        if (!objective.NeedsReference)
            return new(name, objective, rows, null, beginsAsReference: false);
        var reference = new ReferenceModel(start);
        var isInitial = reference.IsInitial;
        return keys.PrecomputesReference() ? new(name, objective, Scored(start, objective, reference, rows), null, isInitial)
            : new(name, objective, rows, reference.Keep(), isInitial);
    }

    /// <summary>Rows as an objective reads them.</summary>
    public static (ITokenRows Train, ITokenRows? Evaluation) Laid(MethodStart start) => start.Run.Preference.SharePrompts
        ? (start.Data.Train, start.Evaluation)
        : (new SeparatePrompts(start.Data.Train), start.Evaluation is null ? null : new SeparatePrompts(start.Evaluation));

    private static (ITokenRows Train, ITokenRows? Evaluation) Scored(MethodStart start, IPreferenceObjective objective,
        ReferenceModel reference,
        (ITokenRows Train, ITokenRows? Evaluation) rows)
    {
        Decoder? opened = null;
        try
        {
            // Rows that a short run never reaches are not scored.
            return (Score(rows.Train, start.Survey, RowPlan.Steps(start.Run, rows.Train).RowsSeen(), "training rows"),
                rows.Evaluation is null ? null : Score(rows.Evaluation, start.HeldOutSurvey!, null, "held-out rows"));
        }
        finally
        {
            opened?.Dispose();
        }

        ReferencedRows Score(ITokenRows all, RowSurvey survey, int[]? seen, string what)
        {
            var rows = seen is null ? all : new SelectedRows(all, seen);
            var cache = new ReferenceScores(CacheFolder.Default);
            var layout = start.Run.Preference.SharePrompts ? "shared" : "separate";
            var key = cache.Key(reference.Folders, start.Model.Compute, objective, $"{layout} {reference.Storage} {survey.ContentOf(seen)}"
                + (start.Workers.IsOrdered ? " in order" : ""));
            var count = seen is null ? $"{rows.Count:N0}" : $"the run's {rows.Count:N0} of {all.Count:N0}";
            var known = cache.Find(key, rows.Count);
            if (start.Workers.Any(known is null) || known is not { } scores)
            {
                start.Observer.Said($"reference: scores of {count} {what} by {reference.Folder}, computed once and kept in the cache");
                using var bar = start.Observer.Began($"reference scores, {what}", rows.Count, "rows");
                var model = reference.IsPolicy ? start.Model : opened ??= reference.Load();
                scores = cache.Compute(key, model, objective, rows, start.MaxTokens, bar.Report, start.Workers,
                    start.Cancel);
            }
            else
                start.Observer.Said($"reference: scores of {count} {what} by {reference.Folder}, from the cache");
            var byRow = new ReferenceScore?[all.Count];
            for (var i = 0; i < scores.Length; i++)
                byRow[seen?[i] ?? i] = scores[i];
            return new(all, byRow);
        }
    }

    public void Dispose() => _reference?.Dispose();
}
