using Handbook.Training.Reports;

namespace Handbook.Migration;

/// <summary>What becomes of each setting of another trainer, by its name.</summary>
internal sealed class MigrationRules
{
    public const string Kernels = "not needed: attention and the fused operations are always exact and on";
    public const string Cache = "not needed: tokenised rows are kept in the handbook's own cache";
    public const string Trackers = "reports hold what is logged, and neither weights nor other trackers; "
        + "metrics are in metrics.jsonl in any case";
    public const string Variables = "the environment says it: WANDB_MODE, WANDB_RUN_ID, "
        + "MLFLOW_TRACKING_URI (of files), MLFLOW_EXPERIMENT_NAME";
    public const string Stopping = "a run ends after its steps; load_best_model_at_end takes the best checkpoint";
    public const string Masters = "weights are kept in float32 beside products in bfloat16";

    private readonly Dictionary<string, Action<MigrationDraft, ForeignKey>> _rules = [];

    /// <summary>The names that are known.</summary>
    public IReadOnlyCollection<string> Names => _rules.Keys;

    /// <summary>Settings with a key of the same name and meaning.</summary>
    public MigrationRules Same(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
            As(name, name);
        return this;
    }

    /// <summary>A setting with a key of another name.</summary>
    public MigrationRules As(string name, string key, string? comment = null) => On(name, (draft, setting) => draft.Take(setting, key,
        comment));

    /// <summary>Settings that need none.</summary>
    public MigrationRules None(string why, params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
            On(name, (draft, setting) => draft.Leave(setting, why));
        return this;
    }

    /// <summary>Settings that another one has read already.</summary>
    public MigrationRules Read(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
            On(name, (_, _) => { });
        return this;
    }

    /// <summary>A setting that something of its own becomes of.</summary>
    public MigrationRules On(string name, Action<MigrationDraft, ForeignKey> rule)
    {
        _rules.Add(name, rule);
        return this;
    }

    /// <summary>The names of <c>report_to</c> that are honoured here; the others are told.</summary>
    public MigrationRules Reports() => On("report_to", (draft, setting) =>
    {
        string[] known = [.. setting.Texts.Where(ReportTargets.Names.Contains)];
        if (known.Length < setting.Texts.Count)
            draft.Leave(setting, Trackers);
        if (known.Length > 0)
            draft.SetTexts("report_to", null, known);
    });

    /// <summary>Applies the rules; a name without one that is a key of ours is that key, and any other is told.</summary>
    public void Apply(MigrationDraft draft, IEnumerable<ForeignKey> settings)
    {
        foreach (var setting in settings.Where(setting => !setting.IsEmpty))
            if (_rules.TryGetValue(setting.Name, out var rule))
                draft.Within(setting, rule);
            else
                draft.Take(setting, setting.Name);
    }
}
