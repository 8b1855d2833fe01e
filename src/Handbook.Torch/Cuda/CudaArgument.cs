using System.Runtime.InteropServices;

namespace Handbook.Torch.Cuda;

/// <summary>What a launch gives for one parameter of its kernel.</summary>
/// <remarks>The value begins at the first byte: an address of this is what the driver wants of a parameter.</remarks>
[StructLayout(LayoutKind.Sequential)]
internal readonly unsafe struct CudaArgument
{
    private readonly ulong _bits;

    private CudaArgument(ulong bits, CudaScalar scalar, bool isPointer = false) => (_bits, Type) = (bits, new(scalar, isPointer));

    public CudaType Type { get; }

    /// <summary>An address on the device.</summary>
    public static CudaArgument At<T>(T* address) where T : unmanaged => new((ulong)address, CudaType.ScalarOf<T>(), isPointer: true);

    public static implicit operator CudaArgument(int value) => new((uint)value, CudaScalar.Int32);

    public static implicit operator CudaArgument(long value) => new((ulong)value, CudaScalar.Int64);

    public static implicit operator CudaArgument(float value) => new(BitConverter.SingleToUInt32Bits(value), CudaScalar.Float32);

    public static implicit operator CudaArgument(double value) => new(BitConverter.DoubleToUInt64Bits(value), CudaScalar.Float64);

    public static implicit operator CudaArgument(float* address) => At(address);

    public static implicit operator CudaArgument(double* address) => At(address);

    public static implicit operator CudaArgument(int* address) => At(address);

    public static implicit operator CudaArgument(long* address) => At(address);

    public static implicit operator CudaArgument(byte* address) => At(address);

    public static implicit operator CudaArgument(sbyte* address) => At(address);

    public static implicit operator CudaArgument(ulong* address) => At(address);

    public static implicit operator CudaArgument(BFloat16* address) => At(address);
}
