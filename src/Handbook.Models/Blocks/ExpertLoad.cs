using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>How the tokens of one stream are spread over the experts of every layer, and what a loss over that spread asks of the routers.</summary>
public sealed class ExpertLoad
{
    private readonly RouterTally[] _layers;

    /// <param name="layers">L.</param>
    /// <param name="experts">E.</param>
    /// <param name="weights">How much each token of the stream counts; [N].</param>
    /// <param name="derivatives">In the backward pass: the loss's derivative by Σ weight · p of an expert, the same for every layer; [E].</param>
    public ExpertLoad(int layers, int experts, float[] weights, Func<double[]> derivatives)
    {
        _layers = [.. Enumerable.Range(0, layers).Select(_ => new RouterTally(weights, experts, derivatives))];
        foreach (var weight in weights)
            Weight += weight;
    }

    /// <summary>Sum of the tokens' weights.</summary>
    public double Weight { get; }

    /// <summary>Whether the network has read the stream, so that the sums below are known.</summary>
    public bool IsKnown { get; internal set; }

    /// <summary>Whether it was read for a backward pass, which then carries the loss's gradient.</summary>
    public bool IsInGraph { get; internal set; }

    internal RouterTally Layer(int layer) => _layers[layer];

    /// <summary>Σ weight over the visits to an expert, in all layers.</summary>
    public double Taken(int expert) => _layers.Sum(layer => layer.Taken[expert]);

    /// <summary>Σ weight · p of an expert, over all tokens and layers.</summary>
    public double Probability(int expert) => _layers.Sum(layer => layer.Probability[expert]);
}
