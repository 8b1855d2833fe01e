using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Methods;

namespace Handbook.Cli.Tests;

/// <summary>What a run says that finds no more memory.</summary>
public sealed class MemoryReportTests : IDisposable
{
    private const string Full = "aten::mm(…): CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 139.81 GiB of which 1.20 GiB is free.";

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    private (int Code, string Text) Report(Exception failure)
    {
        var file = new FileInfo(_folder["recipe.yaml"]);
        File.WriteAllText(file.FullName, $"model_name_or_path: {SharedFiles.Need("golden", "runs", "model")}\ndataset_name: {_folder["rows"]}\n"
            + $"max_length: 512\nmax_tokens: 4096\noutput_dir: {_folder["out"]}\n");
        var read = Recipe.Load(file, ["--bf16=true"], TrainingMethod.Sft);
        Assert.True(read.TryGet(out var recipe, out var problems), problems.ToString());
        using var text = new StringWriter();
        return (MemoryReport.Write(OutOfMemory.In(failure)!, recipe, file, ["--bf16=true"], text), text.ToString());
    }

    [Fact]
    public void A_full_card_is_told_with_the_plan_and_with_keys_that_make_it_smaller()
    {
        Directory.CreateDirectory(_folder["rows"]);
        var (code, text) = Report(new TorchException(Full));
        Assert.Equal(3, code);
        var lines = text.TrimEnd().Split('\n');
        Assert.Equal("error: the GPU's memory is full: CUDA out of memory. Tried to allocate 2.00 GiB", lines[0]);
        Assert.Contains(lines, line => line.StartsWith("    world  mode", StringComparison.Ordinal) && line.Contains("activations", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.Contains("--gradient_checkpointing=true", StringComparison.Ordinal));
        Assert.Contains(lines, line => line.StartsWith("  fix: add keys of one of the lines above; see with nvidia-smi", StringComparison.Ordinal));
        Assert.Equal("no checkpoint was saved before; nothing of the run is left to go on from", lines[^1]);
    }

    [Fact]
    public void A_full_machine_is_told_likewise_and_the_newest_checkpoint_is_named()
    {
        Directory.CreateDirectory(_folder["out", "checkpoint-20"]);
        Directory.CreateDirectory(_folder["out", "checkpoint-7"]);
        var (code, text) = Report(new TorchException("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8589934592 bytes. Error code 12"));
        Assert.Equal(3, code);
        Assert.StartsWith("error: the machine's memory is full: can't allocate memory: you tried to allocate 8589934592 bytes\n", text);
        Assert.DoesNotContain("nvidia-smi", text);
        Assert.Contains($"{_folder["out", "checkpoint-20"]} is kept: the same command goes on from there", text);
    }

    [Fact] // commands that train nothing have no plan
    public void Other_commands_say_so_in_a_line_and_with_the_same_code() => Assert.Equal(3, ExitCode.Of(new TorchException(Full)));
}
