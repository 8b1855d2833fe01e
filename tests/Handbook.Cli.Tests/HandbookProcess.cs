using System.Diagnostics;

namespace Handbook.Cli.Tests;

/// <summary>The built command line, started as users start it, in a folder of its own.</summary>
internal sealed class HandbookProcess : IDisposable
{
    /// <summary>The assembly that <c>dotnet exec</c> runs.</summary>
    public static string ProgramFile { get; } = Path.Combine(AppContext.BaseDirectory, "handbook-cli.dll");

    /// <summary>The working folder; it is empty at first and gone after the test.</summary>
    public string Folder { get; } = Directory.CreateTempSubdirectory("handbook-").FullName;

    // Rows kept by an earlier test would hide that they can no longer be read.
    private string Cache => Path.Combine(Folder, "handbook-cache");

    /// <summary>Writes a file below the working folder.</summary>
    public string Write(string name, string text)
    {
        var path = Path.Combine(Folder, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return path;
    }

    /// <summary>Runs a command to its end.</summary>
    public Outcome Run(params string[] words) => Run(words, TimeSpan.FromMinutes(5));

    /// <inheritdoc cref="Run(string[])"/>
    public Outcome Run(string[] words, TimeSpan limit, IReadOnlyDictionary<string, string>? environment = null)
    {
        using var process = Start(words, environment);
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        if (!process.WaitForExit(limit))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"handbook {string.Join(' ', words)} ran longer than {limit}; stderr so far: {error.Result}");
        }
        return new(process.ExitCode, output.Result, error.Result);
    }

    /// <summary>Starts a command and returns while it runs; the caller reads its output, and writes its input where it asks for
    /// that.</summary>
    public Process Start(string[] words, IReadOnlyDictionary<string, string>? environment = null, bool input = false) =>
        StartOther("dotnet", ["exec", ProgramFile, .. words], environment, input);

    /// <summary>Starts another program in the working folder, such as a shell that runs the handbook.</summary>
    public Process StartOther(string program, string[] words, IReadOnlyDictionary<string, string>? environment = null, bool input = false)
    {
        var start = new ProcessStartInfo(program, words)
        {
            WorkingDirectory = Folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = input,
        };
        start.Environment["HANDBOOK_CACHE"] = Cache;
        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
            start.Environment[name] = value;
        return Process.Start(start)!;
    }

    /// <summary>Runs another program in the working folder to its end, such as a shell that runs the handbook.</summary>
    public Outcome RunOther(string program, params string[] words)
    {
        var start = new ProcessStartInfo(program, words)
        {
            WorkingDirectory = Folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true
        };
        start.Environment["HANDBOOK_CACHE"] = Cache;
        try
        {
            using var process = Process.Start(start)!;
            var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
            process.WaitForExit();
            return new(process.ExitCode, output.Result, error.Result);
        }
        catch (System.ComponentModel.Win32Exception problem)
        {
            return new(127, "", problem.Message);       // not installed here
        }
    }

    /// <summary>The process of a rank that runs in this folder; null where there is none.</summary>
    public Process? Rank(int rank)
    {
        foreach (var process in Process.GetProcesses())
        {
            try
            {
                if (new FileInfo($"/proc/{process.Id}/cwd").ResolveLinkTarget(true)?.FullName == Folder
                    && File.ReadAllText($"/proc/{process.Id}/cmdline") is var words
                    && !words.Contains("\0launch\0", StringComparison.Ordinal) && words.Contains("handbook-cli.dll\0", StringComparison.Ordinal)
                    && File.ReadAllText($"/proc/{process.Id}/environ").Split('\0').Contains($"RANK={rank}"))
                    return process;
            }
            catch (Exception gone) when (gone is IOException or UnauthorizedAccessException)
            {
                // it has ended, or is another user's
            }
            process.Dispose();
        }
        return null;
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}

/// <summary>How a command ended.</summary>
internal sealed record Outcome(int Code, string Output, string Error);
