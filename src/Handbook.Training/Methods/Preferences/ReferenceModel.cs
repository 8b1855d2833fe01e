using Handbook.Data.Cache;
using Handbook.Models;
using Handbook.Models.Files;
using Handbook.Torch;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The model that a run compares its policy with: the one that it names, or else the one that it began with.</summary>
internal sealed class ReferenceModel
{
    private readonly MethodStart _start;

    public ReferenceModel(MethodStart start)
    {
        _start = start;
        Folder = start.Run.Preference.RefModelNameOrPath is { } named ? ModelFolder.Find(named, "ref_model_name_or_path")
            : start.InitialFolder;
    }

    /// <summary>Where it lies.</summary>
    public string Folder { get; }

    /// <summary>Whether it has the weights that the policy began with, under whatever path.</summary>
    public bool IsInitial => ReferenceScores.AreSameWeights(Folder, _start.InitialFolder, CacheFolder.Default);

    /// <summary>Whether the policy's current weights are its own.</summary>
    public bool IsPolicy => Path.GetFullPath(Folder) == Path.GetFullPath(_start.ModelFolder);

    /// <summary>Opens it, for as long as it is needed.</summary>
    public Decoder Load() => Load(Folder, _start.Model.Compute);

    /// <summary>A model that stays as it is, its weights in the file's own element type.</summary>
    /// <param name="compute">Element type of products.</param>
    public static Decoder Load(string folder, DType compute)
    {
        using var weights = ModelWeights.Open(folder, PublishedConfig.Load(folder), fused: true);
        return Decoder.Load(weights, ParameterPlan.Frozen(weights, compute));
    }

    /// <summary>Opens it for the whole run; with <c>sync_ref_model</c> it follows the policy.</summary>
    /// <param name="why">Behind "kept in memory", why it has to be; empty for nothing.</param>
    public LiveReference Keep(string why = "")
    {
        var keys = _start.Run.Preference;
        _start.Observer.Said($"reference: {Folder}, kept in memory{why}"
            + (keys.SyncRefModel ? $"; takes {keys.RefModelMixupAlpha:g} of the policy every {keys.RefModelSyncSteps} steps" : ""));
        if (!keys.SyncRefModel)
            return new LiveReference(Load());
        using var weights = ModelWeights.Open(Folder, PublishedConfig.Load(Folder), fused: true);
        return new LiveReference(Decoder.Load(weights, ParameterPlan.Resident(weights.Parameters, DType.Float32, _start.Model.Compute)),
            keys.RefModelSyncSteps, keys.RefModelMixupAlpha);
    }
}
