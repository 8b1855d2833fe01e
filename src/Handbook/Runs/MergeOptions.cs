using Handbook.Torch;

namespace Handbook.Runs;

/// <summary>The weights that an adapter is merged into which was trained over codes.</summary>
public enum MergeTarget
{
    /// <summary>The values of the codes that it was trained over.</summary>
    Dequantised,

    /// <summary>The weights from which the codes were made.</summary>
    Original,
}

/// <summary>What an adapter is merged into, and where the merged model goes.</summary>
public sealed record MergeOptions
{
    /// <summary>The adapter's folder, or its name. Adapters below it are found, and merged as well.</summary>
    public required string Adapter { get; init; }

    /// <summary>The folder for the merged model; it is missing or empty.</summary>
    public required string Output { get; init; }

    /// <summary>The model below all adapters, where it no longer lies where they say; null for where they say.</summary>
    public string? Base { get; init; }

    /// <summary>Whether <see cref="Base"/> may have other weights than those that the adapter was trained on.</summary>
    public bool AllowOtherBase { get; init; }

    /// <summary>A file with texts to compare both models on, one a line; null for the built-in ones.</summary>
    public string? Probe { get; init; }

    /// <summary>The largest difference of a log-probability, in nats, that is let pass; null as <see cref="MergeDrift.Allowed"/> says.</summary>
    public double? MaxDrift { get; init; }

    /// <summary>Element type of the merged weights; null for the base's.</summary>
    public DType? DType { get; init; }

    /// <summary>What an adapter is merged into that was trained over codes; null for their values, which it was trained on.</summary>
    public MergeTarget? Into { get; init; }

    /// <summary>What the adapter is called in messages; null for its name.</summary>
    internal string? Shown { get; init; }
}

/// <summary>What came of a merge.</summary>
public sealed record MergeResult
{
    /// <summary>Where the model is.</summary>
    public required string Folder { get; init; }

    /// <summary>What it was made of, lowest first: names with the first letters of their hashes.</summary>
    public required string Chain { get; init; }

    /// <summary>Element type of its weights.</summary>
    public required DType DType { get; init; }

    /// <summary>Layers that are not the base's.</summary>
    public required int Changed { get; init; }

    /// <summary>Whether the base's head is its embedding, and the merged model's a matrix of its own.</summary>
    public required bool HasOwnHead { get; init; }

    /// <summary>Whether it is a reward model, whose scores were compared; of a language model, log-probabilities were.</summary>
    public required bool IsRewardModel { get; init; }

    /// <summary>Bytes of the weights.</summary>
    public required long Bytes { get; init; }

    /// <summary>How far the merged model is from the one with the adapter, as it was trained.</summary>
    public required MergeDrift Drift { get; init; }

    /// <summary>How the linear weights of the base were kept while the adapter was trained, e.g. <c>nf4</c>; null for as numbers. All
    /// differences are from the model with its base kept so.</summary>
    public string? TrainedOver { get; init; }

    /// <summary>What it was merged into; null where the base was never codes.</summary>
    public MergeTarget? Into { get; init; }

    /// <summary>How far the merge into the other of both would have been; null where there is no other.</summary>
    public MergeDrift? DriftOfOther { get; init; }

    /// <summary>The largest difference that was let pass.</summary>
    public required double Allowed { get; init; }
}
