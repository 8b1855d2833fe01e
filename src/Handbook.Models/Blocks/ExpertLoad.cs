using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Blocks;

/// <summary>
/// How the tokens of one stream are spread over the experts of every layer: in numbers, and as tensors over which a loss can be taken.
/// </summary>
public sealed class ExpertLoad : IDisposable
{
    private readonly RouterTally[] _layers;
    private readonly Tensor?[] _spreads;

    /// <param name="layers">L.</param>
    /// <param name="experts">E.</param>
    /// <param name="weights">How much each token of the stream counts; [N].</param>
    public ExpertLoad(int layers, int experts, float[] weights)
    {
        _layers = [.. Enumerable.Range(0, layers).Select(_ => new RouterTally(weights, experts))];
        _spreads = new Tensor?[layers];
        foreach (var weight in weights)
            Weight += weight;
    }

    /// <summary>Sum of the tokens' weights.</summary>
    public double Weight { get; }

    /// <summary>Whether the network has read the stream, so that the sums below are known.</summary>
    public bool IsKnown { get; private set; }

    /// <summary>Whether it was read for a backward pass, so that a loss over the spread has a gradient.</summary>
    public bool IsInGraph { get; private set; }

    internal RouterTally Layer(int layer) => _layers[layer];

    /// <summary>Takes what a layer's router said of this stream; kept, with its graph, until it is taken.</summary>
    internal void Add(int layer, Tensor spread)
    {
        IsKnown = true;
        if (!spread.RequiresGrad)
            return;
        IsInGraph = true;
        _spreads[layer]?.Dispose();
        _spreads[layer] = TensorScope.Detach(spread);
    }

    /// <summary>
    /// The spreads of the layers, each [E], that were read for a backward pass. They are the caller's, who disposes them.
    /// </summary>
    public IReadOnlyList<Tensor> TakeSpreads()
    {
        Tensor[] taken = [.. _spreads.OfType<Tensor>()];
        Array.Clear(_spreads);
        return taken;
    }

    /// <summary>Σ weight over the visits to an expert, in all layers.</summary>
    public double Taken(int expert) => _layers.Sum(layer => layer.Taken[expert]);

    /// <summary>Σ weight · p of an expert, over all tokens and layers.</summary>
    public double Probability(int expert) => _layers.Sum(layer => layer.Probability[expert]);

    /// <summary>Frees the spreads that nobody took.</summary>
    public void Dispose()
    {
        foreach (var spread in TakeSpreads())
            spread.Dispose();
    }
}
