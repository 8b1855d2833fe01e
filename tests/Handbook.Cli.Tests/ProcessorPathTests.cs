using Handbook.Cli.Tests.BadInput;
using Handbook.Torch;

namespace Handbook.Cli.Tests;

/// <summary><c>HANDBOOK_CPU</c>, as users set it.</summary>
public sealed class ProcessorPathTests : IDisposable
{
    private readonly TinyRun _run = new();

    public void Dispose() => _run.Dispose();

    [Fact]
    public void A_path_that_is_none_is_answered_with_the_choices()
    {
        var outcome = Run("avx1024", "validate", "r.yaml");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("error: HANDBOOK_CPU is 'avx1024', which is no path of a processor", outcome.Error);
        Assert.Contains("fix: use avx2, avx512 or bf16", outcome.Error);
        Assert.DoesNotContain("   at ", outcome.Error);
    }

    [Theory, InlineData("avx2", "AVX2"), InlineData("avx512", "AVX-512"), InlineData("bf16", "AVX-512 with bfloat16")]
    public void A_forced_path_trains_and_is_named_with_the_engine(string name, string shown)
    {
        var outcome = Run(name, "sft", "r.yaml", "--bf16=true");
        if (Processor.Best < (name == "avx2" ? ProcessorPath.Avx2 : name == "avx512" ? ProcessorPath.Avx512 : ProcessorPath.BFloat16))
        {
            Assert.Equal(2, outcome.Code);
            Assert.Contains($"HANDBOOK_CPU is {name}, but this processor lacks its instructions", outcome.Error);
            return;
        }
        Assert.True(outcome.Code == 0, outcome.Error);
        Assert.Contains($"threads, {shown} (HANDBOOK_CPU={name})", outcome.Error);
        Assert.Equal(name != "bf16", outcome.Error.Contains("bf16 saves memory but no time"));
        Assert.Contains($"{shown} (HANDBOOK_CPU={name})", _run.Read("out/run.json"));
    }

    private Outcome Run(string path, params string[] words) =>
        _run.Handbook.Run(words, TimeSpan.FromMinutes(5), new Dictionary<string, string> { ["HANDBOOK_CPU"] = path });
}
