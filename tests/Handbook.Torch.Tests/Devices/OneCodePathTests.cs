using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Torch.Tests.Devices;

/// <summary>What computes does not know on what: kinds of devices are named in Handbook.Torch and where a run's plan is made, and nowhere else.</summary>
public sealed partial class OneCodePathTests
{
    /// <summary>Folders of src in which not even the place of a tensor is chosen.</summary>
    private static readonly string[] s_blind =
    [
        "Handbook.Base", "Handbook.Text", "Handbook.Data", "Handbook.Training/Methods", "Handbook.Training/Distributed", "Handbook.Models/Families",
        "Handbook.Models/Adapters", "Handbook.Models/Blocks", "Handbook.Models/Sharding",
    ];

    /// <summary>The one place besides Handbook.Torch.</summary>
    private const string Plan = "Handbook.Training/Plans/DevicePlan.cs";

    [GeneratedRegex(@"\b(Cuda\w*|TorchCuda|Nccl|OverNccl|Nvrtc|ComputeDevice)\b")]
    private static partial Regex Kinds();

    [GeneratedRegex(@"\b(Device\.(Cpu|Cuda)|IsCpu|new Device\(|Device [A-Za-z_])\b")]
    private static partial Regex Places();

    private static IEnumerable<string> Named(string folder, Regex words)
    {
        var source = Path.Combine(SharedFiles.Repository, "src");
        return from file in Directory.EnumerateFiles(Path.Combine(source, folder), "*.cs", SearchOption.AllDirectories)
               let name = Path.GetRelativePath(source, file)
               where name != Plan && !name.Contains("/obj/", StringComparison.Ordinal) && !name.Contains("/bin/", StringComparison.Ordinal)
               from line in File.ReadLines(file).Select((text, at) => (Text: text.Split("//")[0], Number: at + 1))
               where words.IsMatch(line.Text)
               select $"{name}:{line.Number}: {line.Text.Trim()}";
    }

    [Theory]
    [InlineData("Handbook.Base")]
    [InlineData("Handbook.Text")]
    [InlineData("Handbook.Data")]
    [InlineData("Handbook.Models")]
    [InlineData("Handbook.Training")]
    [InlineData("Handbook")]
    [InlineData("Handbook.Server")]
    public void Kinds_of_devices_are_named_by_the_engine_and_by_the_plan_alone(string project) => Assert.Empty(Named(project, Kinds()));

    [Fact]
    public void Methods_families_adapters_and_workers_choose_no_place() => Assert.Empty(s_blind.SelectMany(folder => Named(folder, Places())));

    [Fact] // so that an empty answer above means something
    public void The_engine_itself_is_full_of_such_names()
    {
        Assert.NotEmpty(Named("Handbook.Torch", Kinds()));
        Assert.NotEmpty(Named("Handbook.Torch", Places()));
    }
}
