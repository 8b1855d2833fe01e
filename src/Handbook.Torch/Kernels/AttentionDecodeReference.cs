namespace Handbook.Torch.Kernels;

/// <summary>Attention over caches by its formula, in float64: serves float64.</summary>
internal readonly unsafe struct AttentionDecodeReference<T>(CachedSequence<T>* sequences, AttentionShape shape, TokenRows<T> query,
    TokenRows<T> output, double* sinks) : IParallelBody where T : unmanaged
{
    public void Invoke(int index)
    {
        var sequence = sequences[index];
        var (size, valueSize) = (shape.HeadSize, shape.ValueSize);
        var scores = new double[sequence.Length];
        for (var token = 0; token < sequence.Queries; token++)
            for (var head = 0; head < shape.Heads; head++)
            {
                var place = sequence.Length - sequence.Queries + token;
                var first = shape.FirstSeen(place);
                long row = sequence.FirstQuery + token;
                var keyHead = head / shape.Group;
                var top = sinks == null ? double.NegativeInfinity : sinks[head];
                for (var k = first; k <= place; k++)
                {
                    var dot = 0.0;
                    var segment = sequence.At(k, out var at);
                    for (var e = 0; e < size; e++)
                        dot += Lanes.Get(query.Data, row * query.Stride + head * size + e) * Lanes.Get(segment.Key.At(at, keyHead), e);
                    dot *= shape.Scale;
                    if (shape.DistanceSlopes is { } slopes)
                        dot += (double)slopes[head] * (k - place);
                    scores[k] = shape.SoftCap > 0 ? shape.SoftCap * Math.Tanh(dot / shape.SoftCap) : dot;
                    top = Math.Max(top, scores[k]);
                }
                var total = sinks == null ? 0 : Math.Exp(sinks[head] - top);
                for (var k = first; k <= place; k++)
                    total += scores[k] = Math.Exp(scores[k] - top);
                for (var e = 0; e < valueSize; e++)
                {
                    var sum = 0.0;
                    for (var k = first; k <= place; k++)
                    {
                        var segment = sequence.At(k, out var at);
                        sum += scores[k] * Lanes.Get(segment.Value.At(at, keyHead), e);
                    }
                    Lanes.Set(output.Data, row * output.Stride + head * valueSize + e, sum / total);
                }
            }
    }
}
