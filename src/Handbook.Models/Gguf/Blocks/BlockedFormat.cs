namespace Handbook.Models.Gguf.Blocks;

/// <summary>A format that is written block by block.</summary>
internal abstract class BlockedFormat(int code, string name, int size, int bytes) : BlockFormat(code, name, size, bytes)
{
    public override void Decode(ReadOnlySpan<byte> from, Span<float> to)
    {
        for (var block = 0; block < to.Length / Size; block++)
            DecodeBlock(from.Slice(block * Bytes, Bytes), to.Slice(block * Size, Size));
    }

    public override void Encode(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, Span<byte> to)
    {
        var squares = 0f;
        foreach (var value in importance.IsEmpty ? [] : from)
            squares += value * value;
        for (var block = 0; block < from.Length / Size; block++)
            EncodeBlock(from.Slice(block * Size, Size), importance.IsEmpty ? [] : importance.Slice(block * Size, Size),
                squares / from.Length, to.Slice(block * Bytes, Bytes));
    }

    /// <param name="from">One block.</param>
    /// <param name="to">Its elements.</param>
    protected abstract void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to);

    /// <param name="from">The elements of one block.</param>
    /// <param name="importance">How much the error of each counts; empty where all count alike.</param>
    /// <param name="meanSquare">Of the row; 0 without importances.</param>
    /// <param name="to">The block.</param>
    protected abstract void EncodeBlock(ReadOnlySpan<float> from, ReadOnlySpan<float> importance, float meanSquare, Span<byte> to);
}
