using Handbook.Torch.Kernels;

namespace Handbook.Torch.Quantised;

/// <summary>A published matrix as codes with scales, in memory or in a mapped file.</summary>
/// <remarks>
/// The values lie behind one another, row by row, and are cut into blocks without regard to rows; two codes of four bits share a byte, the
/// first in its high half.
/// <code>
/// nf4, fp4:   w(i) = book[ code(i) ] · scale( i / 64 )
/// double:     scale(b) = dynamic[ code(b) ] · nested( b / 256 ) + offset
/// int8:       w(r, c) = code(r, c) · scale(r) · ( 1 / 127 )
/// </code>
/// Each product and sum is rounded to float32, so that the values are those of bitsandbytes to the bit.
/// </remarks>
internal sealed class CodedMatrix : IDisposable
{
    private readonly Tensor _book;
    private readonly Lock _gate = new();
    private readonly List<(Device Device, CodedPlace Place)> _elsewhere = [];

    /// <param name="format">What the codes are.</param>
    /// <param name="rows">[out].</param>
    /// <param name="columns">[in].</param>
    /// <param name="codes">UInt8 [⌈rows·columns/2⌉], or Int8 [rows, columns]; owned from here on, as the others.</param>
    /// <param name="scales">Float32, one for each block or row; UInt8 where double.</param>
    /// <param name="nested">Float32, one for 256 scales; null where not double.</param>
    /// <param name="offset">Added to every scale where double.</param>
    /// <param name="blockSize">Values of one block.</param>
    public CodedMatrix(QuantisedFormat format, long rows, long columns, Tensor codes, Tensor scales, Tensor? nested = null,
        float offset = 0, int blockSize = QuantisedFormat.BlockSize)
    {
        (Format, Rows, Columns, Codes, Scales, NestedScales, Offset, BlockSize) =
            (format, rows, columns, TensorScope.Detach(codes), TensorScope.Detach(scales),
                nested is null ? null : TensorScope.Detach(nested), offset, blockSize);
        var book = format.Kind == QuantisedKind.Fp4 ? CodeBook.Fp4 : CodeBook.Nf4;
        _book = TensorScope.Detach(Tensor.From(format.Double ? [.. book.Values, .. CodeBook.Dynamic.Values] : book.Values));
    }

    public QuantisedFormat Format { get; }

    public long Rows { get; }

    public long Columns { get; }

    public int BlockSize { get; }

    public Tensor Codes { get; }

    public Tensor Scales { get; }

    public Tensor? NestedScales { get; }

    public float Offset { get; }

    /// <summary>Bytes of codes and scales.</summary>
    public long Bytes => Codes.Count + Scales.Count * Scales.DType.Size + (NestedScales?.Count ?? 0) * sizeof(float);

    /// <summary>What kernels read. Valid while this object lives.</summary>
    internal unsafe CodedValues Values => new()
    {
        Codes = (byte*)Codes.Data,
        Scales = Format.Double ? null : Scales.Pointer<float>(),
        ScaleCodes = Format.Double ? Scales.Pointer<byte>() : null,
        NestedScales = NestedScales is null ? null : NestedScales.Pointer<float>(),
        Offset = Offset,
        Book = _book.Pointer<float>(),
        Columns = Columns,
        BlockSize = BlockSize,
        IsInt8 = Format.Kind == QuantisedKind.Int8,
    };

    /// <summary>The same in the memory of a device, sent there once; the tensors stay this object's.</summary>
    internal CodedPlace On(Device device)
    {
        var own = new CodedPlace(Codes, Scales, NestedScales, _book);
        if (device == Codes.Device)
            return own;
        lock (_gate)
        {
            foreach (var (known, place) in _elsewhere)
                if (known == device)
                    return place;
            var sent = new CodedPlace(Sent(Codes), Sent(Scales), NestedScales is null ? null : Sent(NestedScales), Sent(_book));
            _elsewhere.Add((device, sent));
            return sent;
        }

        Tensor Sent(Tensor tensor)
        {
            using var scope = TensorScope.Enter();
            return TensorScope.Detach(tensor.To(device));
        }
    }

    public void Dispose()
    {
        foreach (var (_, place) in _elsewhere)
            place.Dispose();
        Codes.Dispose();
        Scales.Dispose();
        NestedScales?.Dispose();
        _book.Dispose();
    }
}

/// <summary>Where a matrix of codes lies.</summary>
/// <param name="Book">The values of codes, behind them those of codes of scales.</param>
internal readonly record struct CodedPlace(Tensor Codes, Tensor Scales, Tensor? NestedScales, Tensor Book) : IDisposable
{
    public void Dispose()
    {
        Codes.Dispose();
        Scales.Dispose();
        NestedScales?.Dispose();
        Book.Dispose();
    }
}
