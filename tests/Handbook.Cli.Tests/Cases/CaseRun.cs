using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.RegularExpressions;
using Handbook.Testing;

namespace Handbook.Cli.Tests.Cases;

/// <summary>What a case's <c>run.sh</c> printed, with the built command line in place of the launcher.</summary>
/// <param name="Text">Standard output and error as they came, in one text.</param>
internal sealed partial record CaseRun(string Text)
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);

    /// <summary>Each case runs once in a test process, however many tests ask for it.</summary>
    private static readonly ConcurrentDictionary<string, Lazy<CaseRun>> s_runs = [];

    /// <summary>Runs a case, or returns how it ran before; skips the calling test where the shared folder has it not.</summary>
    /// <param name="folder">The folder's name below <c>cases</c>.</param>
    public static CaseRun Of(string folder)
    {
        var script = SharedFiles.Need("cases", folder, "run.sh");
        return s_runs.GetOrAdd(folder, _ => new(() => Run(script))).Value;
    }

    /// <summary>What the command's rows look like: the text behind each <c>── row N: … ──</c> line, up to the next one.</summary>
    public IReadOnlyList<string> Rows => [.. RowHeading().Split(Text).Skip(1).Select(row => row.Trim('\n'))];

    /// <summary>The exit codes that the script printed, as <c>rc=N</c>.</summary>
    public IReadOnlyList<int> Codes => [.. ExitCode().Matches(Text).Select(match => int.Parse(match.Groups[1].Value))];

    /// <summary>The line of the text that says that something of ours went wrong; null where none does.</summary>
    public string? OwnFault => Text.Split('\n').FirstOrDefault(line => StackTrace().IsMatch(line));

    private static CaseRun Run(string script)
    {
        using var place = new HandbookProcess();
        var launcher = place.Write("handbook", $"exec dotnet exec '{HandbookProcess.ProgramFile}' \"$@\"\n");
        var start = new ProcessStartInfo("bash", ["-c", "exec bash \"$0\" 2>&1", script])
        {
            WorkingDirectory = place.Folder,
            RedirectStandardOutput = true
        };
        start.Environment["HANDBOOK"] = "sh " + launcher;      // the scripts let the shell split it into words
        start.Environment["SHARED"] = SharedFiles.Root;
        start.Environment["HANDBOOK_CACHE"] = Path.Combine(place.Folder, "cache");
        using var process = Process.Start(start)!;
        var output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(s_limit))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{script} ran longer than {s_limit}; it printed: {output.Result}");
        }
        return new(output.Result);
    }

    [GeneratedRegex(@"^── row \d+: .*──$", RegexOptions.Multiline)]
    private static partial Regex RowHeading();

    [GeneratedRegex(@"^rc=(\d+)$", RegexOptions.Multiline)]
    private static partial Regex ExitCode();

    [GeneratedRegex(@"^\s+at [\w.<>`]+\(|Unhandled exception|internal error|^rc=(1|134|139)$")]
    private static partial Regex StackTrace();
}
