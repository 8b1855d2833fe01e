using System.Text.RegularExpressions;
using Handbook.Testing;
using Handbook.Training.Methods.Rejection;

namespace Handbook.Tests.Repository;

/// <summary>Rules of the house that the compiler does not keep: they are read from the source text.</summary>
public sealed partial class SourceRulesTests
{
    /// <summary>Files that write in place, each with its reason. Everything else goes through <c>WholeFile</c>.</summary>
    private static readonly Dictionary<string, string> s_writers = new()
    {
        ["Handbook.Base/Files/Disk.cs"] = "the operations that WholeFile is made of",
        ["Handbook.Data/Cache/TokenStoreWriter.cs"] = "a file of many gigabytes grows row by row; WholeFile publishes it",
        ["Handbook.Training/Methods/Preferences/ReferenceScores.cs"] = "scores so far outlive a stop; WholeFile publishes them",
        ["Handbook.Training/Rewards/ScoreFile.cs"] = "scores so far outlive a stop; WholeFile publishes them",
        ["Handbook.Cli/GenerateCommand.cs"] = "answers are read while more are made; WholeFile publishes them",
        ["Handbook.Training/Metrics/MetricsFile.cs"] = "a log, one line after the other",
        ["Handbook.Training/Sampling/Journal.cs"] = "a log, one line after the other",
        ["Handbook/Launch/Launcher.cs"] = "a log of what other processes print, as they print it",
        ["Handbook.Training/RowLog.cs"] = "a log, one line after the other",
        ["Handbook.Training/Events/EventFile.cs"] = "a log that TensorBoard reads while it grows",
        ["Handbook.Training/Reports/WandbFile.cs"] = "a log that Weights & Biases reads while it grows",
        ["Handbook.Training/Reports/MlflowStore.cs"] = "logs that MLflow reads while they grow",
        ["Handbook.Server/Dashboard/PreferenceFile.cs"] = "rows that somebody prefers, one after the other; those before are left alone",
        ["Handbook.Torch/SpillFile.cs"] = "memory that lies on the disk, without a name",
        ["Handbook.Training/RunLock.cs"] = "the file is the lock",
        ["Handbook.Training/Sampling/Scorers/SandboxFolder.cs"] = "the file is the lock of a folder that is removed",
        ["Handbook.Training/Sampling/Scorers/CodeSandbox.cs"] = "a scratch folder that is removed",
        ["Handbook/Hub/HubDownload.cs"] = "what has arrived so far outlives a stop; WholeFile publishes it",
        ["Handbook/Hub/HubToken.cs"] = "a secret, which nobody else may read at any moment; WholeFile publishes it",
        ["Handbook/Hub/FileGate.cs"] = "the file is the lock",
        ["Handbook/Runs/RejectionPlace.cs"] = "moves the folder of a model; a start that finds half of it goes on",
        ["Handbook.Training/Checkpoints/CheckpointFolder.cs"] = "renames the folder of a checkpoint before it is removed",
    };

    /// <summary>Files that name a method, each with its reason. Everything else asks its definition.</summary>
    private static readonly Dictionary<string, string> s_naming = new()
    {
        ["Handbook.Training/Sampling/RejectionOptions.cs"] = "train_method names the methods that it may mean",
        ["Handbook.Training/Methods/Rejection/RejectionDefinition.cs"] = "the methods of its training stage",
        ["Handbook/Recipes/RecipeMethod.cs"] = "what a recipe is for where nothing tells",
        ["Handbook/Recipes/KeyReference.cs"] = "the method whose keys are looked through first",
        ["Handbook/Recipes/OtherKeys.cs"] = "keys of other trainers' configuration classes",
        ["Handbook/Recipes/OtherGrpoKeys.cs"] = "keys of other trainers' configuration classes",
        ["Handbook/Recipes/ScriptNames.cs"] = "a script of another trainer whose name is not the method's",
        ["Handbook/Migration/AxolotlRules.cs"] = "what another trainer calls the methods",
        ["Handbook/Migration/AxolotlData.cs"] = "what another trainer calls the columns of each method's rows",
        ["Handbook/Migration/LlamaFactoryRules.cs"] = "what another trainer calls the methods",
        ["Handbook/Migration/LlamaFactoryData.cs"] = "what another trainer calls the columns of each method's rows",
    };

    [Fact]
    public void A_method_is_known_in_its_folder_and_in_the_table_alone()
    {
        Assert.Equal([], Matches(Method()).Where(place => !s_naming.ContainsKey(place[..place.IndexOf(':')])));
        var naming = Matches(Method()).Select(place => place[..place.IndexOf(':')]).ToHashSet();
        Assert.Equal([], s_naming.Keys.Where(file => !naming.Contains(file)));
    }

    [Fact]
    public void No_library_prints_exits_or_reads_the_command_line()
    {
        var found = Matches(Terminal()).Where(place => !place.StartsWith("Handbook.Cli/", StringComparison.Ordinal));
        Assert.Equal([], found);
    }

    [Fact]
    public void Whole_files_are_written_by_one_type()
    {
        var found = Matches(Writing()).Where(place => !s_writers.ContainsKey(place[..place.IndexOf(':')]));
        Assert.Equal([], found);
    }

    [Fact]
    public void Each_exception_from_writing_whole_files_is_still_one()
    {
        var writing = Matches(Writing()).Select(place => place[..place.IndexOf(':')]).ToHashSet();
        Assert.Equal([], s_writers.Keys.Where(file => !writing.Contains(file)));
    }

    [Fact]
    public void Only_the_command_line_has_the_packages_of_terminals()
    {
        var projects = Directory.EnumerateFiles(Path.Combine(SharedFiles.Repository, "src"), "*.csproj", SearchOption.AllDirectories)
            .Where(file => File.ReadAllText(file) is var text && (text.Contains("Spectre.Console", StringComparison.Ordinal)
                || text.Contains("System.CommandLine", StringComparison.Ordinal)));
        Assert.Equal(["Handbook.Cli.csproj"], projects.Select(Path.GetFileName));
    }

    [Fact]
    public void Methods_reach_log_probabilities_by_one_type()
    {
        var found = Matches(Head()).Where(place => place.StartsWith("Handbook.Training/", StringComparison.Ordinal)
            && !place.StartsWith("Handbook.Training/Methods/TokenLogProbs.cs", StringComparison.Ordinal));
        Assert.Empty(found);
    }

    [Fact]
    public void No_two_types_share_a_name()
    {
        var found = SourceLines()
            .Select(source => (source.File, Type: TopLevelType().Match(source.Line)))
            .Where(place => place.Type.Success)
            // The parts of a partial type lie in one folder; a generic type and its plain companion share a file.
            .Select(place => (place.Type.Groups["name"].Value, At: place.Type.Groups["partial"].Success ? Path.GetDirectoryName(place.File)
                : place.File))
            .Distinct()
            .GroupBy(type => type.Value, type => type.At)
            .Where(same => same.Count() > 1);
        Assert.Equal([], found.Select(same => $"{same.Key}: {string.Join(", ", same)}"));
    }

    [Fact]
    public void Only_the_engine_and_the_plan_know_kinds_of_devices()
    {
        var found = Matches(DeviceKind()).Where(place => !place.StartsWith("Handbook.Torch/", StringComparison.Ordinal)
            && !place.StartsWith("Handbook.Training/Scale/", StringComparison.Ordinal)
            && !place.StartsWith("Handbook.Training/Plans/DevicePlan.cs", StringComparison.Ordinal));
        Assert.Equal([], found);
        Assert.Contains(Matches(DeviceKind()), place => place.StartsWith("Handbook.Torch/Device.cs", StringComparison.Ordinal));
    }

    [Fact]
    public void Methods_families_adapters_and_workers_know_nothing_of_devices()
    {
        string[] rooms = ["Handbook.Training/Methods/", "Handbook.Training/Distributed/", "Handbook.Models/Families/", "Handbook.Models/Adapters/"];
        var found = Matches(AnyDevice()).Where(place => rooms.Any(room => place.StartsWith(room, StringComparison.Ordinal)));
        Assert.Equal([], found);
    }

    /// <summary>Places in the product's source, as <c>FILE:LINE</c>; comments and texts do not count.</summary>
    private static List<string> Matches(Regex what) =>
        [.. SourceLines()
            .Where(source => what.IsMatch(NotCode().Replace(source.Line, "")))
            .Select(source => $"{source.File}:{source.Number}: {source.Line.Trim()}")];

    private static IEnumerable<(string File, int Number, string Line)> SourceLines()
    {
        var root = Path.Combine(SharedFiles.Repository, "src");
        foreach (var file in Directory.EnumerateFiles(root, "*.cs", SearchOption.AllDirectories))
        {
            var name = Path.GetRelativePath(root, file);
            if (name.Contains("/obj/", StringComparison.Ordinal) || name.Contains("/bin/", StringComparison.Ordinal))
                continue;
            var number = 0;
            foreach (var line in File.ReadLines(file))
                yield return (name, ++number, line);
        }
    }

    [GeneratedRegex("""
        ^(?:(?:public|internal|static|sealed|abstract|readonly|unsafe|ref|(?<partial>partial))\ )*
        (?:class|struct|record(?:\ class|\ struct)?|interface|enum|delegate\ [^ ]+)\ (?<name>\w+)
        """, RegexOptions.IgnorePatternWhitespace)]
    private static partial Regex TopLevelType();

    [GeneratedRegex("""//.*$|"(?:\\.|[^"\\])*"(?!")""")]
    private static partial Regex NotCode();

    [GeneratedRegex(@"(?<![\w.])(?:System\.)?Console\.|AnsiConsole|Environment\.(?:GetCommandLineArgs|CommandLine|Exit\b|FailFast)")]
    private static partial Regex Terminal();

    [GeneratedRegex(@"\bTrainingMethod\.[A-Z]")]
    private static partial Regex Method();

    [GeneratedRegex(@"\bLinearLogProb\.")]
    private static partial Regex Head();

    [GeneratedRegex("cuda|gpu|nvidia|nvrtc|nccl", RegexOptions.IgnoreCase)]
    private static partial Regex DeviceKind();

    [GeneratedRegex(@"\bDevices?\b|\bDeviceKernels\b|\.IsCpu\b")]
    private static partial Regex AnyDevice();

    [GeneratedRegex(@"\bFile\.(?:WriteAll|AppendAll|AppendText|Move|Create\b|CreateText|OpenWrite|Replace|Copy)|\bDirectory\.Move|FileMode\.(?:Create|CreateNew|OpenOrCreate|Append|Truncate)\b|new StreamWriter\(|MoveTo\(")]
    private static partial Regex Writing();
}
