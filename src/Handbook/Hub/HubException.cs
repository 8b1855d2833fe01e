using Handbook.Base;

namespace Handbook.Hub;

/// <summary>What stands between a request and its answer.</summary>
internal enum HubProblem
{
    /// <summary>Nobody answers at the address.</summary>
    Unreachable,

    /// <summary>No token was sent, or one that the hub does not know.</summary>
    Unauthorized,

    /// <summary>Its conditions have to be accepted first.</summary>
    Gated,

    /// <summary>The token does not allow it.</summary>
    Forbidden,

    /// <summary>There is no such repository, or it is private.</summary>
    NoRepository,

    /// <summary>The repository has no such revision.</summary>
    NoRevision,

    /// <summary>The revision has no such file.</summary>
    NoFile,

    /// <summary>Too many requests, for longer than is worth waiting.</summary>
    Busy,

    /// <summary>The hub itself fails.</summary>
    Server,

    /// <summary>Somebody else has changed the repository meanwhile, or it is there already.</summary>
    Conflict,

    /// <summary>What arrived is not what was announced.</summary>
    Damaged,

    /// <summary>The answer is none that a hub gives.</summary>
    Protocol,
}

/// <summary>A request to the hub that failed for good.</summary>
internal sealed class HubException(HubProblem problem, string what, string? why, string? fix, Exception? inner = null)
    : InputException(what, why, fix, inner)
{
    /// <summary>What kind of failure it is.</summary>
    public HubProblem Problem { get; } = problem;

    /// <summary>Whether another attempt in a while may succeed with nothing changed.</summary>
    public bool MayPass => Problem is HubProblem.Unreachable or HubProblem.Busy or HubProblem.Server or HubProblem.Damaged;
}
