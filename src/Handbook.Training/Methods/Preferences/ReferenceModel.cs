using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Plans;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The model that a run compares its policy with: the one that it names, or else the one that it began with.</summary>
/// <remarks>Where adapters are trained, the one that it began with costs nothing: it is the same weights without the adapter, or with the
/// adapter as it stood at the start.</remarks>
internal sealed class ReferenceModel
{
    private readonly MethodStart _start;
    private readonly ModelSource? _named;

    public ReferenceModel(MethodStart start)
    {
        _start = start;
        _named = start.Run.Preference.RefModelNameOrPath is { } named ? ModelSource.Find(named, "ref_model_name_or_path") : null;
    }

    /// <summary>Where it lies, for messages.</summary>
    public string Folder => _named?.Top ?? (Adapters.Count > 0 ? Adapters[^1] : _start.InitialFolder);

    /// <summary>The folders whose files decide what it computes.</summary>
    public IReadOnlyList<string> Folders => _named is { } other ? [other.Folder, .. other.Adapters] : [_start.InitialFolder, .. Adapters];

    /// <summary>In how many bits its weights are kept where that is not their file's doing; empty otherwise.</summary>
    public string Storage => $"{(_named is { } other ? other.Recorded : _start.Run.Quantisation.Quantisation(_start.Model.Compute))}";

    private IReadOnlyList<string> Adapters => AdapterPlan.ReferenceFolders(_start.Run, _start.Source);

    /// <summary>Whether it has the weights that the policy began with, under whatever path.</summary>
    public bool IsInitial => _named is not { } other ? !IsRounded : other.Adapters.Count == 0 && Adapters.Count == 0
        && ReferenceScores.AreSameWeights(other.Folder, _start.InitialFolder, CacheFolder.Default);

    /// <summary>Whether the policy's weights of now are its own.</summary>
    public bool IsPolicy => _start.IsFresh && (_named is not { } other ? !IsRounded : other.Adapters.Count == 0
        && Adapters.Count == 0 && Path.GetFullPath(other.Folder) == Path.GetFullPath(_start.InitialFolder));

    /// <summary>Whether the policy began with an adapter that it rounded, while the reference is the adapter itself.</summary>
    private bool IsRounded => _start.Run.Adapter.AdapterNameOrPath is not null
        && _start.Model.Parameters.Plan.Adapters.Any(adapter => adapter.IsBFloat16);

    /// <summary>Opens it as long as it is needed.</summary>
    public Decoder Load() => _named is { } other
        ? other.Load(other.Config(), _start.Model.Compute, load: QuantisedCache.Loader(other, _start.Observer), like: Policy) : LoadInitial();

    /// <summary>Opens the model that the run began with.</summary>
    public Decoder LoadInitial() => _start.Initial()
        ?? _start.Source.Load(_start.Source.Config(), _start.Model.Compute, like: Policy);

    private ParameterPlan Policy => _start.Model.Parameters.Plan;

    /// <summary>Opens it for the whole run; with <c>sync_ref_model</c> it follows the policy.</summary>
    /// <param name="why">Behind "kept in memory", why it has to be; empty for nothing.</param>
    public LiveReference Keep(string why = "")
    {
        var keys = _start.Run.Preference;
        if (_named is null && _start.Initial() is { } initial)
        {
            _start.Observer.Said("reference: the same weights "
                + (_start.Run.Adapter.AdapterNameOrPath is { } begun ? $"with the adapter as {begun} has it" : "without the adapter")
                + $", which costs no memory{why}");
            return new LiveReference(initial);
        }
        if (keys.SyncRefModel && _named is { Adapters.Count: > 0 } adapted)
            throw new InputException($"sync_ref_model: the reference {adapted.Name} is an adapter of {adapted.Folder}",
                why: "its weights cannot follow those of a policy that is trained whole",
                fix: $"merge it first (handbook merge {adapted.Name} --out FOLDER), or remove sync_ref_model");
        _start.Observer.Said($"reference: {Folder}, kept in memory{why}"
            + (keys.SyncRefModel ? $"; takes {keys.RefModelMixupAlpha:g} of the policy every {keys.RefModelSyncSteps} steps" : ""));
        if (!keys.SyncRefModel)
            return new LiveReference(Load());
        using var weights = ModelWeights.Open(Folder, PublishedConfig.Load(Folder), fused: true);
        return new LiveReference(Decoder.Load(weights, ParameterPlan.Resident(weights.Parameters, DType.Float32, _start.Model.Compute)
            .Beside(Policy)),
            keys.RefModelSyncSteps, keys.RefModelMixupAlpha);
    }
}
