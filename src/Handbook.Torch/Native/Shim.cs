using System.Runtime.InteropServices;

namespace Handbook.Torch.Native;

/// <summary>The shim's C functions, one line each; native/handbook_torch.cpp says what they do.</summary>
internal static unsafe partial class Shim
{
    public const string Library = "handbook_torch";

    [LibraryImport(Library, EntryPoint = "hb_last_error")] private static partial byte* LastErrorText();
    [LibraryImport(Library, EntryPoint = "hb_version")] private static partial byte* VersionText();
    [LibraryImport(Library, EntryPoint = "hb_initialize")] public static partial void Initialize();
    [LibraryImport(Library, EntryPoint = "hb_find", StringMarshalling = StringMarshalling.Utf8)] public static partial nint Find(string name, string overload);
    [LibraryImport(Library, EntryPoint = "hb_call")] public static partial int Call(nint op, NativeValue* arguments, int count, NativeValue* results, int capacity);
    [LibraryImport(Library, EntryPoint = "hb_free")] public static partial void Free(nint tensor);
    [LibraryImport(Library, EntryPoint = "hb_copy_handle")] public static partial nint CopyHandle(nint tensor);
    [LibraryImport(Library, EntryPoint = "hb_from_blob")] public static partial int FromBlob(void* data, long* sizes, long* strides, int dims, int dtype, long device, delegate* unmanaged<void*, void> release, void* context, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_info")] public static partial int Info(nint tensor, NativeInfo* info);
    [LibraryImport(Library, EntryPoint = "hb_requires_grad")] public static partial int RequiresGrad(nint tensor, int value);
    [LibraryImport(Library, EntryPoint = "hb_grad")] public static partial int Grad(nint tensor, nint* result);
    [LibraryImport(Library, EntryPoint = "hb_set_grad")] public static partial int SetGrad(nint tensor, nint grad);
    [LibraryImport(Library, EntryPoint = "hb_grad_mode")] public static partial int GradMode();
    [LibraryImport(Library, EntryPoint = "hb_set_grad_mode")] public static partial void SetGradMode(int enabled);
    [LibraryImport(Library, EntryPoint = "hb_backward")] public static partial int Backward(nint* roots, nint* gradients, int count, int retainGraph, int createGraph);
    [LibraryImport(Library, EntryPoint = "hb_attach")] public static partial int Attach(nint* inputs, int inputCount, nint* outputs, int outputCount, delegate* unmanaged<void*, nint*, int, nint*, int, int> backward, delegate* unmanaged<void*, void> release, void* context);
    [LibraryImport(Library, EntryPoint = "hb_manual_seed")] public static partial int ManualSeed(ulong seed);
    [LibraryImport(Library, EntryPoint = "hb_random_state")] public static partial int RandomState(nint* result);
    [LibraryImport(Library, EntryPoint = "hb_set_random_state")] public static partial int SetRandomState(nint state);
    [LibraryImport(Library, EntryPoint = "hb_threads")] public static partial int Threads();
    [LibraryImport(Library, EntryPoint = "hb_set_threads")] public static partial int SetThreads(int count);
    [LibraryImport(Library, EntryPoint = "hb_memory")] public static partial void Memory(long* used, long* peak, long* touched);
    [LibraryImport(Library, EntryPoint = "hb_reset_peak")] public static partial void ResetPeak();
    [LibraryImport(Library, EntryPoint = "hb_trim")] public static partial void Trim();
    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)] public static partial int SetEnvironment(string name, string value, int overwrite);

    public static string LastError => Marshal.PtrToStringUTF8((nint)LastErrorText()) ?? "";

    public static string Version => Marshal.PtrToStringUTF8((nint)VersionText()) ?? "";

    /// <summary>Throws what the shim reported where a call answered with a failure.</summary>
    public static void Check(int status)
    {
        if (status < 0)
            throw new TorchException(LastError);
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
