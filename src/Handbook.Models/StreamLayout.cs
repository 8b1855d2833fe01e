using Handbook.Torch;
using Handbook.Torch.Kernels;

namespace Handbook.Models;

/// <summary>A flat batch as the network's layers need it: tokens, positions and the segment table; made once per batch,
/// read by all layers.</summary>
public sealed class StreamLayout
{
    private StreamLayout(int[] tokens, int[] positions, SegmentTable segments)
    {
        Tokens = tokens;
        Positions = positions;
        Segments = segments;
        foreach (var position in positions)
            Length = Math.Max(Length, position + 1);
    }

    /// <summary>Token ids; [N].</summary>
    internal Mirrored<int> Tokens { get; }

    /// <summary>Positions; [N].</summary>
    internal Mirrored<int> Positions { get; }

    internal SegmentTable Segments { get; }

    /// <summary>N, number of tokens.</summary>
    public int Count => Tokens.Count;

    /// <summary>Largest position + 1.</summary>
    public int Length { get; }

    /// <param name="tokens">Token ids; [N].</param>
    /// <param name="positions">Position of each token within its row; [N].</param>
    /// <param name="segments">Start, length and parent (-1 for none) of each run of tokens; [S].</param>
    public static StreamLayout Of(int[] tokens, int[] positions, IReadOnlyList<(int Start, int Length, int Parent)> segments)
    {
        var (start, length, parent) = (new int[segments.Count], new int[segments.Count], new int[segments.Count]);
        for (var s = 0; s < segments.Count; s++)
            (start[s], length[s], parent[s]) = segments[s];
        return new(tokens, positions, SegmentTable.Create(start, length, parent, positions));
    }

    /// <summary>Separate sequences, one root segment each, with positions from 0.</summary>
    public static StreamLayout Of(IReadOnlyList<int[]> sequences)
    {
        var (start, length, parent) = (new int[sequences.Count], new int[sequences.Count], new int[sequences.Count]);
        var tokens = new int[sequences.Sum(s => s.Length)];
        var positions = new int[tokens.Length];
        var next = 0;
        for (var s = 0; s < sequences.Count; s++)
        {
            (start[s], length[s], parent[s]) = (next, sequences[s].Length, -1);
            foreach (var token in sequences[s])
            {
                tokens[next] = token;
                positions[next] = next - start[s];
                next++;
            }
        }
        return new(tokens, positions, SegmentTable.Create(start, length, parent, positions));
    }
}
