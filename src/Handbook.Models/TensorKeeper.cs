using System.Runtime.InteropServices;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>Keeps a tensor alive while its bytes are read; the memory stays the tensor's.</summary>
internal sealed class TensorKeeper(Tensor tensor) : SafeHandle(0, ownsHandle: false)
{
    public Tensor Tensor { get; } = tensor;

    public override bool IsInvalid => false;

    /// <summary>Where a tensor's elements begin.</summary>
    public static unsafe nint Address(Tensor tensor) => (nint)tensor.Data;

    protected override bool ReleaseHandle() => true;
}
