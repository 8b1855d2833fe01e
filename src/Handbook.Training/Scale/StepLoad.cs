namespace Handbook.Training.Scale;

/// <summary>What one process computes in a step.</summary>
internal sealed record StepLoad
{
    /// <summary>How often it goes through the network and back.</summary>
    public int Passes { get; init; }

    /// <summary>Tokens of all passes together.</summary>
    public long Tokens { get; init; }

    /// <summary>The most of them that go through at once.</summary>
    public PassSize Largest { get; init; }

    /// <summary>Seconds of computing a step takes with nothing to wait for; 0 where the speed is not known.</summary>
    public double Seconds { get; init; }

    /// <summary>Whether layers are computed again on the way back.</summary>
    public bool Recomputes { get; init; }

    /// <summary>Whether the way back also computes gradients of all matrices: a third more products than with adapters alone.</summary>
    public bool TrainsMatrices { get; init; }

    /// <summary>The share of a pass's time that the way forward takes: products forward, of what comes back, and of gradients cost the
    /// same.</summary>
    public double ForwardShare => 1.0 / (2 + (Recomputes ? 1 : 0) + (TrainsMatrices ? 1 : 0));
}
