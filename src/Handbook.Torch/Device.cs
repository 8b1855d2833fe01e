namespace Handbook.Torch;

/// <summary>Where a tensor lives.</summary>
/// <param name="Kind">libtorch's device type: 0 CPU, 1 CUDA, 14 meta.</param>
/// <param name="Index">Number of the device, −1 where there is only one.</param>
public readonly record struct Device(int Kind, int Index)
{
    /// <summary>The processor.</summary>
    public static Device Cpu { get; } = new(0, -1);

    /// <summary>A GPU by its number.</summary>
    public static Device Cuda(int index) => new(1, index);

    /// <summary>Nowhere: a tensor there has a shape and no elements.</summary>
    internal static Device Meta { get; } = new(14, -1);

    /// <summary>Whether tensors there lie in memory that this process reads.</summary>
    public bool IsCpu => Kind == 0;

    internal long Code => ((long)Kind << 32) | (uint)(Index + 1);

    internal static Device FromCode(long code) => new((int)(code >> 32), (int)(code & 0xFFFFFFFF) - 1);

    /// <summary>The name as libtorch writes it, e.g. <c>cpu</c> or <c>cuda:0</c>.</summary>
    public override string ToString() => Kind switch
    {
        0 => "cpu",
        14 => "meta",
        1 => Index < 0 ? "cuda" : $"cuda:{Index}",
        _ => $"device {Kind}:{Index}",
    };
}
