using Handbook.Data;
using Handbook.Models;
using Handbook.Torch.Distributed;

namespace Handbook.Training.Methods;

/// <summary>From rows as the data has them to what a network reads.</summary>
internal static class BatchLayout
{
    /// <summary>The batch's tokens, positions and segments.</summary>
    /// <param name="group">Who computes a part of the tokens each; null for this process alone.</param>
    public static StreamLayout Stream(this TokenBatch batch, ContextGroup? group = null) =>
        StreamLayout.Of(batch.Tokens, batch.Positions,
            [.. batch.Segments.Select(segment => (segment.Start, segment.Length, segment.Parent))], group);
}
