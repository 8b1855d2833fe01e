using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Torch.Fused;
using Handbook.Torch.Kernels;

namespace Handbook.Models;

/// <summary>A flat batch as the network's layers need it: tokens, positions and the segment table; made once per batch,
/// read by all layers.</summary>
/// <remarks>Where several processes share a batch, these are the tokens of one of them, with their places in the whole.</remarks>
public sealed class StreamLayout
{
    private readonly Func<int, AttentionRing> _ring;
    private (int Size, AttentionRing Ring)? _chunked;

    /// <param name="ring">Who sees whom where tokens see their chunk alone; 0: all before them.</param>
    private StreamLayout(int[] tokens, int[] positions, Func<int, AttentionRing> ring, StreamCut? cut = null)
    {
        Tokens = cut is null ? tokens : cut.Select(tokens);
        Positions = cut is null ? positions : cut.Select(positions);
        (Ring, _ring) = (ring(0), ring);
        Cut = cut;
        foreach (var position in positions)
            Length = Math.Max(Length, position + 1);
    }

    /// <summary>Token ids; [N].</summary>
    internal Mirrored<int> Tokens { get; }

    /// <summary>Positions; [N].</summary>
    internal Mirrored<int> Positions { get; }

    /// <summary>Who sees whom.</summary>
    internal AttentionRing Ring { get; }

    /// <summary>Who sees whom where tokens see their chunk alone.</summary>
    /// <param name="chunk">Tokens of a chunk; 0 for no chunks.</param>
    internal AttentionRing RingOf(int chunk)
    {
        if (chunk == 0 || Length <= chunk)
            return Ring;
        if (_chunked?.Size != chunk)
            _chunked = (chunk, _ring(chunk));
        return _chunked.Value.Ring;
    }

    /// <summary>Which tokens of the batch these are; null for all of them.</summary>
    internal StreamCut? Cut { get; }

    /// <summary>N, number of tokens.</summary>
    public int Count => Tokens.Count;

    /// <summary>Largest position of the whole batch + 1.</summary>
    public int Length { get; }

    /// <param name="tokens">Token ids; [N].</param>
    /// <param name="positions">Position of each token within its row; [N].</param>
    /// <param name="segments">Start, length and parent (-1 for none) of each run of tokens; [S].</param>
    public static StreamLayout Of(int[] tokens, int[] positions, IReadOnlyList<(int Start, int Length, int Parent)> segments) =>
        Of(tokens, positions, segments, null);

    /// <param name="group">Who computes a part of the tokens each; null for this process alone.</param>
    /// <inheritdoc cref="Of(int[], int[], IReadOnlyList{ValueTuple{int, int, int}})"/>
    internal static StreamLayout Of(int[] tokens, int[] positions, IReadOnlyList<(int Start, int Length, int Parent)> segments,
        ContextGroup? group)
    {
        if (group is null)
            return new(tokens, positions, chunk => Columns(Chunks(segments, positions, chunk)) is var (start, length, parent)
                ? new AttentionRing(SegmentTable.Create(start, length, parent, positions)) : null!);
        TokenPieces[] parts = [.. Enumerable.Range(0, group.Size).Select(rank => TokenPieces.ZigZag(rank, group.Size, tokens.Length))];
        return new(tokens, positions, chunk => Columns(Chunks(segments, positions, chunk)) is var (start, length, parent)
            ? AttentionRing.Of(group, parts, start, length, parent, positions) : null!,
            new StreamCut(group, parts[group.Rank], tokens.Length));
    }

    private static (int[] Start, int[] Length, int[] Parent) Columns(IReadOnlyList<(int Start, int Length, int Parent)> segments) =>
        ([.. segments.Select(segment => segment.Start)], [.. segments.Select(segment => segment.Length)],
            [.. segments.Select(segment => segment.Parent)]);

    /// <summary>The segments cut where chunks begin: a part continues what stands before it in its own chunk, and nothing else.</summary>
    private static IReadOnlyList<(int Start, int Length, int Parent)> Chunks(IReadOnlyList<(int Start, int Length, int Parent)> segments,
        int[] positions, int chunk)
    {
        if (chunk == 0)
            return segments;
        var parts = new List<(int Start, int Length, int Parent)>();
        var last = new int[segments.Count];
        for (var s = 0; s < segments.Count; s++)
        {
            var (start, length, parent) = segments[s];
            for (int from = start, to; from < start + length; from = to)
            {
                to = Math.Min(start + length, from + chunk - positions[from] % chunk);
                parts.Add((from, to - from, from == start && parent >= 0 && positions[from] % chunk != 0 ? last[parent] : -1));
            }
            last[s] = parts.Count - 1;
        }
        return parts;
    }

    /// <summary>Separate sequences, one root segment each, with positions from 0.</summary>
    public static StreamLayout Of(IReadOnlyList<int[]> sequences)
    {
        var segments = new (int Start, int Length, int Parent)[sequences.Count];
        var tokens = new int[sequences.Sum(s => s.Length)];
        var positions = new int[tokens.Length];
        var next = 0;
        for (var s = 0; s < sequences.Count; s++)
        {
            segments[s] = (next, sequences[s].Length, -1);
            foreach (var token in sequences[s])
            {
                tokens[next] = token;
                positions[next] = next - segments[s].Start;
                next++;
            }
        }
        return Of(tokens, positions, segments);
    }
}
