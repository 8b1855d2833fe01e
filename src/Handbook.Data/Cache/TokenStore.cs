using System.IO.MemoryMappedFiles;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>Tokenised rows in a mapped file: they are read where they lie, so the file may be larger than memory.</summary>
/// <remarks>
/// Layout, little-endian: the rows, one after the other, each <c>parts · (role, parent, length) per part · ids · loss bytes</c>, padded to
/// 4 bytes, and what is kept of the row itself, padded as well; then one <see cref="Entry"/> per row; then the summary as JSON; then the footer. A file without a whole footer is no store.
/// </remarks>
internal sealed unsafe class TokenStore : ITokenRows, IDisposable
{
    internal const ulong Magic = 0x33_4E454B4F544248;     // "HBTOKEN3"

    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly byte* _start;
    private readonly Entry* _entries;

    /// <summary>Where one row lies, and what is asked of it without reading it.</summary>
    [StructLayout(LayoutKind.Sequential, Pack = 4)]
    internal struct Entry
    {
        public long Offset;
        public long SourceRow;
        public double Margin;
        public int Tokens;
        public int Characters;
        public int Kept;
    }

    /// <summary>The end of the file.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Footer
    {
        public long EntriesOffset;
        public long SummaryOffset;
        public long Count;
        public ulong Magic;
    }

    private TokenStore(string path, MemoryMappedFile file, MemoryMappedViewAccessor view, byte* start, Footer footer, TokenSummary summary)
    {
        (Path, _file, _view, Summary) = (path, file, view, summary);
        _start = start;
        _entries = (Entry*)(start + footer.EntriesOffset);
        Count = checked((int)footer.Count);
    }

    public string Path { get; }

    public int Count { get; }

    /// <summary>What became of the source's rows.</summary>
    public TokenSummary Summary { get; }

    /// <summary>Opens a store; null where the file is absent or not whole.</summary>
    internal static TokenStore? TryOpen(string path)
    {
        var info = new FileInfo(path);
        if (!info.Exists || info.Length < sizeof(Footer))
            return null;
        var file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        var view = file.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        byte* start = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        var footer = Unsafe.ReadUnaligned<Footer>(start + info.Length - sizeof(Footer));
        var summaryEnd = info.Length - sizeof(Footer);
        if (footer.Magic == Magic && footer.SummaryOffset >= 0 && footer.SummaryOffset <= summaryEnd && footer.EntriesOffset >= 0
            && footer.EntriesOffset + (footer.Count * sizeof(Entry)) == footer.SummaryOffset)
            try
            {
                var json = new ReadOnlySpan<byte>(start + footer.SummaryOffset, (int)(summaryEnd - footer.SummaryOffset));
                return new TokenStore(path, file, view, start, footer, JsonSerializer.Deserialize<TokenSummary>(json)!);
            }
            catch (JsonException)
            {
                // Not whole: built again.
            }
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        file.Dispose();
        return null;
    }

    public int Length(int row) => At(row)->Tokens;

    public int Characters(int row) => At(row)->Characters;

    /// <summary>Number of the row in its source, from 0, unusable rows counted; rows that came from one have the same.</summary>
    public long SourceRow(int row) => At(row)->SourceRow;

    public TokenRow Read(int row)
    {
        var entry = At(row);
        var at = (int*)(_start + entry->Offset);
        var parts = *at++;
        var head = at;
        var ids = head + (3 * parts);
        var loss = (byte*)(ids + entry->Tokens);
        var segments = new TokenSegment[parts];
        for (var p = 0; p < parts; p++)
        {
            var length = head[(3 * p) + 2];
            segments[p] = new((SegmentRole)head[3 * p], head[(3 * p) + 1], new ReadOnlySpan<int>(ids, length).ToArray(),
                new ReadOnlySpan<byte>(loss, length).ToArray());
            ids += length;
            loss += length;
        }
        return new TokenRow { Segments = segments, Characters = entry->Characters, Margin = entry->Margin };
    }

    /// <summary>The row as it stands in its file.</summary>
    /// <exception cref="InvalidOperationException">Rows are not kept in this store.</exception>
    public SourceRow Source(int row)
    {
        var entry = At(row);
        if (entry->Kept == 0)
            throw new InvalidOperationException($"{Path} keeps no rows beside their tokens");
        var parts = *(int*)(_start + entry->Offset);
        var tokens = sizeof(int) * (1 + 3 * parts + entry->Tokens) + (entry->Tokens + 3) / 4 * 4;
        return KeptRow.Read(new ReadOnlySpan<byte>(_start + entry->Offset + tokens, entry->Kept));
    }

    public void Dispose()
    {
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _file.Dispose();
    }

    private Entry* At(int row)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(row);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(row, Count);
        return _entries + row;
    }
}
