using System.Diagnostics;
using System.Globalization;
using System.Text;
using Handbook.Base;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>What a sandboxed command may use.</summary>
internal sealed record SandboxLimits
{
    /// <summary>Time on the clock.</summary>
    public double Seconds { get; init; } = 10;

    /// <summary>Memory of each process, in MB.</summary>
    public int MemoryMb { get; init; } = 512;

    /// <summary>Processes and threads at once.</summary>
    public int Processes { get; init; } = 64;

    /// <summary>All files together, scratch folder and <c>/tmp</c>, in MB; they lie in memory.</summary>
    public int FileMb { get; init; } = 64;
}

/// <summary>How a sandboxed command ended.</summary>
/// <param name="Code">Its exit code; null where it was stopped.</param>
/// <param name="Output">The end of what it printed.</param>
internal readonly record struct SandboxOutcome(int? Code, string Output);

/// <summary>Runs commands without network, without the user's files, and with limits of time, memory and processes.</summary>
/// <remarks>
/// Each command is a chain of small programs, so that every limit is the kernel's: whoever runs it may be killed at any moment, and nothing
/// lives on. New user, mount, network, process and IPC namespaces (<c>unshare</c>); a root of its own with the system's programs and a
/// scratch folder in memory (<c>pivot_root</c>); the end together with its parent (<c>setpriv --pdeathsig</c>) or after its time
/// (<c>timeout</c>); resource limits (<c>prlimit</c>); no capabilities and no way to new ones (<c>setpriv</c>). Who runs as root becomes
/// nobody first. Where any of it cannot be had, nothing runs.
/// </remarks>
internal sealed class CodeSandbox
{
    private const int OutputKept = 2000;

    /// <summary>Seconds after which the kernel's own clock ends what the clock here has not ended.</summary>
    private const double Grace = 5;

    /// <summary>Makes the new root, then runs the rest of its words there.</summary>
    private const string Enter = """
        set -e
        root=$1 scratch=$2 size=$3
        shift 3
        mount -t tmpfs -o "size=$size,nr_inodes=16k,mode=755" sandbox "$root"
        for name in usr bin sbin lib lib32 lib64 libx32 etc opt; do
            if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$root/$name"
            elif [ -d "/$name" ]; then mkdir "$root/$name"; mount --rbind "/$name" "$root/$name"; fi
        done
        mkdir "$root/proc" "$root/dev" "$root/tmp" "$root/work" "$root/.old"
        chmod 1777 "$root/tmp"
        for name in null zero random urandom; do : > "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
        cp -r "$scratch/." "$root/work/"
        mount -t proc proc "$root/proc" 2>/dev/null || true
        cd "$root"
        pivot_root . .old
        cd /work
        umount -l /.old
        exec "$@"
        """;

    private readonly SandboxLimits _limits;

    private CodeSandbox(SandboxLimits limits) => _limits = limits;

    /// <exception cref="InputException">Isolation cannot be had here.</exception>
    public static CodeSandbox Open(SandboxLimits limits)
    {
        if (!OperatingSystem.IsLinux())
            throw Refused("this system has no namespaces", "run unit tests on Linux");
        SandboxFolder.Sweep();
        var sandbox = new CodeSandbox(limits);
        SandboxOutcome probe;
        try
        {
            // It must run, see no folder of ours, and have no network but an interface that is down.
            probe = sandbox.Run("test ! -e /home && test ! -e /root && test -w . && ! grep -q '^[a-z]*[0-9].*00000000' /proc/net/route "
                + "2>/dev/null && echo ready", new Dictionary<string, string>(), CancellationToken.None);
        }
        catch (System.ComponentModel.Win32Exception failure)
        {
            throw Refused(failure.Message, "install util-linux (unshare, prlimit, setpriv) and coreutils (timeout)");
        }
        return probe is { Code: 0 } && probe.Output.Contains("ready", StringComparison.Ordinal) ? sandbox
            : throw Refused(probe.Output.Trim().Length > 0 ? probe.Output.Trim() : $"the trial run ended with {probe.Code}",
                "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1; in a container, a seccomp profile that permits unshare "
                    + "and mount), or leave unit_test out of reward_funcs");

        static InputException Refused(string reason, string fix) =>
            new($"unit_test: code cannot be isolated here: {reason}", "what a model wrote must not reach your files or the network", fix);
    }

    /// <param name="command">For <c>sh -c</c>.</param>
    /// <param name="files">Names and contents of what lies in the scratch folder.</param>
    public SandboxOutcome Run(string command, IReadOnlyDictionary<string, string> files, CancellationToken cancel)
    {
        using var folder = new SandboxFolder();
        string root = folder["root"], scratch = folder["work"];
        Directory.CreateDirectory(root);
        Directory.CreateDirectory(scratch);
        foreach (var (name, content) in files)
            File.WriteAllText(Path.Combine(scratch, name), content, new UTF8Encoding(false));
        if (OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess)        // nobody must reach them
            foreach (var path in (string[])[folder.Path, root, scratch, .. files.Keys.Select(name => Path.Combine(scratch, name))])
                File.SetUnixFileMode(path, (UnixFileMode)0b111_111_111);
        return Run(command, root, scratch, cancel);
    }

    private SandboxOutcome Run(string command, string root, string scratch, CancellationToken cancel)
    {
        string[] words =
        [
            .. Environment.IsPrivilegedProcess ? (string[])["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] : [],
            // The signal comes when the thread that starts this ends; it waits below for as long as this runs.
            "setpriv", "--pdeathsig", "KILL", "timeout", "--signal=KILL", (_limits.Seconds + Grace).ToString(CultureInfo.InvariantCulture),
                "setpriv", "--pdeathsig", "KILL",
            "unshare", "--user", "--map-root-user", "--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child",
            "sh", "-c", Enter, "sandbox", root, scratch, $"{_limits.FileMb}m",
            "prlimit", Limit("as", (long)_limits.MemoryMb << 20), Limit("nproc", _limits.Processes),
                Limit("fsize", (long)_limits.FileMb << 20),
            Limit("cpu", (long)Math.Ceiling(_limits.Seconds) + 1), Limit("nofile", 256), Limit("core", 0),
            "setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "sh", "-c", command,
        ];
        var start = new ProcessStartInfo(words[0], words[1..])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
            WorkingDirectory = "/",
        };
        start.Environment.Clear();
        (start.Environment["PATH"], start.Environment["HOME"],
            start.Environment["LANG"]) = ("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "/work", "C.UTF-8");
        using var process = Process.Start(start)!;
        process.StandardInput.Close();
        var output = new StringBuilder();
        process.OutputDataReceived += Keep;
        process.ErrorDataReceived += Keep;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        stop.CancelAfter(TimeSpan.FromSeconds(_limits.Seconds));
        try
        {
            process.WaitForExitAsync(stop.Token).GetAwaiter().GetResult();
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            process.WaitForExit(5000);
            cancel.ThrowIfCancellationRequested();
            return new(null, Kept());
        }
        return new(process.ExitCode, Kept());

        void Keep(object _, DataReceivedEventArgs line)
        {
            if (line.Data is null)
                return;
            lock (output)
            {
                output.Append(line.Data.Length > OutputKept ? line.Data[^OutputKept..] : line.Data).Append('\n');
                if (output.Length > 2 * OutputKept)
                    output.Remove(0, output.Length - OutputKept);
            }
        }

        string Kept()
        {
            lock (output)
                return output.Length > OutputKept ? output.ToString(output.Length - OutputKept, OutputKept) : output.ToString();
        }
    }

    private static string Limit(string name, long value) => $"--{name}={value.ToString(CultureInfo.InvariantCulture)}";
}
