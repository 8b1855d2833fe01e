using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Methods;

/// <summary>What differs between the training methods: which loss a batch has, what it is divided by, and what is measured.</summary>
/// <remarks>The loop sums the parts of a step and divides once, by <see cref="Normaliser"/> over the whole step.</remarks>
public interface ITrainingMethod
{
    /// <summary>The method's command, e.g. <c>sft</c>.</summary>
    string Name { get; }

    /// <summary>What these rows add to the divisor of the step's loss.</summary>
    double Normaliser(TokenRow row);

    /// <summary>The part of a step's loss that a batch contributes, already divided by the normaliser; backward reaches it with the gradient 1.</summary>
    /// <param name="model">The model, in training or frozen.</param>
    /// <param name="batch">Tokens, targets and weights.</param>
    /// <param name="stream">The same batch as the network reads it.</param>
    /// <param name="options">How to run the network.</param>
    /// <param name="normaliser">Sum of <see cref="Normaliser"/> over the whole step.</param>
    /// <param name="metrics">Receives sums and counts.</param>
    /// <returns>One number, float64; null where the batch has nothing to learn from.</returns>
    Tensor? Loss(Decoder model, TokenBatch batch, StreamLayout stream, ForwardOptions options, double normaliser, MetricSums metrics);
}
