namespace Handbook.Torch;

/// <summary>Elements of tensors where this process reads and writes them, wherever the tensors live.</summary>
internal static class HostMemory
{
    /// <summary>The tensor itself where this process can read it, else a copy of it that the scope frees.</summary>
    public static Tensor Of(Tensor tensor) => tensor.Device.IsCpu ? tensor : tensor.Detach().To(Device.Cpu).Contiguous();

    /// <summary>Lets somebody write elements of a tensor; those that are not written stay as they are.</summary>
    /// <param name="write">Gets a tensor of the CPU with the same elements: the tensor itself where it lies there.</param>
    public static void Write(Tensor target, Action<Tensor> write)
    {
        if (target.Device.IsCpu)
        {
            write(target);
            return;
        }
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        var host = Of(target);
        write(host);
        target.Detach().CopyFrom(host);
    }
}
