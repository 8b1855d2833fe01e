using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;
using Handbook.Base.Files;
using Handbook.Data.Sources;

namespace Handbook.Data.Cache;

/// <summary>Writes a store row by row. It exists under its name whole or not at all: everything goes to a temporary file, which is
/// flushed and renamed.</summary>
internal sealed class TokenStoreWriter : IDisposable
{
    private readonly string _path;
    private readonly string _temporary;
    private readonly FileStream _rows;
    private readonly FileStream _entries;
    private bool _disposed;

    public TokenStoreWriter(string path)
    {
        _path = path;
        _temporary = WholeFile.Unfinished(path);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        _rows = new FileStream(_temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 20);
        _entries = new FileStream(_temporary + ".index", FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None, 1 << 16,
            FileOptions.DeleteOnClose);
    }

    public long Count { get; private set; }

    public long Tokens { get; private set; }

    public long LossTokens { get; private set; }

    /// <param name="sourceRow">Number of the row in its source, from 0.</param>
    /// <param name="said">The row as it stands in its file, where it is kept beside its tokens.</param>
    public void Add(TokenRow row, long sourceRow, SourceRow? said = null)
    {
        var kept = said is { } source ? KeptRow.Write(source) : [];
        var tokens = row.TokenCount;
        Write(_entries, new TokenStore.Entry
        {
            Offset = _rows.Position,
            SourceRow = sourceRow,
            Margin = row.Margin,
            Tokens = tokens,
            Characters = row.Characters,
            Kept = kept.Length,
        });
        Write(_rows, row.Segments.Count);
        foreach (var part in row.Segments)
        {
            Write(_rows, (int)part.Role);
            Write(_rows, part.Parent);
            Write(_rows, part.Ids.Length);
            Tokens += part.Role == SegmentRole.Uncut ? 0 : part.Ids.Length;
        }
        foreach (var part in row.Segments)
            _rows.Write(MemoryMarshal.AsBytes(part.Ids.Span));
        foreach (var part in row.Segments)
        {
            _rows.Write(part.Loss.Span);
            LossTokens += part.Loss.Length - part.Loss.Span.Count((byte)0);
        }
        Pad(tokens);
        _rows.Write(kept);
        Pad(kept.Length);
        Count++;
    }

    /// <summary>Ends the file and gives it its name.</summary>
    public void Finish(TokenSummary summary)
    {
        var footer = new TokenStore.Footer { EntriesOffset = _rows.Position, Count = Count, Magic = TokenStore.Magic };
        _entries.Position = 0;
        _entries.CopyTo(_rows);
        footer.SummaryOffset = _rows.Position;
        JsonSerializer.Serialize(_rows, summary);
        Write(_rows, footer);
        _rows.Dispose();
        WholeFile.Publish(_temporary, _path);
    }

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _rows.Dispose();
        _entries.Dispose();
        File.Delete(_temporary);
    }

    private void Pad(int written)
    {
        for (var i = written; i % 4 != 0; i++)
            _rows.WriteByte(0);
    }

    private static void Write<T>(FileStream stream, T value) where T : unmanaged =>
        stream.Write(MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in value)));
}
