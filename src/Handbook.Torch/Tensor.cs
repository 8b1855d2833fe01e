using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Handbook.Base.Progress;
using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>
/// A tensor of libtorch. It owns one native reference, which a <see cref="TensorScope"/> or <see cref="Dispose"/> gives back.
/// </summary>
/// <remarks>Operators are in <c>Tensor.Operators.cs</c>. Only the thread that trains makes tensors.</remarks>
public sealed unsafe partial class Tensor : IDisposable
{
    private static int _live;

    private nint _handle;
    private NativeInfo _info;
    private bool _known;

    private Tensor(nint handle)
    {
        _handle = handle;
        Interlocked.Increment(ref _live);
        TensorScope.Register(this);
    }

    /// <summary>The last resort: tensors that no scope freed. Tests hold <see cref="Leaked"/> at zero.</summary>
    ~Tensor()
    {
        if (_handle == 0)
            return;
        Interlocked.Increment(ref _leaked);
        Release();
    }

    private static int _leaked;

    /// <summary>Tensors of C# that are alive; equal before and after every training step.</summary>
    public static int LiveCount => Volatile.Read(ref _live);

    /// <summary>Tensors that only the garbage collector freed, which native memory cannot wait for.</summary>
    public static int Leaked => Volatile.Read(ref _leaked);

    internal bool Kept { get; set; }

    internal bool Free { get; set; }

    internal nint Handle
    {
        get
        {
            ObjectDisposedException.ThrowIf(_handle == 0, this);
            return _handle;
        }
    }

    /// <summary>Wraps an owned native reference.</summary>
    internal static Tensor Own(nint handle) =>
        handle == 0 ? throw new TorchException("an operator gave an undefined tensor") : new Tensor(handle);

    /// <summary>Gives the native reference back; the memory is freed with the last one. Doing it twice does no harm.</summary>
    public void Dispose()
    {
        if (_handle == 0)
            return;
        Release();
        GC.SuppressFinalize(this);
    }

    private void Release()
    {
        var handle = Interlocked.Exchange(ref _handle, 0);
        if (handle == 0)
            return;
        Shim.Free(handle);
        Interlocked.Decrement(ref _live);
    }

    // ---- what it is ----------------------------------------------------------------------------------------------

    // Shape, type and place of a tensor never change, but resize_ and set_ would: neither is offered.
    private ref NativeInfo Known
    {
        get
        {
            if (!_known)
            {
                fixed (NativeInfo* info = &_info)
                    Shim.Check(Shim.Info(Handle, info));
                _known = true;
            }
            return ref _info;
        }
    }

    /// <summary>Number of dimensions.</summary>
    public int Dims => Known.Dims;

    /// <summary>Type of the elements.</summary>
    public DType DType => (DType)Known.DType;

    /// <summary>Where the elements lie.</summary>
    public Device Device => Device.FromCode(Known.Device);

    /// <summary>Whether the elements lie in row-major order without gaps.</summary>
    public bool IsContiguous => (Known.Flags & 2) != 0;

    /// <summary>Size of dimension <paramref name="dim"/>; negative counts from the end.</summary>
    public long Size(int dim)
    {
        ref var info = ref Known;
        var index = dim < 0 ? dim + info.Dims : dim;
        return (uint)index < (uint)info.Dims ? info.Sizes[index]
            : throw new ArgumentOutOfRangeException(nameof(dim), dim, $"a tensor of {info.Dims} dimensions");
    }

    /// <summary>Stride of dimension <paramref name="dim"/> in elements.</summary>
    public long Stride(int dim)
    {
        ref var info = ref Known;
        var index = dim < 0 ? dim + info.Dims : dim;
        return (uint)index < (uint)info.Dims ? info.Strides[index]
            : throw new ArgumentOutOfRangeException(nameof(dim), dim, $"a tensor of {info.Dims} dimensions");
    }

    /// <summary>Sizes of all dimensions.</summary>
    public long[] Shape
    {
        get
        {
            ref var info = ref Known;
            var shape = new long[info.Dims];
            for (var i = 0; i < shape.Length; i++)
                shape[i] = info.Sizes[i];
            return shape;
        }
    }

    /// <summary>Number of elements.</summary>
    public long Count
    {
        get
        {
            ref var info = ref Known;
            long count = 1;
            for (var i = 0; i < info.Dims; i++)
                count *= info.Sizes[i];
            return count;
        }
    }

    /// <summary>Type, shape and place, as error messages name a tensor.</summary>
    public string Describe()
    {
        if (_handle == 0)
            return "disposed";
        var place = Device.IsCpu ? "" : $" on {Device}";
        return $"{DType.ToString().ToLowerInvariant()}[{string.Join(", ", Shape)}]{place}";
    }

    /// <inheritdoc cref="Describe"/>
    public override string ToString() => Describe();

    // ---- memory --------------------------------------------------------------------------------------------------

    /// <summary>Address of the first element.</summary>
    public void* Data => Known.Data;

    /// <summary>The elements of a contiguous tensor on the CPU, without a copy. The tensor must outlive the span.</summary>
    public Span<T> AsSpan<T>() where T : unmanaged
    {
        if (!Device.IsCpu || !IsContiguous || sizeof(T) != DType.Size)
            throw new InvalidOperationException($"{Describe()} is not a contiguous CPU tensor of {typeof(T).Name}");
        return new Span<T>(Data, checked((int)Count));
    }

    /// <summary>The address of a CPU tensor's first element as <typeparamref name="T"/>; rows may be strided.</summary>
    public T* Pointer<T>() where T : unmanaged
    {
        if (!Device.IsCpu || sizeof(T) != DType.Size)
            throw new InvalidOperationException($"{Describe()} is not a CPU tensor of {typeof(T).Name}");
        return (T*)Data;
    }

    /// <summary>The address of the first element as <typeparamref name="T"/>, wherever that is: the memory of a GPU is for its kernels alone.
    /// </summary>
    internal T* Address<T>() where T : unmanaged => sizeof(T) == DType.Size ? (T*)Data
        : throw new InvalidOperationException($"{Describe()} has no elements of {typeof(T).Name}");

    /// <summary>A copy of all elements, in row-major order, converted to <typeparamref name="T"/>.</summary>
    public T[] ToArray<T>() where T : unmanaged
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var plain = Detach().To(DTypeOf<T>()).To(Device.Cpu).Contiguous();
        return plain.AsSpan<T>().ToArray();
    }

    /// <summary>The one element of a tensor. Waits for the device, so it appears only where a step is logged.</summary>
    public double ToScalar()
    {
        if (Count != 1)
            throw new InvalidOperationException($"{Describe()} has no single value");
        return ToArray<double>()[0];
    }

    /// <summary>A tensor with a copy of <paramref name="values"/>.</summary>
    public static Tensor From<T>(ReadOnlySpan<T> values, params ReadOnlySpan<long> shape) where T : unmanaged
    {
        var tensor = Empty(DTypeOf<T>(), Device.Cpu, shape.Length == 0 ? [values.Length] : shape.ToArray());
        if (tensor.Count != values.Length)
            throw new ArgumentException($"{values.Length} values do not fill {tensor.Describe()}", nameof(values));
        values.CopyTo(new Span<T>(tensor.Data, values.Length));
        return tensor;
    }

    /// <summary>As the other overload, for an array.</summary>
    public static Tensor From<T>(T[] values, params ReadOnlySpan<long> shape) where T : unmanaged => From((ReadOnlySpan<T>)values, shape);

    /// <summary>A tensor over memory that somebody else owns, without a copy.</summary>
    /// <param name="data">First element; must stay valid while <paramref name="owner"/> lives.</param>
    /// <param name="dtype">Element type of the memory.</param>
    /// <param name="shape">Sizes, row-major.</param>
    /// <param name="owner">Kept alive until libtorch drops its last reference, e.g. a mapped file; null where the memory outlives
    /// everything.</param>
    public static Tensor Wrap(void* data, DType dtype, long[] shape, object? owner = null)
    {
        TorchRuntime.Load();
        nint result;
        fixed (long* sizes = shape)
        {
            var context = owner is null ? 0 : GCHandle.ToIntPtr(GCHandle.Alloc(owner));
            var error = Shim.FromBlob(data, sizes, null, shape.Length, (int)dtype, Device.Cpu.Code,
                owner is null ? null : &ReleaseOwner, (void*)context, &result);
            if (error != 0 && context != 0)
                GCHandle.FromIntPtr(context).Free();
            Shim.Check(error);
        }
        return Own(result);
    }

    [UnmanagedCallersOnly]
    private static void ReleaseOwner(void* context) => GCHandle.FromIntPtr((nint)context).Free();

    internal static DType DTypeOf<T>() where T : unmanaged =>
        typeof(T) == typeof(float) ? DType.Float32
        : typeof(T) == typeof(double) ? DType.Float64
        : typeof(T) == typeof(BFloat16) ? DType.BFloat16
        : typeof(T) == typeof(Half) ? DType.Float16
        : typeof(T) == typeof(long) ? DType.Int64
        : typeof(T) == typeof(int) ? DType.Int32
        : typeof(T) == typeof(short) ? DType.Int16
        : typeof(T) == typeof(byte) ? DType.UInt8
        : typeof(T) == typeof(sbyte) ? DType.Int8
        : typeof(T) == typeof(bool) ? DType.Bool
        : throw new NotSupportedException($"no element type for {typeof(T).Name}");

    // ---- gradients -----------------------------------------------------------------------------------------------

    /// <summary>Whether operators on this tensor are recorded.</summary>
    public bool RequiresGrad
    {
        get
        {
            NativeInfo info;
            Shim.Check(Shim.Info(Handle, &info));
            return (info.Flags & 1) != 0;
        }
        set => Shim.Check(Shim.RequiresGrad(Handle, value ? 1 : 0));
    }

    /// <summary>The gradient of a leaf; null where none was accumulated.</summary>
    public Tensor? Grad
    {
        get
        {
            nint result;
            Shim.Check(Shim.Grad(Handle, &result));
            return result == 0 ? null : Own(result);
        }
        set => Shim.Check(Shim.SetGrad(Handle, value?.Handle ?? 0));
    }

    /// <summary>Accumulates the gradients of all leaves that this tensor depends on.</summary>
    /// <param name="gradient">Gradient of this tensor; null for a single value, where it is 1.</param>
    /// <param name="retainGraph">Keeps what backward needs, for a second call.</param>
    public void Backward(Tensor? gradient = null, bool retainGraph = false) => BackwardAll([this], [gradient], retainGraph);

    /// <summary>Backward from several tensors at once.</summary>
    public static void BackwardAll(Tensor[] roots, Tensor?[] gradients, bool retainGraph = false)
    {
        var native = stackalloc nint[roots.Length * 2];
        for (var i = 0; i < roots.Length; i++)
        {
            native[i] = roots[i].Handle;
            native[roots.Length + i] = gradients[i]?.Handle ?? 0;
        }
        nint failure;
        Pulse.Begin();
        var error = Shim.Backward(native, native + roots.Length, roots.Length, retainGraph ? 1 : 0, 0, &failure);
        Pulse.End();
        if (failure != 0)
        {
            _ = Shim.Take(error);
            AutogradNode.Throw(failure);
        }
        Shim.Check(error);
        GC.KeepAlive(roots);
        GC.KeepAlive(gradients);
    }
}
