using Handbook.Torch.Kernels;

namespace Handbook.Torch.Cuda;

/// <summary>A batch's segments as the kernels of a GPU walk over them: blocks of rows on one side, and for each the segments on the other side
/// that have to do with it.</summary>
/// <remarks>
/// <code>
/// blocks   [., 5]   first token, how many, place of the first in its chain, first entry of its list, entries
/// lists    [., 3]   first token, how many, place of the first
/// </code>
/// Made once for a batch, sent once to a device, used by all layers.
/// </remarks>
internal sealed class CudaSegments
{
    /// <summary>Rows of a block.</summary>
    public const int BlockRows = 32;

    public CudaSegments(SegmentTable table)
    {
        var queryLists = new List<int>();
        var (queries, keys, seers) = (new List<int>(), new List<int>(), new List<SegmentPlace>[table.Keys.Length]);
        foreach (var segment in table.Segments)
        {
            Cut(segment, queries, queryLists.Count / 3, segment.Depth);
            for (var link = segment.Chain; link < segment.Chain + segment.Depth; link++)
            {
                Add(queryLists, table.Keys[table.Chains[link]]);
                (seers[table.Chains[link]] ??= []).Add(segment);
            }
        }
        var keyLists = new List<int>();
        for (var key = 0; key < seers.Length; key++)
        {
            Cut(table.Keys[key], keys, keyLists.Count / 3, seers[key]?.Count ?? 0);
            foreach (var segment in seers[key] ?? [])
                Add(keyLists, segment);
        }
        // A list that nobody looks into is still an address.
        QueryBlocks = queries.ToArray();
        QueryLists = (int[])[.. queryLists, 0, 0, 0];
        KeyBlocks = keys.ToArray();
        KeyLists = (int[])[.. keyLists, 0, 0, 0];
    }

    /// <summary>Blocks of queries, with what they see.</summary>
    public Mirrored<int> QueryBlocks { get; }

    public Mirrored<int> QueryLists { get; }

    /// <summary>Blocks of keys, with who sees them.</summary>
    public Mirrored<int> KeyBlocks { get; }

    public Mirrored<int> KeyLists { get; }

    /// <summary>Number of blocks of queries.</summary>
    public int QueryBlockCount => QueryBlocks.Count / 5;

    /// <summary>Number of blocks of keys.</summary>
    public int KeyBlockCount => KeyBlocks.Count / 5;

    private static void Cut(SegmentPlace segment, List<int> blocks, int firstEntry, int entries)
    {
        for (var i = 0; i < segment.Length; i += BlockRows)
            blocks.AddRange([segment.Start + i, Math.Min(BlockRows, segment.Length - i), segment.Offset + i, firstEntry, entries]);
    }

    private static void Add(List<int> lists, SegmentPlace segment) => lists.AddRange([segment.Start, segment.Length, segment.Offset]);
}
