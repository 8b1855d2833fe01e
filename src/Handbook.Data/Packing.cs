using Handbook.Base;
using Handbook.Data.RandomNumbers;

namespace Handbook.Data;

/// <summary>Puts several rows into one: fewer, fuller rows for the same tokens.</summary>
internal static class Packing
{
    /// <summary>Rows that are packed among one another; the reference packs within batches of its <c>map</c>.</summary>
    public const int GroupSize = 1000;

    /// <summary><c>bfd</c>, formerly <c>ffd</c>: whole rows, longest first, each into the fullest packed row that still has room;
    /// rows keep their borders.</summary>
    /// <param name="rows">Rows of one part.</param>
    /// <param name="blockSize">Most tokens in a packed row; longer rows are cut at their end.</param>
    public static ITokenRows BestFit(ITokenRows rows, int blockSize)
    {
        RequireBlock(blockSize);
        var packed = new List<int[]>();
        for (var start = 0; start < rows.Count; start += GroupSize)
        {
            var lengths = new int[Math.Min(GroupSize, rows.Count - start)];
            for (var i = 0; i < lengths.Length; i++)
                lengths[i] = Math.Min(rows.Length(start + i), blockSize);
            foreach (var bin in Bins(lengths, blockSize))
            {
                for (var i = 0; i < bin.Length; i++)
                    bin[i] += start;
                packed.Add(bin);
            }
        }
        return new JoinedRows(rows, packed, blockSize);
    }

    /// <summary><c>wrapped</c>: the rows of a group as one stream, cut into blocks; the last may be short, and rows
    /// lose their borders.</summary>
    public static ITokenRows Wrapped(ITokenRows rows, int blockSize)
    {
        RequireBlock(blockSize);
        var stream = new TokenStream(rows);
        var blocks = new List<(long Start, int Length)>();
        for (var start = 0; start < rows.Count; start += GroupSize)
        {
            var end = stream.StartOf(Math.Min(start + GroupSize, rows.Count));
            for (var at = stream.StartOf(start); at < end; at += blockSize)
                blocks.Add((at, (int)Math.Min(blockSize, end - at)));
        }
        return new BlockRows(stream, blocks);
    }

    /// <summary>Constant-length packing of the handbook's first revision: buffers of texts as one stream, cut into full blocks, the tail of
    /// each buffer dropped, its blocks shuffled.</summary>
    /// <param name="rows">Rows of one part, with the end token already at the end of each where it is wanted.</param>
    /// <param name="blockSize">Exact number of tokens in a packed row.</param>
    /// <param name="seed">Seed of Python's <c>random</c>, which shuffles the blocks.</param>
    public static ITokenRows ConstantLength(ITokenRows rows, int blockSize, long seed)
    {
        RequireBlock(blockSize);
        var stream = new TokenStream(rows);
        var random = new PythonRandom(seed);
        var blocks = new List<(long, int)>();
        var bufferSize = blockSize * 3.6 * 1024;                // characters: 3.6 to a token, 1024 blocks to a buffer
        for (var row = 0; row < rows.Count;)
        {
            var start = stream.StartOf(row);
            long characters = 0;
            while (row < rows.Count && characters < bufferSize)
                characters += rows.Characters(row++);
            var count = (int)((stream.StartOf(row) - start) / blockSize);
            var buffer = new (long, int)[count];
            for (var i = 0; i < count; i++)
                buffer[i] = (start + ((long)i * blockSize), blockSize);
            random.Shuffle<(long, int)>(buffer);
            blocks.AddRange(buffer);
        }
        if (blocks.Count == 0)
            throw TooFew(stream.StartOf(rows.Count), blockSize);
        return new BlockRows(stream, blocks);
    }

    /// <summary>What is said where the rows do not fill one row.</summary>
    internal static InputException TooFew(long tokens, int blockSize) =>
        new($"all rows together have {tokens} tokens, not enough for one packed row of {blockSize}",
        why: "constant-length packing keeps full rows only", fix: "set packing: false, or a smaller max_length, or give more data");

    /// <summary>Best-fit decreasing: item numbers of each bin, bins in the order in which they were opened, items in the order in
    /// which they were put in.</summary>
    /// <param name="lengths">Size of each item.</param>
    /// <param name="capacity">Most that a bin may hold; an item that is larger has a bin for itself.</param>
    public static List<int[]> Bins(ReadOnlySpan<int> lengths, int capacity)
    {
        var items = new int[lengths.Length];
        var keys = new long[lengths.Length];
        for (var i = 0; i < items.Length; i++)
            (items[i], keys[i]) = (i, ((long)-lengths[i] << 32) | (uint)i);     // longest first, equal ones in their order
        Array.Sort(keys, items);

        var bins = new List<List<int>>();
        var space = new List<int>();
        foreach (var item in items)
        {
            var best = -1;
            for (var bin = 0; bin < space.Count; bin++)
                if (space[bin] >= lengths[item] && (best < 0 || space[bin] < space[best]))
                    best = bin;
            if (best < 0)
            {
                best = bins.Count;
                bins.Add([]);
                space.Add(capacity);
            }
            bins[best].Add(item);
            space[best] -= lengths[item];
        }
        return bins.ConvertAll(bin => bin.ToArray());
    }

    private static void RequireBlock(int blockSize)
    {
        if (blockSize < 1)
            throw new InputException($"max_length is {blockSize}, but packing needs a length of at least 1",
                fix: "set max_length, e.g. max_length: 2048");
    }

    /// <summary>Packed rows that keep the parts of their rows.</summary>
    private sealed class JoinedRows(ITokenRows rows, List<int[]> packed, int blockSize) : ITokenRows
    {
        public int Count => packed.Count;

        public int Length(int row)
        {
            var length = 0;
            foreach (var part in packed[row])
                length += Math.Min(rows.Length(part), blockSize);
            return length;
        }

        public int Characters(int row) => packed[row].Sum(rows.Characters);

        public TokenRow Read(int row)
        {
            var segments = new TokenSegment[packed[row].Length];
            for (var i = 0; i < segments.Length; i++)
            {
                var segment = OnlyPart(rows, packed[row][i]);
                var length = Math.Min(segment.Ids.Length, blockSize);
                segments[i] = segment with { Ids = segment.Ids[..length], Loss = segment.Loss[..length] };
            }
            return new TokenRow { Segments = segments, Characters = Characters(row) };
        }
    }

    /// <summary>Packed rows that are blocks of one stream of tokens.</summary>
    private sealed class BlockRows(TokenStream stream, List<(long Start, int Length)> blocks) : ITokenRows
    {
        public int Count => blocks.Count;

        public int Length(int row) => blocks[row].Length;

        public int Characters(int row) => 0;

        public TokenRow Read(int row)
        {
            var (start, length) = blocks[row];
            return stream.Read(start, length);
        }
    }

    /// <summary>The tokens of all rows as one stream, by place.</summary>
    private sealed class TokenStream
    {
        private readonly ITokenRows _rows;
        private readonly long[] _starts;

        public TokenStream(ITokenRows rows)
        {
            _rows = rows;
            _starts = new long[rows.Count + 1];
            for (var i = 0; i < rows.Count; i++)
                _starts[i + 1] = _starts[i] + rows.Length(i);
        }

        public long StartOf(int row) => _starts[row];

        public TokenRow Read(long start, int length)
        {
            var ids = new int[length];
            var loss = new byte[length];
            var row = Array.BinarySearch(_starts, start);
            row = row < 0 ? ~row - 1 : row;
            while (row + 1 < _starts.Length - 1 && _starts[row + 1] == start)      // empty rows share their start with the next
                row++;
            for (var filled = 0; filled < length; row++)
            {
                if (_rows.Length(row) == 0)
                    continue;
                var part = OnlyPart(_rows, row);
                var from = (int)(start + filled - _starts[row]);
                var count = Math.Min(part.Ids.Length - from, length - filled);
                part.Ids.Slice(from, count).CopyTo(ids.AsMemory(filled));
                part.Loss.Slice(from, count).CopyTo(loss.AsMemory(filled));
                filled += count;
            }
            return TokenRow.Single(ids, loss);
        }
    }

    private static TokenSegment OnlyPart(ITokenRows rows, int row)
    {
        var segments = rows.Read(row).Segments;
        return segments.Count == 1
            ? segments[0]
            : throw new InvalidOperationException($"row {row} has {segments.Count} parts; only rows of one part can be packed");
    }
}
