using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Handbook.Base;

namespace Handbook.Launch;

/// <summary>Starts the processes of one host, hands them the environment that torchrun's would have, and watches them.</summary>
/// <remarks>The first rank has the console. What the others print goes to a file for each, whose end is shown where one fails. When one ends
/// badly the others get some time to notice it by themselves and say why; then they are ended.</remarks>
public sealed class Launcher : IDisposable
{
    private const int DefaultPort = 29500;
    private const int LinesShown = 20;

    /// <summary>How long the others have to end by themselves after one was killed: they find out, and say whose failure it was.</summary>
    internal TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(14);

    /// <summary>The same where one has ended by itself: it knew who had failed, and so do all who still can.</summary>
    private TimeSpan ShortPatience => TimeSpan.FromSeconds(Math.Min(8, Patience.TotalSeconds));

    /// <summary>How long a process has to save after it was asked to end.</summary>
    private static readonly TimeSpan s_saving = TimeSpan.FromMinutes(30);

    private readonly LaunchPlan _plan;
    private readonly IReadOnlyList<string> _command;
    private readonly Action<string> _say;
    private readonly string _logs;
    private readonly IReadOnlyList<int>? _cores = Cores.Allowed();
    private readonly List<PosixSignalRegistration> _signals = [];
    private Process[] _running = [];
    private volatile bool _stopping;
    private int _code = -1;

    /// <param name="plan">What to start.</param>
    /// <param name="command">The program and its arguments.</param>
    /// <param name="say">Hears what is worth saying.</param>
    public Launcher(LaunchPlan plan, IReadOnlyList<string> command, Action<string> say)
    {
        plan.Validate();
        (_plan, _command, _say) = (plan, command, say);
        _logs = plan.LogFolder is { } folder ? Directory.CreateDirectory(folder).FullName
            : Directory.CreateTempSubdirectory("handbook-launch-").FullName;
        PosixSignal[] asking = [PosixSignal.SIGTERM, PosixSignal.SIGINT, .. SignalNumbers.User1 is { } user1 ? [(PosixSignal)user1]
            : (PosixSignal[])[]];
        foreach (var signal in asking)
            _signals.Add(PosixSignalRegistration.Create(signal, context =>
            {
                context.Cancel = true;
                _stopping = true;
                Send(15);       // a terminal has sent its own to all; asked twice they do the same
            }));
    }

    /// <summary>The file of what a rank prints; the first of the host prints to the console.</summary>
    public string LogOf(int rank) => Path.Combine(_logs, $"rank-{rank}.log");

    /// <summary>Runs all of them to their end; again after a failure, as often as the plan says.</summary>
    /// <returns>0 where all ended well; otherwise the exit code of the first that did not.</returns>
    public int Run()
    {
        foreach (var note in _plan.Notes)
            _say($"note: {note}");
        _say(Describe());
        for (var attempt = 0; ; attempt++)
        {
            var code = _code = RunOnce(attempt);
            // What the user has to mend, or has stopped, is not mended by starting again.
            if (code is 0 or 2 or 130 || _stopping || attempt >= _plan.Restarts)
                return code;
            _say($"starting again from the newest checkpoint (restart {attempt + 1} of {_plan.Restarts})");
        }
    }

    private string Describe()
    {
        var threads = Threads();
        var cores = Environment.ProcessorCount;
        return $"launch: {_plan.Processes} process{(_plan.Processes == 1 ? "" : "es")}"
            + (_plan.Nodes > 1 ? $" on host {_plan.NodeRank} of {_plan.Nodes}, {_plan.World} in all" : "")
            + $"; {threads} thread{(threads == 1 ? "" : "s")} each on {cores} core{(cores == 1 ? "" : "s")}"
            + (Pins() ? ", each process on cores of its own" : "")
            + (_plan.Processes > 1 ? $"; output of ranks beside the first: {_logs}" : "");
    }

    private int Threads() => _plan.Threads
        ?? (int.TryParse(Environment.GetEnvironmentVariable("OMP_NUM_THREADS"), out var named) && named > 0 ? named
            : Math.Max(1, Environment.ProcessorCount / _plan.Processes));

    /// <summary>Whether each process gets cores of its own: where there are enough, and somebody who can pin.</summary>
    private bool Pins() => _plan.Processes > 1 && Threads() * _plan.Processes <= (_cores?.Count ?? 0) && File.Exists("/usr/bin/taskset");

    private int RunOnce(int attempt)
    {
        // Of several hosts one starts again before another has noticed the failure: it must not meet what is left of the job before.
        var port = _plan.Nodes > 1 ? (_plan.Port ?? DefaultPort) + attempt : _plan.Port ?? FreePort();
        _running = [.. Enumerable.Range(0, _plan.Processes).Select(local => Start(local, port, attempt))];
        try
        {
            return Watch();
        }
        finally
        {
            foreach (var process in _running)
                process.Dispose();
            _running = [];
        }
    }

    private Process Start(int local, int port, int attempt)
    {
        var rank = _plan.NodeRank * _plan.Processes + local;
        var (threads, pins) = (Threads(), Pins());
        var start = new ProcessStartInfo { FileName = pins ? "/usr/bin/taskset" : _command[0], UseShellExecute = false };
        if (pins)
            foreach (var word in (string[])["--cpu-list", string.Join(',', _cores!.Skip(local * threads).Take(threads)), _command[0]])
                start.ArgumentList.Add(word);
        foreach (var word in _command.Skip(1))
            start.ArgumentList.Add(word);
        var values = start.Environment;
        (values["RANK"], values["LOCAL_RANK"], values["WORLD_SIZE"]) = ($"{rank}", $"{local}", $"{_plan.World}");
        (values["LOCAL_WORLD_SIZE"], values["GROUP_RANK"], values["NODE_RANK"]) = ($"{_plan.Processes}", $"{_plan.NodeRank}", $"{_plan.NodeRank}");
        (values["MASTER_ADDR"], values["MASTER_PORT"]) = (_plan.Address ?? "127.0.0.1", $"{port}");
        values["TORCHELASTIC_RESTART_COUNT"] = $"{attempt}";
        values["TORCHELASTIC_MAX_RESTARTS"] = $"{_plan.Restarts}";
        values["OMP_NUM_THREADS"] = $"{threads}";
        if (local > 0)
            start.RedirectStandardOutput = start.RedirectStandardError = start.RedirectStandardInput = true;
        var process = Process.Start(start) ?? throw new InputException($"{_command[0]} cannot be started");
        if (local > 0)
        {
            process.StandardInput.Close();
            var log = TextWriter.Synchronized(new StreamWriter(LogOf(rank), append: attempt > 0) { AutoFlush = true });
            process.OutputDataReceived += (_, line) => Write(log, line.Data);
            process.ErrorDataReceived += (_, line) => Write(log, line.Data);
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
        }
        return process;

        static void Write(TextWriter log, string? line)
        {
            if (line is not null)
                log.WriteLine(line);
        }
    }

    private int Watch()
    {
        int? failed = null, code = null;
        var (deadline, isAsked) = (DateTime.MaxValue, false);
        while (_running.Any(process => !process.HasExited))
        {
            Thread.Sleep(50);
            if (_stopping && !isAsked)
                (isAsked, deadline) = (true, DateTime.UtcNow + s_saving);
            if (failed is null && Array.FindIndex(_running, process => process.HasExited && process.ExitCode != 0) is >= 0 and var first)
            {
                (failed, code) = (first, _running[first].ExitCode);
                deadline = DateTime.UtcNow + (isAsked ? s_saving : code > 128 ? Patience : ShortPatience);
            }
            if (DateTime.UtcNow < deadline)
                continue;
            foreach (var process in _running.Where(process => !process.HasExited))
                process.Kill(entireProcessTree: true);
        }
        foreach (var process in _running)
            process.WaitForExit();      // until what it printed is in its file
        if (failed is null && Array.FindIndex(_running, process => process.ExitCode != 0) is >= 0 and var last)
            (failed, code) = (last, _running[last].ExitCode);
        // The first rank has said on the console what is wrong, where it is something to mend.
        if (Array.FindIndex(_running, process => process.ExitCode == 2) is >= 0 and var mistaken)
            (failed, code) = (mistaken, 2);
        if (failed is { } place && code is { } bad && (place, bad) != (0, 2))
            Tell(place, bad);
        return code ?? 0;
    }

    private void Tell(int local, int code)
    {
        if (code == 130)
            return;         // it has saved; who asked it to is on this host or another
        var rank = _plan.NodeRank * _plan.Processes + local;
        _say($"error: rank {rank} on {Environment.MachineName} ended with {(code > 128 ? $"signal {code - 128}" : $"exit code {code}")}");
        if (local == 0 || !File.Exists(LogOf(rank)))
            return;
        string[] lines = [.. File.ReadLines(LogOf(rank)).Where(line => line.Length > 0)];
        _say($"  the end of {LogOf(rank)}:");
        foreach (var line in lines.TakeLast(LinesShown))
            _say($"    {line}");
    }

    private void Send(int signal)
    {
        foreach (var process in _running)
            try
            {
                if (!process.HasExited)
                    SignalNumbers.Send(process.Id, signal);
            }
            catch (InvalidOperationException)
            {
                // it has ended meanwhile
            }
    }

    /// <summary>A port of this machine that nobody listens to.</summary>
    internal static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var signal in _signals)
            signal.Dispose();
        // nobody asked for them, and there is nothing to find out
        if (_plan.LogFolder is null && Directory.Exists(_logs) && (_code == 0 || !Directory.EnumerateFiles(_logs).Any()))
            Directory.Delete(_logs, recursive: true);
    }
}
