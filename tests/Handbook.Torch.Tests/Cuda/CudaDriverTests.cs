using System.Text;
using Handbook.Base;
using Handbook.Testing;
using Handbook.Torch.Cuda;

namespace Handbook.Torch.Tests.Cuda;

/// <summary>The driver's calls against a stand-in: what a card does with them only a card can show.</summary>
[Trait("needs", "nvrtc")]
public sealed unsafe class CudaDriverTests
{
    private static CudaBinary Binary(string image = "image") => new("scale.cu", new(90), Encoding.UTF8.GetBytes(image + "\0"), "", false);

    [Fact]
    public void Cards_are_described()
    {
        using var stand = new StandInDriver();
        var driver = stand.Driver;
        Assert.Equal(new Version(12, 4), driver.Version);
        Assert.Equal([new(0, "Stand-in 0", 90, 80 << 20, 132, 227 << 10), new(1, "Stand-in 1", 86, 80 << 20, 132, 227 << 10)], driver.Cards);
        Assert.Equal(["9.0", "8.6"], driver.Cards.Select(card => card.CapabilityText));
        Assert.Equal([true, false], driver.Cards.Select(card => card.MultipliesFloat8));
        Assert.Equal("there is no GPU 2; the driver shows 2", Assert.Throws<InputException>(() => driver.Open(2)).What);
    }

    [Fact]
    public void A_driver_without_a_card_says_so()
    {
        using var stand = new StandInDriver();
        stand.Failing["Init"] = 100;
        var refused = Assert.Throws<CudaException>(() => stand.Driver);
        Assert.Equal("cuInit: CUDA_ERROR_NO_DEVICE (100), words for 100", refused.Message);
        Assert.Equal(100, refused.Status);
        Assert.Equal("error 9999", stand.Library.Describe(9999));
    }

    [Fact]
    public void A_named_driver_that_is_not_there_is_told()
    {
        Assert.Null(DriverLibrary.Find(name => name == DriverLibrary.Variable ? "/no/such/folder" : null, out var problem));
        Assert.Equal("HANDBOOK_LIBCUDA is /no/such/folder, but /no/such/folder is not there", problem);
    }

    [Fact]
    public void A_launch_hands_over_grid_threads_memory_stream_and_every_argument()
    {
        using var stand = new StandInDriver();
        stand.Declare("scale", 8, 4, 8, 4, 8);
        using (var context = stand.Driver.Open(0))
        {
            var module = context.Load(Binary());
            var stream = context.OpenStream();
            var (address, count, many, factor, exact) = (0x1122334455667788UL, -2, 1L << 40, 0.5f, 1.0);
            var arguments = stackalloc void*[] { &address, &count, &many, &factor, &exact };
            context.Launch(context.Function(module, "scale", 100 << 10), "scale", (3, 2, 1), 128, 100 << 10, stream, arguments);
            context.Synchronize(stream);
            context.CloseStream(stream);
            context.Unload(module);
        }
        Assert.Equal(["retain 100", "load image", "stream 1", "set scale 8 to 102400",
            "scale <<<3 2 1, 128 1 1, 102400, 500>>> 8877665544332211 feffffff 0000000000010000 0000003f 000000000000f03f",
            "wait for 500", "close stream 500", "unload 7000", "release 100"], stand.Calls);
        Assert.Equal(0, stand.Held);
    }

    [Fact]
    public void Shared_memory_that_every_card_gives_needs_no_asking_and_more_than_a_card_has_is_refused()
    {
        using var stand = new StandInDriver();
        stand.Declare("tiles");
        using var context = stand.Driver.Open(1);
        _ = context.Function(7000, "tiles", 48 << 10);
        Assert.Equal(["retain 101"], stand.Calls);
        var refused = Assert.Throws<CudaException>(() => context.Function(7000, "tiles", 300 << 10));
        Assert.Equal("tiles asks for 307,200 bytes of shared memory; a block of GPU 1, Stand-in 1, has 232,448", refused.Message);
    }

    [Fact]
    public void What_goes_to_the_card_comes_back()
    {
        using var stand = new StandInDriver();
        using var context = stand.Driver.Open(0);
        int[] sent = [3, 1, 4, 1, 5], back = new int[6];
        var memory = context.Allocate(24);
        context.Fill(memory, 0xff, 24);
        fixed (int* from = sent, to = back)
        {
            context.CopyToDevice(memory, from, 20, 500);
            context.CopyToHost(to, memory, 24);
        }
        Assert.Equal([3, 1, 4, 1, 5, -1], back);
        context.Free(memory);
        var pinned = context.AllocatePinned(64);
        context.FreePinned(pinned);
        Assert.Equal(((3L << 20), (80L << 20)), context.Memory);
        Assert.Equal(["allocate 24", "fill 24 in 0", "to device 20 in 500", "to host 24 in 0", "free", "pin 64", "unpin"], stand.Calls[1..]);
    }

    [Fact]
    public void Marks_order_streams_and_measure_time()
    {
        using var stand = new StandInDriver();
        using (var context = stand.Driver.Open(0))
        {
            using CudaEvent start = context.NewEvent(timed: true), end = context.NewEvent();
            start.Record(500);
            end.Record();
            context.Await(500, end);
            end.Synchronize();
            Assert.Equal(1.5, end.Since(start).TotalMilliseconds);
        }
        Assert.Equal(["event 0", "event 2", "record 901 in 500", "record 902 in 0", "500 awaits 902", "wait for event 902"], stand.Calls[1..^1]);
        Assert.Equal(0, stand.Held);
    }

    [Fact]
    public void Every_refusal_names_the_card_the_call_and_what_it_was_given()
    {
        using var stand = new StandInDriver();
        stand.Declare("scale");
        using var context = stand.Driver.Open(0);
        var full = Assert.Throws<CudaException>(() => context.Allocate(4 << 20));
        Assert.True(full.IsOutOfMemory);
        Assert.Equal("GPU 0, Stand-in 0: cuMemAlloc of 4,194,304 bytes, with 3,145,728 of 83,886,080 free: CUDA_ERROR_OUT_OF_MEMORY (2), "
            + "words for 2", full.Message);
        Assert.Equal("GPU 0, Stand-in 0: cuModuleGetFunction of other: CUDA_ERROR_NOT_FOUND (500), words for 500",
            Assert.Throws<CudaException>(() => context.Function(7000, "other")).Message);
        stand.Failing["Load"] = 218;
        stand.CompilerLog = "ptxas fatal: no such thing";
        Assert.Equal("GPU 0, Stand-in 0: cuModuleLoadDataEx of scale.cu for sm_90 (ptxas fatal: no such thing): CUDA_ERROR_INVALID_VALUE "
            + "(218), words for 218", Assert.Throws<CudaException>(() => context.Load(Binary())).Message);
        stand.Failing["Launch"] = 1;
        Assert.Equal("GPU 0, Stand-in 0: launch of scale (2147483647×1×1 blocks of 256 threads, 0 bytes shared): CUDA_ERROR_INVALID_VALUE "
            + "(1), words for 1",
            Assert.Throws<CudaException>(() => context.Launch(context.Function(7000, "scale"), "scale", (int.MaxValue, 1, 1), 256, 0, 0, null)).Message);
    }

    [Fact]
    public void A_kernel_that_failed_is_told_with_what_finds_it()
    {
        using var stand = new StandInDriver();
        using var context = stand.Driver.Open(0);
        stand.Failing["Synchronize"] = 700;
        Assert.Equal("""
            GPU 0, Stand-in 0: cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS (700), words for 700
              why: a kernel that was launched before failed; nothing more can be computed on this card by this process
              fix: run it again with CUDA_LAUNCH_BLOCKING=1, which reports a failure at its own launch
            """, Assert.Throws<CudaException>(() => context.Synchronize()).Message);
    }

    [Fact]
    public void A_closed_card_takes_no_more_calls()
    {
        using var stand = new StandInDriver();
        var context = stand.Driver.Open(0);
        context.Dispose();
        context.Dispose();
        Assert.Equal(["retain 100", "release 100"], stand.Calls);
        Assert.Throws<ObjectDisposedException>(() => context.Allocate(1));
    }

    [Fact]
    public void A_compiled_text_is_what_the_driver_loads()
    {
        using var stand = new StandInDriver();
        stand.Declare("fill", 8, 4);
        using var context = stand.Driver.Open(1);
        var compiler = CudaCheck.Compiler();
        var binary = compiler.Compile(new("fill.cu", "extern \"C\" __global__ void fill(int* x, int v) { x[threadIdx.x] = v; }"),
            compiler.For(context.Card.Capability));
        Assert.Equal("sm_86", binary.Architecture.ToString());
        var function = context.Function(context.Load(binary), "fill");
        var (address, value) = (16UL, 7);
        var arguments = stackalloc void*[] { &address, &value };
        context.Launch(function, "fill", (1, 1, 1), 32, 0, 0, arguments);
        Assert.Equal("fill <<<1 1 1, 32 1 1, 0, 0>>> 1000000000000000 07000000", stand.Calls[^1]);
        Assert.StartsWith("load \u007fELF", stand.Calls[1]);
    }
}
