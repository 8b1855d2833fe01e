using Handbook.Torch.Cuda;
using Handbook.Torch.Devices;

namespace Handbook.Torch.Tests.Cuda;

[Trait("needs", "nvrtc")]
public sealed class InstallationTests
{
    [Fact]
    public void Cards_are_shown_with_memory_and_what_they_multiply()
    {
        using var stand = new StandInDriver();
        Assert.Equal([
            new("driver", "for CUDA 12.4 and older; 2 GPUs"),
            new("GPU 0", "Stand-in 0, compute capability 9.0, 3.1 MB of 83.9 MB free, 132 multiprocessors, products of bfloat16 and float8"),
            new("GPU 1", "Stand-in 1, compute capability 8.6, 3.1 MB of 83.9 MB free, 132 multiprocessors, products of bfloat16"),
        ], Installation.Cards(stand.Driver, ""));
        Assert.Equal(0, stand.Held);
        Assert.Equal([new("driver", "none: why")], Installation.Cards(null, "why"));
    }

    [Fact]
    public void The_compiler_is_shown_with_what_it_compiles_for()
    {
        var compiler = CudaCheck.Compiler();
        Assert.Matches(@"^NVRTC \d+\.\d+ for compute capability \d+\.\d to \d+\.\d and newer \(.+\)$", Installation.Compiler(compiler, "").Text);
        Assert.Equal("none: why", Installation.Compiler(null, "why").Text);
    }

    [Fact]
    public void This_machine_is_described_with_what_it_lacks()
    {
        var entries = Installation.Describe().ToDictionary(entry => entry.Topic, entry => entry.Text);
        Assert.Equal(TorchRuntime.Description, entries["libtorch"]);
        Assert.Equal(TorchCuda.Missing is null ? $"built for CUDA; sees {(TorchCuda.Count == 0 ? "no GPU" : $"{TorchCuda.Count} GPU")}"
            : "this libtorch computes on the CPU alone; name one that was built for CUDA with LIBTORCH", entries["libtorch on GPUs"].TrimEnd('s'));
        Assert.Matches("^flash attention (there|missing), 8-bit float products (there|missing), AdamW (there|missing), RMS norm (there|missing)$",
            entries["fused in libtorch"]);
        Assert.Contains("NormForward", entries["fused here"].Split(", "));
        Assert.Contains("AttentionDecode", entries["fused here"].Split(", "));
        Assert.Equal("nothing that the CPU has", entries["not yet here"]);
        Assert.StartsWith("unproven on hardware", entries["GPUs are"]);
        Assert.Contains("Nccl", entries.Keys);
    }
}
