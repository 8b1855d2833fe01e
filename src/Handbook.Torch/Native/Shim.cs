using System.Runtime.InteropServices;

namespace Handbook.Torch.Native;

/// <summary>The shim's C functions, one line each; native/handbook_torch.cpp says what they do. One that can fail returns its error, for
/// <see cref="Check"/>.</summary>
internal static unsafe partial class Shim
{
    public const string Library = "handbook_torch";

    [LibraryImport(Library, EntryPoint = "hb_free_error")] private static partial void FreeError(nint error);
    [LibraryImport(Library, EntryPoint = "hb_version")] private static partial byte* VersionText();
    [LibraryImport(Library, EntryPoint = "hb_initialize")] public static partial void Initialize();
    [LibraryImport(Library, EntryPoint = "hb_find",
        StringMarshalling = StringMarshalling.Utf8)]
    public static partial nint Find(string name, string overload);
    [LibraryImport(Library, EntryPoint = "hb_schema")] public static partial nint Schema(nint op, nint* text);
    [LibraryImport(Library, EntryPoint = "hb_call")]
    public static partial nint Call(nint op, NativeValue* arguments, int count,
        NativeValue* results, int capacity, int* produced);
    [LibraryImport(Library, EntryPoint = "hb_free")] public static partial void Free(nint tensor);
    [LibraryImport(Library, EntryPoint = "hb_copy_handle")] public static partial nint CopyHandle(nint tensor);
    [LibraryImport(Library, EntryPoint = "hb_from_blob")]
    public static partial nint FromBlob(void* data, long* sizes, long* strides,
        int dims, int dtype, long device, delegate* unmanaged<void*, void> release, void* context, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_info")] public static partial nint Info(nint tensor, NativeInfo* info);
    [LibraryImport(Library, EntryPoint = "hb_requires_grad")] public static partial nint RequiresGrad(nint tensor, int value);
    [LibraryImport(Library, EntryPoint = "hb_grad")] public static partial nint Grad(nint tensor, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_set_grad")] public static partial nint SetGrad(nint tensor, nint grad);
    [LibraryImport(Library, EntryPoint = "hb_grad_mode")] public static partial int GradMode();
    [LibraryImport(Library, EntryPoint = "hb_set_grad_mode")] public static partial void SetGradMode(int enabled);
    [LibraryImport(Library, EntryPoint = "hb_backward")]
    public static partial nint Backward(nint* roots, nint* gradients, int count,
        int retainGraph, int createGraph, nint* failure);
    [LibraryImport(Library, EntryPoint = "hb_attach")]
    public static partial nint Attach(nint* inputs, int inputCount, nint* outputs,
        int outputCount, delegate* unmanaged<void*, nint*, int, nint*, int, nint> backward, delegate* unmanaged<void*, void> release,
        void* context, int* attached);
    [LibraryImport(Library, EntryPoint = "hb_threads")] public static partial int Threads();
    [LibraryImport(Library, EntryPoint = "hb_set_threads")] public static partial nint SetThreads(int count);
    [LibraryImport(Library, EntryPoint = "hb_memory")] public static partial void Memory(long* used, long* peak, long* touched);
    [LibraryImport(Library, EntryPoint = "hb_reset_peak")] public static partial void ResetPeak();
    [LibraryImport(Library, EntryPoint = "hb_trim")] public static partial void Trim();
    [LibraryImport("libc", EntryPoint = "setenv",
        StringMarshalling = StringMarshalling.Utf8)]
    public static partial int SetEnvironment(string name, string value, int overwrite);
    [LibraryImport("libc", EntryPoint = "unsetenv",
        StringMarshalling = StringMarshalling.Utf8)]
    public static partial int UnsetEnvironment(string name);
    [LibraryImport("libc", EntryPoint = "execv", StringMarshalling = StringMarshalling.Utf8,
        SetLastError = true)]
    public static partial int Execute(string path, string?[] arguments);

    public static string Version => Marshal.PtrToStringUTF8((nint)VersionText()) ?? "";

    /// <summary>Throws what a call reported; 0 is nothing.</summary>
    public static void Check(nint error)
    {
        if (error != 0)
            throw new TorchException(Take(error));
    }

    /// <summary>The text of an error, which is freed.</summary>
    public static string Take(nint error)
    {
        var text = Marshal.PtrToStringUTF8(error) ?? "";
        FreeError(error);
        return text;
    }
}

/// <summary>How an argument or result crosses the border; the numbers are the shim's.</summary>
internal enum ValueTag
{
    None = 0,
    Tensor = 1,
    Int = 2,
    Double = 3,
    Bool = 4,
    IntList = 5,
    DoubleList = 6,
    TensorList = 7,
    String = 8,
    Device = 9,
    Default = 10,
    OptionalTensorList = 11,
}

[StructLayout(LayoutKind.Explicit, Size = 16)]
internal unsafe struct NativeValue
{
    [FieldOffset(0)] public int Tag;
    [FieldOffset(4)] public int Count;
    [FieldOffset(8)] public long Integer;
    [FieldOffset(8)] public double Number;
    [FieldOffset(8)] public void* Pointer;
}

[StructLayout(LayoutKind.Sequential)]
internal unsafe struct NativeInfo
{
    public fixed long Sizes[8];
    public fixed long Strides[8];
    public void* Data;
    public long Device;
    public int Dims;
    public int DType;
    public int Flags;
    public int Reserved;
}
