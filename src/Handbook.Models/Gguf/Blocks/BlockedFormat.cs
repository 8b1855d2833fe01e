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
        for (var block = 0; block < from.Length / Size; block++)
            EncodeBlock(from.Slice(block * Size, Size), to.Slice(block * Bytes, Bytes));
    }

    /// <param name="from">One block.</param>
    /// <param name="to">Its elements.</param>
    protected abstract void DecodeBlock(ReadOnlySpan<byte> from, Span<float> to);

    /// <param name="from">The elements of one block.</param>
    /// <param name="to">The block.</param>
    protected abstract void EncodeBlock(ReadOnlySpan<float> from, Span<byte> to);
}
