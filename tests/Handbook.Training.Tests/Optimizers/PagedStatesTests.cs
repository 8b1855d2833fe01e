using Handbook.Base;
using Handbook.Models;
using Handbook.Testing;
using Handbook.Torch;
using Handbook.Training.Optimizers;

namespace Handbook.Training.Tests.Optimizers;

/// <summary>Optimisers whose states lie in a file.</summary>
[Collection("tensors")]
public sealed class PagedStatesTests
{
    // more elements than a window of the file, and some too few to be paged
    private static readonly ParameterSpec[] s_specs =
    [
        SomeParameters.One("layers.0.up.weight", [2200, 2000]),
        SomeParameters.One("layers.0.norm.weight", [50], ParameterKind.NormWeight),
    ];

    [Theory]
    [InlineData(OptimizerKind.PagedAdamW, OptimizerKind.AdamW), InlineData(OptimizerKind.PagedAdamW8Bit, OptimizerKind.AdamW8Bit)]
    [InlineData(OptimizerKind.PagedLion, OptimizerKind.Lion), InlineData(OptimizerKind.PagedLion8Bit, OptimizerKind.Lion8Bit)]
    public void Paged_states_change_no_bit(OptimizerKind paged, OptimizerKind resident)
    {
        using var folder = new TemporaryFolder();
        var options = new TrainingOptions { OutputDir = folder.Path, WeightDecay = 0.1 };
        Assert.Equal(Run(options with { Optim = resident }), Run(options with { Optim = paged }));

        static double[] Run(TrainingOptions options)
        {
            using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
            using var scope = TensorScope.Enter();
            using var optimizer = Optimizer.Create(options, parameters);
            for (var step = 1; step <= 3; step++)
            {
                SomeParameters.Step(parameters, optimizer, step);
                optimizer.ReleasePages();
            }
            return [.. SomeParameters.All(parameters), .. optimizer.State.SelectMany(state => state.Value.ToArray<double>())];
        }
    }

    [Fact]
    public void The_file_leaves_nothing_behind_and_takes_no_memory_between_steps()
    {
        using var folder = new TemporaryFolder();
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
        using (var optimizer = Optimizer.Create(new() { Optim = OptimizerKind.PagedAdamW, OutputDir = folder.Path }, parameters))
        {
            SomeParameters.Step(parameters, optimizer, 1);
            Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));        // it has no name
            if (OperatingSystem.IsLinux())
                Assert.InRange(ResidentSpill(folder.Path), 0, 8 << 20);              // of 35 MB, what reading ahead brought
        }
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
        Assert.Equal(0, ResidentSpill(folder.Path));
    }

    /// <summary>Bytes of this process's memory that are pages of a spill file in the folder.</summary>
    private static long ResidentSpill(string folder)
    {
        var (bytes, isSpill) = (0L, false);
        foreach (var line in OperatingSystem.IsLinux() ? File.ReadLines("/proc/self/smaps") : [])
            if (line.Contains('-') && line.Contains(" rw"))
                isSpill = line.Contains(Path.Combine(folder, ".spill"), StringComparison.Ordinal);
            else if (isSpill && line.StartsWith("Rss:", StringComparison.Ordinal))
                bytes += long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1]) << 10;
        return bytes;
    }

    [Theory, InlineData(OptimizerKind.PagedAdamW), InlineData(OptimizerKind.PagedAdamW8Bit)]
    public void Masters_that_products_do_not_read_lie_in_a_file_with_the_same_bits(OptimizerKind kind)
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(Run(null), Run(folder.Path));

        double[] Run(string? mastersIn)
        {
            using var parameters = SomeParameters.Allocate(s_specs, DType.Float32, DType.BFloat16, mastersIn: mastersIn);
            using var optimizer = Optimizer.Create(new() { Optim = kind, OutputDir = folder.Path, WeightDecay = 0.1 }, parameters);
            for (var step = 1; step <= 3; step++)
                SomeParameters.Step(parameters, optimizer, step);
            if (mastersIn is not null && OperatingSystem.IsLinux())
                Assert.InRange(ResidentSpill(folder.Path), 0, 10 << 20);         // of 53 MB, or 26
            return [.. SomeParameters.All(parameters), .. s_specs.SelectMany(spec => parameters[spec.Name].Compute.ToArray<double>())];
        }
    }

    [Fact]
    public void Masters_that_products_read_stay_in_memory()
    {
        using var folder = new TemporaryFolder();
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32, mastersIn: folder["never"]);
        Assert.False(Directory.Exists(folder["never"]));
    }

    [Fact]
    public void A_folder_that_cannot_be_written_in_is_named()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["file"], "");
        using var parameters = SomeParameters.Allocate(s_specs, DType.Float32);
        var problem = Assert.Throws<InputException>(() =>
            Optimizer.Create(new() { Optim = OptimizerKind.PagedAdamW, OutputDir = folder["file"] }, parameters));
        Assert.StartsWith($"{folder["file"]}: no file can be made for paged states: ", problem.Message);
    }
}
