using System.Runtime.CompilerServices;
using System.Text;
using Handbook.Base.Progress;
using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>One operator of libtorch's dispatcher, found by name; calling it records the graph where gradients are asked for.</summary>
internal sealed unsafe class TorchOperator
{
    private const int MaxResults = 64;

    private readonly nint _handle;

    private TorchOperator(string name, nint handle)
    {
        Name = name;
        _handle = handle;
    }

    /// <summary>Name with overload, e.g. <c>aten::add.Tensor</c>.</summary>
    public string Name { get; }

    /// <summary>What this installation's operator takes and gives.</summary>
    public OperatorSchema Schema
    {
        get
        {
            nint text;
            Shim.Check(Shim.Schema(_handle, &text));
            return OperatorSchema.Parse(Shim.Take(text));
        }
    }

    /// <summary>Finds an operator, e.g. <c>aten::sum</c> with overload <c>dim_IntList</c>.</summary>
    /// <exception cref="TorchException">This installation of libtorch does not have it.</exception>
    public static TorchOperator Find(string name, string overload = "") =>
        TryFind(name, overload) ?? throw new TorchException($"libtorch {TorchRuntime.Version} has no operator {FullName(name, overload)}");

    /// <summary>As <see cref="Find"/>; null where this installation does not have the operator.</summary>
    public static TorchOperator? TryFind(string name, string overload = "")
    {
        TorchRuntime.Load();
        var handle = Shim.Find(name, overload);
        return handle == 0 ? null : new TorchOperator(FullName(name, overload), handle);
    }

    private static string FullName(string name, string overload) => overload.Length == 0 ? name : $"{name}.{overload}";

    /// <summary>Calls an operator with one tensor as its result.</summary>
    public Tensor Call(params ReadOnlySpan<Value> arguments)
    {
        NativeValue result;
        var count = Invoke(arguments, &result, 1);
        if (count != 1 || result.Tag != (int)ValueTag.Tensor)
            throw new TorchException($"{Name} gave {count} results, not one tensor");
        return Tensor.Own((nint)result.Pointer);
    }

    /// <summary>Calls an operator with several tensors (or a list of tensors) as its result.</summary>
    public Tensor[] CallMany(params ReadOnlySpan<Value> arguments)
    {
        var results = stackalloc NativeValue[MaxResults];
        var count = Invoke(arguments, results, MaxResults);
        var tensors = new Tensor[count];
        for (var i = 0; i < count; i++)
            tensors[i] = Tensor.Own((nint)results[i].Pointer);
        return tensors;
    }

    /// <summary>Calls an operator for its effect on its arguments (in-place operators, <c>out=</c> variants).</summary>
    public void Run(params ReadOnlySpan<Value> arguments)
    {
        var results = stackalloc NativeValue[MaxResults];
        var count = Invoke(arguments, results, MaxResults);
        for (var i = 0; i < count; i++)
            if (results[i].Tag == (int)ValueTag.Tensor && results[i].Pointer != null)
                Shim.Free((nint)results[i].Pointer);
    }

    /// <summary>Calls an operator with one number or truth value as its result.</summary>
    public double Number(params ReadOnlySpan<Value> arguments)
    {
        NativeValue result;
        Invoke(arguments, &result, 1);
        return (ValueTag)result.Tag switch
        {
            ValueTag.Double => result.Number,
            ValueTag.Int or ValueTag.Bool => result.Integer,
            _ => throw new TorchException($"{Name} did not give a number"),
        };
    }

    [SkipLocalsInit]
    private int Invoke(ReadOnlySpan<Value> arguments, NativeValue* results, int capacity)
    {
        const int ScratchWords = 96;
        var native = stackalloc NativeValue[arguments.Length + 1];
        var scratch = stackalloc long[ScratchWords];
        var used = 0;
        byte[]? text = null;
        List<long[]>? large = null;         // lists too long for the stack, pinned
        for (var i = 0; i < arguments.Length; i++)
        {
            ref readonly var argument = ref arguments[i];
            native[i] = new NativeValue { Tag = (int)argument.Tag, Integer = argument.Bits };
            switch (argument.Tag)
            {
                case ValueTag.Tensor:
                    native[i].Pointer = (void*)((Tensor)argument.Reference!).Handle;
                    break;
                case ValueTag.IntList:
                    Place((long[])argument.Reference!, ref native[i], scratch, ref used, ref large);
                    break;
                case ValueTag.DoubleList:
                    Place(Array.ConvertAll((double[])argument.Reference!, BitConverter.DoubleToInt64Bits), ref native[i], scratch,
                        ref used, ref large);
                    break;
                case ValueTag.TensorList:
                case ValueTag.OptionalTensorList:
                    Place(Array.ConvertAll((Tensor?[])argument.Reference!, t => (long)(t?.Handle ?? 0)), ref native[i], scratch, ref used,
                        ref large);
                    break;
                case ValueTag.String:
                    text = GC.AllocateUninitializedArray<byte>(Encoding.UTF8.GetByteCount((string)argument.Reference!) + 1, pinned: true);
                    native[i].Count = Encoding.UTF8.GetBytes((string)argument.Reference!, text);
                    native[i].Pointer = Unsafe.AsPointer(ref text[0]);
                    break;
            }
        }
        int count;
        Pulse.Begin();
        var error = Shim.Call(_handle, native, arguments.Length, results, capacity, &count);
        Pulse.End();
        if (error != 0)
            throw Failure(arguments, Shim.Take(error));
        foreach (ref readonly var argument in arguments)
            GC.KeepAlive(argument.Reference);
        GC.KeepAlive(text);
        GC.KeepAlive(large);
        return count;
    }

    private static void Place(long[] items, ref NativeValue target, long* scratch, ref int used, ref List<long[]>? large)
    {
        target.Count = items.Length;
        if (used + items.Length <= 96)
        {
            items.CopyTo(new Span<long>(scratch + used, items.Length));
            target.Pointer = scratch + used;
            used += items.Length;
            return;
        }
        var pinned = GC.AllocateUninitializedArray<long>(items.Length, pinned: true);
        items.CopyTo(pinned, 0);
        (large ??= []).Add(pinned);
        target.Pointer = Unsafe.AsPointer(ref pinned[0]);
    }

    private TorchException Failure(ReadOnlySpan<Value> arguments, string message)
    {
        var described = new string[arguments.Length];
        for (var i = 0; i < arguments.Length; i++)
            described[i] = arguments[i].Describe();
        return new TorchException($"{Name}({string.Join(", ", described)}): {message}");
    }
}
