using Handbook.Data;
using Handbook.Models;

namespace Handbook.Training.Methods;

/// <summary>From rows as the data has them to what a network reads.</summary>
internal static class BatchLayout
{
    /// <summary>The batch's tokens, positions and segments.</summary>
    public static StreamLayout Stream(this TokenBatch batch) =>
        StreamLayout.Of(batch.Tokens, batch.Positions,
            [.. batch.Segments.Select(segment => (segment.Start, segment.Length, segment.Parent))]);
}
