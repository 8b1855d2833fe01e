using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>One argument of an operator. Conversions are implicit, so that a call reads like the operator's schema.</summary>
internal readonly struct Value
{
    internal readonly ValueTag Tag;
    internal readonly long Bits;
    internal readonly object? Reference;

    private Value(ValueTag tag, long bits = 0, object? reference = null)
    {
        Tag = tag;
        Bits = bits;
        Reference = reference;
    }

    /// <summary>The argument's default in the operator's schema.</summary>
    public static Value Default { get; } = new(ValueTag.Default);

    /// <summary>Python's None.</summary>
    public static Value None { get; } = new(ValueTag.None);

    /// <summary>A list whose entries may be absent, such as the indices of <c>index</c>.</summary>
    public static Value OptionalTensors(params Tensor?[] tensors) => new(ValueTag.OptionalTensorList, 0, tensors);

    public static implicit operator Value(Tensor? value) => value is null ? None : new(ValueTag.Tensor, 0, value);

    public static implicit operator Value(long value) => new(ValueTag.Int, value);

    public static implicit operator Value(int value) => new(ValueTag.Int, value);

    public static implicit operator Value(double value) => new(ValueTag.Double, BitConverter.DoubleToInt64Bits(value));

    public static implicit operator Value(bool value) => new(ValueTag.Bool, value ? 1 : 0);

    public static implicit operator Value(DType value) => new(ValueTag.Int, (long)value);

    public static implicit operator Value(Device value) => new(ValueTag.Device, value.Code);

    public static implicit operator Value(long[]? value) => value is null ? None : new(ValueTag.IntList, 0, value);

    public static implicit operator Value(double[] value) => new(ValueTag.DoubleList, 0, value);

    public static implicit operator Value(Tensor[] value) => new(ValueTag.TensorList, 0, value);

    public static implicit operator Value(string value) => new(ValueTag.String, 0, value);

    internal string Describe() => Tag switch
    {
        ValueTag.Tensor => ((Tensor)Reference!).Describe(),
        ValueTag.Int => Bits.ToString(),
        ValueTag.Double => BitConverter.Int64BitsToDouble(Bits).ToString(),
        ValueTag.Bool => Bits != 0 ? "true" : "false",
        ValueTag.IntList => $"[{string.Join(", ", (long[])Reference!)}]",
        ValueTag.DoubleList => $"[{string.Join(", ", (double[])Reference!)}]",
        ValueTag.TensorList => $"[{string.Join(", ", ((Tensor[])Reference!).Select(t => t.Describe()))}]",
        ValueTag.OptionalTensorList => $"[{string.Join(", ", ((Tensor?[])Reference!).Select(t => t?.Describe() ?? "none"))}]",
        ValueTag.String => $"'{Reference}'",
        ValueTag.Device => Device.FromCode(Bits).ToString(),
        ValueTag.Default => "default",
        _ => "none",
    };
}
