using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using Handbook.Torch.Native;

namespace Handbook.Torch;

/// <summary>An operation whose forward and backward are C# functions.</summary>
/// <remarks>
/// The forward part computes its outputs without recording, saves what the backward part needs with <see cref="Save"/>, and calls
/// <see cref="Attach"/>. Where no input asks for gradients nothing is kept. What is saved is released when the graph is.
/// </remarks>
public abstract unsafe class AutogradNode
{
    private readonly List<Tensor> _saved = [];

    /// <summary>Whether a node over these inputs would be part of a graph, so that saving is worth while.</summary>
    public static bool IsNeeded(params ReadOnlySpan<Tensor?> inputs)
    {
        if (!GradMode.IsEnabled)
            return false;
        foreach (var input in inputs)
            if (input is not null && input.RequiresGrad)
                return true;
        return false;
    }

    /// <summary>Gradients of the inputs, in their order; null where an input needs none.</summary>
    /// <param name="gradients">Gradients of the outputs, in their order; null where none arrived. Borrowed: they are freed after the
    /// call.</param>
    protected abstract Tensor?[] Backward(Tensor?[] gradients);

    /// <summary>Keeps a tensor until the graph is released; the node owns an own reference.</summary>
    protected Tensor Save(Tensor tensor)
    {
        TorchRuntime.Load();
        var copy = TensorScope.Detach(Tensor.Own(Shim.CopyHandle(tensor.Handle)));
        GC.KeepAlive(tensor);
        _saved.Add(copy);
        return copy;
    }

    /// <summary>Frees what was saved; called when the graph goes.</summary>
    protected virtual void Release()
    {
        foreach (var tensor in _saved)
            tensor.Dispose();
        _saved.Clear();
    }

    /// <summary>Makes freshly computed outputs depend on the inputs.</summary>
    protected void Attach(ReadOnlySpan<Tensor?> inputs, params ReadOnlySpan<Tensor> outputs)
    {
        var ins = stackalloc nint[inputs.Length + 1];
        var outs = stackalloc nint[outputs.Length + 1];
        for (var i = 0; i < inputs.Length; i++)
            ins[i] = inputs[i]?.Handle ?? 0;
        for (var i = 0; i < outputs.Length; i++)
            outs[i] = outputs[i].Handle;
        var context = GCHandle.ToIntPtr(GCHandle.Alloc(this));
        int attached;
        var error = Shim.Attach(ins, inputs.Length, outs, outputs.Length, &BackwardEntry, &ReleaseEntry, (void*)context, &attached);
        if (attached != 0)
            return;
        GCHandle.FromIntPtr(context).Free();
        Release();
        Shim.Check(error);
    }

    /// <summary>
    /// Throws the exception of a C# backward, as libtorch handed it on: from one of its own threads, where tensors live on a GPU.
    /// </summary>
    internal static void Throw(nint failure)
    {
        var handle = GCHandle.FromIntPtr(failure);
        var thrown = (ExceptionDispatchInfo)handle.Target!;
        handle.Free();
        thrown.Throw();
    }

    [UnmanagedCallersOnly]
    private static nint BackwardEntry(void* context, nint* gradients, int inputs, nint* results, int outputs)
    {
        try
        {
            var node = (AutogradNode)GCHandle.FromIntPtr((nint)context).Target!;
            using var scope = TensorScope.Enter();
            using var mode = GradMode.Disabled();
            var given = new Tensor?[inputs];
            for (var i = 0; i < inputs; i++)
                given[i] = gradients[i] == 0 ? null : Tensor.Own(Shim.CopyHandle(gradients[i]));
            var made = node.Backward(given);
            if (made.Length != outputs)
                throw new InvalidOperationException($"{node.GetType().Name}.Backward gave {made.Length} gradients for {outputs} inputs");
            for (var i = 0; i < outputs; i++)
                results[i] = made[i] is { } gradient ? Shim.CopyHandle(gradient.Handle) : 0;
            return 0;
        }
        catch (Exception failure)
        {
            return GCHandle.ToIntPtr(GCHandle.Alloc(ExceptionDispatchInfo.Capture(failure)));
        }
    }

    [UnmanagedCallersOnly]
    private static void ReleaseEntry(void* context)
    {
        var handle = GCHandle.FromIntPtr((nint)context);
        var target = handle.Target;
        handle.Free();
        (target as AutogradNode)?.Release();        // otherwise an exception that another one overtook
    }
}
