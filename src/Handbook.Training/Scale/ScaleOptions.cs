namespace Handbook.Training.Scale;

/// <summary>What a plan of many processes is asked.</summary>
internal sealed record ScaleOptions
{
    /// <summary>How many processes; each is planned by itself.</summary>
    public required IReadOnlyList<int> Worlds { get; init; }

    public required NetworkSpeed Network { get; init; }

    /// <summary>Tokens that one process computes in a second while it waits for nothing, forward and back; null where it is not known.</summary>
    public double? Rate { get; init; }

    /// <summary>Operations that one process computes in a second, from which <see cref="Rate"/> follows where it is null.</summary>
    public double? Operations { get; init; }

    /// <summary>Bytes of memory that a process has; null where it does not matter.</summary>
    public long? Memory { get; init; }

    /// <summary>How often a process goes through the network and back in a step; null as rows of full length are laid into bins.</summary>
    public int? Passes { get; init; }

    /// <summary>What is known of the rows; null where they were not read.</summary>
    public RowForecast? Rows { get; init; }

    /// <summary>Bytes of a process that hold no tensors.</summary>
    public long Program { get; init; }

    /// <summary>Tokens of a row; null for the longest that the recipe lets pass.</summary>
    public int? RowTokens { get; init; }
}
