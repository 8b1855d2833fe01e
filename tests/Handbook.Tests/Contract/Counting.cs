using Handbook.Data;
using Handbook.Methods;
using Handbook.Models;
using Handbook.Torch;

namespace Handbook.Tests.Contract;

/// <summary>A method that calls back after so many batches, and otherwise does what the inner one does.</summary>
internal sealed class Counting(ITrainingMethod inner, Action callback, int every) : ITrainingMethod
{
    private int _batches;

    public string Name => inner.Name;

    public double Normaliser(TokenRow row) => inner.Normaliser(row);

    public Tensor? Loss(Decoder model, TokenBatch batch, StreamLayout stream, ForwardOptions options, double normaliser, MetricSums metrics)
    {
        if (++_batches % every == 0)
            callback();
        return inner.Loss(model, batch, stream, options, normaliser, metrics);
    }
}
