using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Bench.Gpu;

/// <summary><c>gpu test</c> and <c>gpu bench</c>: all that is to be found out on a GPU, within the minutes that one is there.</summary>
internal static class GpuCommand
{
    private const int TestSeconds = 470, BenchSeconds = 350;

    /// <summary>A rehearsal may take longer: it has two cores, and others beside it.</summary>
    private const int Patience = 8;

    /// <param name="kind"><c>test</c> or <c>bench</c>.</param>
    /// <param name="options"><c>--dry</c>, <c>--seconds N</c>, <c>--only STAGE</c>, <c>--out FILE</c>.</param>
    public static int Run(string kind, string[] options)
    {
        var dry = options.Contains("--dry");
        var only = After("--only");
        var limit = After("--seconds") is { } text ? double.Parse(text, CultureInfo.InvariantCulture)
            : (kind == "test" ? TestSeconds : BenchSeconds) * (dry ? Patience : 1);
        var file = After("--out") ?? Path.Combine(Repository.Root, dry ? "build" : Path.Combine("bench", "results"),
            kind == "bench" && !dry ? "gpu.json" : $"gpu-{kind}{(dry ? "-dry" : "")}.json");
        var begun = Stopwatch.GetTimestamp();
        var report = new GpuReport(kind, "", dry, DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture), [], []);
        GpuStage[] stages = [.. GpuStage.All.Where(stage => stage.Kind == kind && (only is null || stage.Name == only))];
        if (stages.Length == 0)
            throw new InputException($"--only {only}: there is no such stage",
                fix: "use one of " + string.Join(", ", GpuStage.All.Where(stage => stage.Kind == kind).Select(stage => stage.Name)));
        foreach (var stage in stages)
        {
            var left = limit - Stopwatch.GetElapsedTime(begun).TotalSeconds;
            var (rows, end, device) = left < Math.Min(5, stage.Seconds) ? ([], new StageEnd(stage.Name, "left out", 0, "no time was left"), "")
                : Child(stage, dry, (int)Math.Min(left, stage.Seconds * (dry ? Patience : 1)));
            report = report with
            {
                Device = device.Length > 0 ? device : report.Device,
                Rows = [.. report.Rows, .. rows],
                Stages = [.. report.Stages, end],
            };
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(file))!);
            WholeFile.WriteText(file, report.ToJson());         // what is there is kept, whatever comes next
        }
        Show(report, Stopwatch.GetElapsedTime(begun).TotalSeconds);
        Console.WriteLine($"all of it: {file}");
        return report.Stages.All(stage => stage.State == "done") && report.Rows.All(row => row.Ok != false) ? 0 : 1;

        string? After(string name) => Array.IndexOf(options, name) is >= 0 and var at && at + 1 < options.Length ? options[at + 1] : null;
    }

    /// <summary>Runs a stage in this process, and prints a line for everything it finds.</summary>
    public static int RunStage(string name, bool dry, int seconds)
    {
        var stage = GpuStage.All.Single(stage => stage.Name == name);
        try
        {
            stage.Run(new(name, dry, seconds));
            return 0;
        }
        catch (Exception failure)
        {
            Console.Error.WriteLine(failure is InputException ? failure.Message : failure.ToString());
            return 1;
        }
    }

    /// <summary>Starts this program once more: <c>gpu</c> and these words.</summary>
    public static Process Again(string[] words)
    {
        var program = Path.Combine(AppContext.BaseDirectory, "Handbook.Bench.dll");
        return Process.Start(new ProcessStartInfo(Environment.ProcessPath!, ["exec", program, "gpu", .. words])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
    }

    private static (IReadOnlyList<GpuRow> Rows, StageEnd End, string Device) Child(GpuStage stage, bool dry, int seconds)
    {
        Console.WriteLine($"{stage.Name} (at most {seconds} s)");
        var begun = Stopwatch.GetTimestamp();
        List<GpuRow> rows = [];
        List<string> said = [];
        var device = "";
        using var child = Again(["stage", stage.Name, $"{seconds}", .. dry ? (string[])["--dry"] : []]);
        child.OutputDataReceived += (_, line) =>
        {
            if (line.Data is not { Length: > 0 } text)
                return;
            lock (rows)
                if (text[0] == '{' && JsonSerializer.Deserialize<GpuRow>(text, GpuReport.Json) is { } row)
                {
                    rows.Add(row);
                    Console.WriteLine(Line(row));
                }
                else if (text.StartsWith(StageRun.NameMark, StringComparison.Ordinal))
                    device = text[StageRun.NameMark.Length..];
                else
                    said.Add(text);
        };
        child.ErrorDataReceived += (_, line) =>
        {
            lock (rows)
                if (line.Data is { Length: > 0 } text)
                    said.Add(text);
        };
        child.BeginOutputReadLine();
        child.BeginErrorReadLine();
        var ended = child.WaitForExit(TimeSpan.FromSeconds(seconds));
        if (!ended)
            child.Kill(entireProcessTree: true);
        child.WaitForExit();            // the last lines
        lock (rows)
        {
            var state = !ended ? "out of time" : child.ExitCode != 0 ? "failed" : "done";
            var why = state == "done" ? "" : string.Join('\n', said.TakeLast(40));
            if (state != "done")
                Console.WriteLine($"  {state}: {why.ReplaceLineEndings("\n  ")}");
            return ([.. rows], new(stage.Name, state, Stopwatch.GetElapsedTime(begun).TotalSeconds, why), device);
        }
    }

    private static string Line(GpuRow row)
    {
        var mark = row.Ok switch { true => "ok", false => "WRONG", null => "" };
        var value = row.Value is { } number ? FormattableString.Invariant($"{number:G4} {row.Unit}") : "";
        return $"  {mark,-6}{row.Name,-44} {value,-26} {row.Note}".TrimEnd();
    }

    private static void Show(GpuReport report, double seconds)
    {
        Console.WriteLine();
        Console.WriteLine($"{"stage",-16}{"state",-14}{"seconds",8}{"ok",6}{"wrong",7}{"figures",9}");
        foreach (var stage in report.Stages)
        {
            var rows = report.Rows.Where(row => row.Stage == stage.Name).ToList();
            Console.WriteLine(FormattableString.Invariant($"{stage.Name,-16}{stage.State,-14}{stage.Seconds,8:0.0}")
                + $"{rows.Count(row => row.Ok == true),6}{rows.Count(row => row.Ok == false),7}{rows.Count(row => row.Ok is null),9}");
        }
        Console.WriteLine(FormattableString.Invariant($"{report.Device}: {seconds:0} s")
            + (report.IsRehearsal ? "; a rehearsal: what stands in for a GPU says nothing about one" : ""));
    }
}
