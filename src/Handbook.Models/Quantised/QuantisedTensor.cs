using Handbook.Models.Files;
using Handbook.Torch;
using Handbook.Torch.Quantised;

namespace Handbook.Models.Quantised;

/// <summary>A published matrix that a checkpoint stores as codes with scales beside them.</summary>
/// <param name="name">The matrix's published name, which ends with <c>.weight</c>.</param>
/// <param name="rows">[out]; a transposed layer of GPT-2 is stored [out, in] as well.</param>
/// <param name="columns">[in].</param>
/// <param name="type">Element type of the values that the codes stand for.</param>
internal abstract class QuantisedTensor(string name, long rows, long columns, DType type)
{
    public string Name => name;

    public long Rows => rows;

    public long Columns => columns;

    public DType Type => type;

    /// <summary>Every tensor of the file that belongs to it.</summary>
    public abstract IEnumerable<string> Names { get; }

    /// <summary>What the codes are, in words.</summary>
    public abstract string Kind { get; }

    /// <summary>The way of storing that products read; null where values have to be made when it is loaded.</summary>
    public virtual QuantisedFormat? Format => null;

    /// <summary>The codes where they lie in the file; the caller's, who disposes it.</summary>
    /// <exception cref="NotSupportedException">There is no <see cref="Format"/>.</exception>
    public virtual CodedMatrix Codes() => throw new NotSupportedException($"{name}: {Kind} is read as values");

    /// <summary>How many matrices the tensor stacks; 1 for most.</summary>
    public virtual long Matrices => 1;

    /// <summary>All values of one of them, row-major, [out, in].</summary>
    public abstract TensorData Dense(long matrix = 0);

    private protected TensorData Room(DType held, out NativeBuffer buffer)
    {
        var info = new TensorInfo(name, held, [rows, columns]);
        buffer = new NativeBuffer(info.ByteCount);
        return new(info, buffer.DangerousGetHandle(), buffer);
    }

    /// <summary>A tensor of a file, in memory that stays mapped as long as the tensor lives.</summary>
    internal static unsafe Tensor Map(TensorData data, DType type, params long[] shape) =>
        Tensor.Wrap((void*)data.Pointer, type, shape, new MemoryHold(data.Owner));
}
