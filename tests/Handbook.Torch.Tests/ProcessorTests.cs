using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using Handbook.Base;
using Handbook.Torch.Kernels;

namespace Handbook.Torch.Tests;

public sealed unsafe class ProcessorTests
{
    [Theory]
    [InlineData("avx2", nameof(ProcessorPath.Avx2))]
    [InlineData("avx512", nameof(ProcessorPath.Avx512))]
    [InlineData("bf16", nameof(ProcessorPath.BFloat16))]
    public void A_path_is_named_in_small_letters(string name, string path) =>
        Assert.Equal(path, Processor.Parse(name, ProcessorPath.BFloat16).ToString());

    [Theory, InlineData("avx"), InlineData("AVX2"), InlineData("avx2 "), InlineData("best"), InlineData("1")]
    public void A_name_that_is_none_is_answered_with_the_choices(string name)
    {
        var problem = Assert.Throws<InputException>(() => Processor.Parse(name, ProcessorPath.BFloat16));
        Assert.Contains($"HANDBOOK_CPU is '{name}'", problem.Message);
        Assert.Contains("avx2, avx512 or bf16", problem.Message);
    }

    [Theory]
    [InlineData("bf16", nameof(ProcessorPath.Avx512), "use avx2 or avx512")]
    [InlineData("avx512", nameof(ProcessorPath.Avx2), "use avx2,")]
    [InlineData("avx2", nameof(ProcessorPath.Portable), "unset it")]
    public void A_path_that_the_processor_lacks_is_refused_with_those_it_has(string name, string best, string advice)
    {
        var problem = Assert.Throws<InputException>(() => Processor.Parse(name, Enum.Parse<ProcessorPath>(best)));
        Assert.Contains($"HANDBOOK_CPU is {name}, but this processor lacks its instructions", problem.Message);
        Assert.Contains(advice, problem.Message);
    }

    [Fact]
    public void All_layers_take_the_path_of_the_process()
    {
        TorchRuntime.Load();
        Assert.Equal(Processor.Path >= ProcessorPath.Avx512, Avx512F.IsSupported);
        Assert.True(Processor.Path < ProcessorPath.Avx512 || Vector512.IsHardwareAccelerated);
        Assert.True(RowProducts.Native == null || Processor.Path == ProcessorPath.BFloat16);
        Assert.Equal(Processor.Path is ProcessorPath.Avx512 or ProcessorPath.BFloat16, TorchRuntime.Description.Contains("AVX-512"));
        Assert.Equal(Processor.Forced is not null, TorchRuntime.Description.Contains("HANDBOOK_CPU="));
        if (Processor.Forced is { } forced)
        {
            Assert.Equal(forced, Processor.Path);
            Assert.Equal(forced == ProcessorPath.Avx2 ? "Haswell" : "SkylakeX", Environment.GetEnvironmentVariable("OPENBLAS_CORETYPE"));
            Assert.Equal(forced == ProcessorPath.Avx2 ? "avx2" : "avx512", Environment.GetEnvironmentVariable("ATEN_CPU_CAPABILITY"));
        }
    }

    [Theory, InlineData("AuthenticAMD", true), InlineData("GenuineIntel", false), InlineData("GenuineIntel", true, "amx_bf16"),
        InlineData("", true)]
    public void Own_products_of_bfloat16_are_used_where_they_are_faster(string vendor, bool faster, params string[] flags) =>
        Assert.Equal(faster, Processor.IsFasterInBFloat16(new HashSet<string>(["avx512_bf16", .. flags]), vendor));
}
