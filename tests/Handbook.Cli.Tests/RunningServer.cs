using System.Diagnostics;

namespace Handbook.Cli.Tests;

/// <summary><c>handbook serve</c> in a process of its own, on a free port, from its first line to Ctrl-C.</summary>
internal sealed class RunningServer : IDisposable
{
    private readonly Process _process;
    private readonly Task<string> _error;

    /// <param name="words">What stands behind <c>serve</c>; the last --port counts.</param>
    public RunningServer(HandbookProcess handbook, string[] words, IReadOnlyDictionary<string, string>? environment = null)
    {
        _process = handbook.Start(["serve", .. words, "--port", "0"], environment);
        _error = _process.StandardError.ReadToEndAsync();
        Line = _process.StandardOutput.ReadLine() ?? throw new InvalidOperationException($"the server ended: {_error.Result}");
        Address = new Uri(Line.Split(' ')[0]);
    }

    /// <summary>What it says when it is ready.</summary>
    public string Line { get; }

    /// <summary>Up to and with <c>/v1</c>.</summary>
    public Uri Address { get; }

    /// <summary>Ctrl-C.</summary>
    public Outcome Interrupt()
    {
        using (var kill = Process.Start("kill", ["-INT", $"{_process.Id}"]))
            kill.WaitForExit();
        Assert.True(_process.WaitForExit(TimeSpan.FromSeconds(60)), "the server did not end");
        return new(_process.ExitCode, Line, _error.Result);
    }

    public void Dispose()
    {
        if (!_process.HasExited)
            _process.Kill();
        _process.Dispose();
    }
}
