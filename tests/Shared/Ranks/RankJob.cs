using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Reflection;
using System.Text;
using Handbook.Torch.Distributed;

namespace Handbook.Testing;

/// <summary>Processes that run one method of a test class, started as torchrun starts ranks, on this machine.</summary>
internal sealed class RankJob : IDisposable
{
    private readonly List<(Process Process, StringBuilder Output)> _ranks = [];

    /// <param name="body">A static method of a test class, which each rank runs from its start to its end.</param>
    /// <param name="host">Where they meet.</param>
    /// <param name="variables">Further variables, by rank.</param>
    public RankJob(int size, Action body, string host = "127.0.0.1", Func<int, (string Name, string? Value)[]>? variables = null)
    {
        if (Backend.Gloo.Missing is { } missing)
            Assert.Skip(missing);
        var port = FreePort(host);
        for (var rank = 0; rank < size; rank++)
        {
            var start = new ProcessStartInfo("dotnet", ["exec", Assembly.GetExecutingAssembly().Location])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                RedirectStandardInput = true,
            };
            (string, string?)[] all =
            [
                (RankProgram.Variable, $"{body.Method.DeclaringType!.FullName}.{body.Method.Name}"), ("RANK", $"{rank}"),
                ("WORLD_SIZE", $"{size}"), ("LOCAL_RANK", $"{rank}"), ("LOCAL_WORLD_SIZE", $"{size}"), ("MASTER_ADDR", host),
                ("MASTER_PORT", $"{port}"), ("OMP_NUM_THREADS", "1"), ("DOTNET_TieredPGO", "0"), .. variables?.Invoke(rank) ?? [],
            ];
            foreach (var (name, value) in all)
                start.Environment[name] = value;
            var process = new Process { StartInfo = start };
            var output = new StringBuilder();
            DataReceivedEventHandler take = (_, line) =>
            {
                lock (output)
                    output.Append(line.Data).Append('\n');
            };
            process.OutputDataReceived += take;
            process.ErrorDataReceived += take;
            process.Start();
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            _ranks.Add((process, output));
        }
    }

    /// <summary>What a rank wrote so far, on both streams.</summary>
    public string Output(int rank)
    {
        lock (_ranks[rank].Output)
            return _ranks[rank].Output.ToString();
    }

    /// <summary>Waits for a text in a rank's output.</summary>
    public void WaitFor(int rank, string text)
    {
        var watch = Stopwatch.StartNew();
        while (!Output(rank).Contains(text, StringComparison.Ordinal))
        {
            if (watch.Elapsed.TotalSeconds > 60 || _ranks[rank].Process.HasExited)
                Assert.Fail($"rank {rank} did not write '{text}':\n{Output(rank)}");
            Thread.Sleep(10);
        }
    }

    /// <summary>Sends a rank a signal: 9 kills it, 19 stops it.</summary>
    public void Signal(int rank, int signal) => Process.Start("kill", [$"-{signal}", $"{_ranks[rank].Process.Id}"]).WaitForExit();

    /// <summary>Waits for a rank's end; its exit code.</summary>
    public int Exit(int rank, double seconds = 60)
    {
        if (!_ranks[rank].Process.WaitForExit(TimeSpan.FromSeconds(seconds)))
            Assert.Fail($"rank {rank} did not end within {seconds} s:\n{Output(rank)}");
        _ranks[rank].Process.WaitForExit();     // the rest of its output
        return _ranks[rank].Process.ExitCode;
    }

    /// <summary>Runs the method as so many ranks, all of which have to end well.</summary>
    public static void Run(int size, Action body, string host = "127.0.0.1", Func<int, (string Name, string? Value)[]>? variables = null)
    {
        using var job = new RankJob(size, body, host, variables);
        for (var rank = 0; rank < size; rank++)
            if (job.Exit(rank) != 0)
                Assert.Fail($"rank {rank} of {size} ended with {job.Exit(rank)}:\n"
                    + string.Concat(Enumerable.Range(0, size).Select(each => $"--- rank {each}\n{job.Output(each)}")));
    }

    private static int FreePort(string host)
    {
        using var listener = new TcpListener(IPAddress.Parse(host), 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    public void Dispose()
    {
        foreach (var (process, _) in _ranks)
        {
            if (!process.HasExited)
                process.Kill();
            process.Dispose();
        }
    }
}
