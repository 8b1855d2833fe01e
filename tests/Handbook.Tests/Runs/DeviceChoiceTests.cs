using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Training.Methods;
using Handbook.Training.Progress;

namespace Handbook.Tests.Runs;

/// <summary>Where a run is computed where there is a device beside the CPU, here one that this version has no kernel for.</summary>
[Collection("tensors")]
public sealed class DeviceChoiceTests : IDisposable
{
    private readonly TemporaryFolder _output = new();
    private readonly string _before = Directory.GetCurrentDirectory();

    public DeviceChoiceTests() => ComputeDevice.StandIn = new(new Device(12, 0), "A card", Proof: "untried");

    public void Dispose()
    {
        ComputeDevice.StandIn = null;
        Directory.SetCurrentDirectory(_before);
        _output.Dispose();
    }

    private List<string> Run(params string[] overrides)
    {
        var folder = SharedFiles.Need("golden", "runs", "sft_chat");
        Directory.SetCurrentDirectory(folder);
        var read = Recipe.Load(new FileInfo(Path.Combine(folder, "recipe.yaml")), [$"--output_dir={_output.Path}", "--max_steps=1", "--save_strategy=no", .. overrides],
            TrainingMethod.Sft);
        Assert.True(read.TryGet(out var recipe, out var problems), problems.ToString());
        var lines = new Lines();
        Assert.Equal(RunEnd.Finished, TrainingRun.Run(recipe, lines).End);
        return lines.Heard;
    }

    [Fact]
    public void What_a_device_cannot_do_is_said_and_the_CPU_computes()
    {
        var heard = Run();
        Assert.Contains("computes on the CPU, products in float32", heard);
        Assert.Contains(heard, line => line.StartsWith("note: A card is not used: this version has no kernel there for ", StringComparison.Ordinal)
            && line.Contains("AttentionForward", StringComparison.Ordinal)
            && !line.Contains("Router", StringComparison.Ordinal));          // the model has no experts
    }

    [Fact]
    public void Who_asks_for_the_CPU_gets_it_without_a_word_about_devices()
    {
        var heard = Run("--no_cuda=true", "--tf32=true");
        Assert.Contains("computes on the CPU, products in float32", heard);
        Assert.DoesNotContain(heard, line => line.Contains("A card", StringComparison.Ordinal));
        Assert.Contains(heard, line => line.StartsWith("note: tf32 has no effect on the CPU", StringComparison.Ordinal));
    }

    private sealed class Lines : IRunObserver
    {
        public List<string> Heard { get; } = [];

        public void Said(string text) => Heard.Add(text);
    }
}
