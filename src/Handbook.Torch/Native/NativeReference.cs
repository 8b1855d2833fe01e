using System.Runtime.InteropServices;

namespace Handbook.Torch.Native;

/// <summary>A reference to a tensor that belongs to no scope: freed with its owner, for small memory whose end nobody announces.</summary>
internal sealed class NativeReference : SafeHandle
{
    public NativeReference(Tensor tensor) : base(0, ownsHandle: true)
    {
        SetHandle(Shim.CopyHandle(tensor.Handle));
        GC.KeepAlive(tensor);
    }

    public override bool IsInvalid => handle == 0;

    /// <summary>A tensor over the same memory, which is the caller's.</summary>
    public Tensor Open()
    {
        var result = Tensor.Own(Shim.CopyHandle(handle));
        GC.KeepAlive(this);
        return result;
    }

    protected override bool ReleaseHandle()
    {
        Shim.Free(handle);
        return true;
    }
}
