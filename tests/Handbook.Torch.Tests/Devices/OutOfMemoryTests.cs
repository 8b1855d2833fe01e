namespace Handbook.Torch.Tests.Devices;

/// <summary>What libtorch says where memory is full, word for word, of several releases.</summary>
public sealed class OutOfMemoryTests
{
    private const string Recent = "aten::mm(bfloat16[8192, 4096] on cuda:0, bfloat16[4096, 14336] on cuda:0): CUDA out of memory. Tried to allocate 2.00 GiB. "
        + "GPU 0 has a total capacity of 139.81 GiB of which 1.20 GiB is free. Process 4021 has 138.60 GiB memory in use. Of the allocated memory 120.33 GiB is "
        + "allocated by PyTorch, and 3.01 GiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting "
        + "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.";

    private const string Older = "CUDA out of memory. Tried to allocate 96.00 MiB (GPU 0; 23.69 GiB total capacity; 22.10 GiB already allocated; 10.06 MiB free; "
        + "22.31 GiB reserved in total by PyTorch) If reserved memory is >> allocated memory try setting max_split_size_mb to avoid fragmentation.";

    private const string Cpu = "[enforce fail at alloc_cpu.cpp:66] . DefaultCPUAllocator: can't allocate memory: you tried to allocate 137438953472 bytes. "
        + "Error code 12 (Cannot allocate memory)";

    [Fact]
    public void A_full_card_is_known_by_the_words_of_today()
    {
        var found = OutOfMemory.In(new TorchException(Recent));
        Assert.Equal(new("CUDA out of memory. Tried to allocate 2.00 GiB", OnGpu: true, 2L << 30, (long)(139.81 * (1L << 30))), found);
    }

    [Fact]
    public void And_by_those_of_older_releases() =>
        Assert.Equal(new("CUDA out of memory. Tried to allocate 96.00 MiB", OnGpu: true, 96L << 20, (long)(23.69 * (1L << 30))),
            OutOfMemory.In(new InvalidOperationException("a step", new TorchException(Older))));

    [Fact]
    public void A_full_machine_is_known_too() =>
        Assert.Equal(new("can't allocate memory: you tried to allocate 137438953472 bytes", OnGpu: false, 137438953472, null),
            OutOfMemory.In(new TorchException(Cpu)));

    [Fact]
    public void So_are_the_driver_and_dotnet()
    {
        Assert.True(OutOfMemory.In(new CudaException("cuMemAlloc of 8 bytes: out of memory", 2)) is { OnGpu: true });
        Assert.True(OutOfMemory.In(new AggregateException(new InvalidOperationException(), new InsufficientMemoryException())) is { OnGpu: false });
    }

    [Theory]
    [InlineData("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)")]
    [InlineData("CUDA error: an illegal memory access was encountered")]
    [InlineData("")]
    public void Other_failures_are_not_about_memory(string message) => Assert.Null(OutOfMemory.In(new TorchException(message)));

    [Fact]
    public void What_libtorch_throws_here_comes_as_such_an_exception()
    {
        var thrown = Assert.Throws<TorchException>(() => Tensor.Empty(DType.Float64, Device.Cpu, 1L << 55));
        Assert.True(OutOfMemory.In(thrown) is { OnGpu: false }, thrown.Message);
    }

    [Fact]
    public void A_tensor_of_the_CPU_is_read_and_written_where_it_is()
    {
        using var scope = TensorScope.Enter();
        var tensor = Tensor.From([1f, 2]);
        Assert.Same(tensor, HostMemory.Of(tensor));
        HostMemory.Write(tensor, host => host.AsSpan<float>()[1] = 5);
        Assert.Equal([1f, 5], tensor.ToArray<float>());
    }
}
