namespace Handbook.Training.Distributed;

/// <summary>A rank is gone, silent or gave up, and with it the job; every rank hears the same words.</summary>
/// <param name="rank">The rank; −1 where it is the launcher's store.</param>
/// <param name="host">Where it ran.</param>
/// <param name="cause">What happened to it.</param>
/// <param name="canFix">Whether it is a mistake that the user can mend, as every rank then says.</param>
internal sealed class RankFailedException(int rank, string host, string cause, bool canFix = false)
    : Exception((rank < 0 ? $"the launcher's store on {host}" : $"rank {rank} on {host}") + $" ended the job: {cause}")
{
    /// <summary>The rank; −1 where it is the launcher's store.</summary>
    public int Rank => rank;

    /// <summary>Where it ran.</summary>
    public string Host => host;

    /// <summary>What happened to it.</summary>
    public string Cause => cause;

    /// <summary>Whether it is a mistake that the user can mend.</summary>
    public bool CanFix => canFix;

    /// <summary>As it lies in the store.</summary>
    internal string ToText() => $"{rank}\n{host}\n{(canFix ? "mend" : "")}\n{cause}";

    internal static RankFailedException FromText(string text)
    {
        var parts = text.Split('\n', 4);
        return new(int.Parse(parts[0]), parts[1], parts[3], parts[2].Length > 0);
    }
}
