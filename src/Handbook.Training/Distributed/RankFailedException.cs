namespace Handbook.Training.Distributed;

/// <summary>A rank is gone, silent or gave up, and with it the job; every rank hears the same words.</summary>
/// <param name="rank">The rank; −1 where it is the launcher's store.</param>
/// <param name="host">Where it ran.</param>
/// <param name="cause">What happened to it.</param>
internal sealed class RankFailedException(int rank, string host, string cause)
    : Exception((rank < 0 ? $"the launcher's store on {host}" : $"rank {rank} on {host}") + $" ended the job: {cause}")
{
    /// <summary>The rank; −1 where it is the launcher's store.</summary>
    public int Rank => rank;

    /// <summary>Where it ran.</summary>
    public string Host => host;

    /// <summary>What happened to it.</summary>
    public string Cause => cause;

    /// <summary>As it lies in the store.</summary>
    internal string ToText() => $"{rank}\n{host}\n{cause}";

    internal static RankFailedException FromText(string text)
    {
        var parts = text.Split('\n', 3);
        return new(int.Parse(parts[0]), parts[1], parts[2]);
    }
}
