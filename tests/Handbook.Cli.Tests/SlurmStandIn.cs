using System.Diagnostics;
using Handbook.Testing;

namespace Handbook.Cli.Tests;

/// <summary><c>sbatch</c>, <c>srun</c> and <c>scontrol</c> on this machine: a job is a process, a node is one too, and a requeued job begins
/// again.</summary>
internal sealed class SlurmStandIn
{
    // Slurm runs a copy of the script, in a shell of its own, and hands the signal that `--signal=B:…` asks for to that shell alone.
    private const string Sbatch = """
        #!/bin/bash
        nodes=1
        while [[ $1 == -* ]]; do
            case $1 in --nodes=*) nodes=${1#*=} ;; esac
            shift
        done
        cp "$1" "$STANDIN/job.sh"
        shift
        export SLURM_JOB_ID=4711 SLURM_JOB_NUM_NODES=$nodes SLURM_NNODES=$nodes SLURM_JOB_NODELIST=node[0-1] SLURM_SUBMIT_DIR=$PWD
        for ((restart = 0; ; restart++)); do
            rm -f "$STANDIN/requeued"
            code=0
            cd /
            SLURM_RESTART_COUNT=$restart bash "$STANDIN/job.sh" "$@" &
            echo $! >"$STANDIN/pid.new" && mv "$STANDIN/pid.new" "$STANDIN/job.pid"
            wait $! || code=$?
            [ -e "$STANDIN/requeued" ] || exit $code
        done
        """;

    private const string Srun = """
        #!/bin/bash
        tasks=1
        while [[ $1 == -* ]]; do
            case $1 in --ntasks=*) tasks=${1#*=} ;; esac
            shift
        done
        ids=() woken=''
        for ((i = 0; i < tasks; i++)); do
            SLURM_NODEID=$i SLURM_PROCID=$i SLURM_LOCALID=0 SLURM_NTASKS=$tasks SLURM_STEP_ID=0 "$@" &
            ids+=($!)
        done
        trap 'woken=yes; kill -USR1 "${ids[@]}" 2>/dev/null' USR1
        trap 'woken=yes; kill -TERM "${ids[@]}" 2>/dev/null' TERM
        worst=0
        for id in "${ids[@]}"; do
            code=0
            wait "$id" || code=$?
            while [ -n "$woken" ]; do
                woken=''
                again=0
                wait "$id" || again=$?
                [ $again = 127 ] || code=$again
            done
            [ $code -le $worst ] || worst=$code
        done
        exit $worst
        """;

    private const string Scontrol = """
        #!/bin/bash
        case "$1 $2" in
            "show hostnames") printf 'localhost\nnode1\n' ;;
            "show job") echo "   JobState=${STANDIN_STATE:-RUNNING} Reason=None" ;;
            "requeue $SLURM_JOB_ID") touch "$STANDIN/requeued" ;;
            *) echo "scontrol: $*?" >&2; exit 1 ;;
        esac
        """;

    private readonly Func<string, string[], IReadOnlyDictionary<string, string>, Process> _start;
    private readonly string _folder;

    /// <param name="write">Writes a file below the folder where jobs are submitted; returns its path.</param>
    /// <param name="start">Starts a program there, with variables.</param>
    public SlurmStandIn(Func<string, string, string> write, Func<string, string[], IReadOnlyDictionary<string, string>, Process> start)
    {
        _start = start;
        _folder = Path.GetDirectoryName(write("slurm/sbatch", Sbatch))!;
        write("slurm/srun", Srun);
        write("slurm/scontrol", Scontrol);
        write("slurm/handbook", $"#!/bin/sh\nexec dotnet exec '{HandbookProcess.ProgramFile}' \"$@\"\n");
        write("slurm/echo", "#!/bin/sh\nif [ \"$1\" != --version ]; then echo \"handbook $*\"; fi\n");
        foreach (var file in Directory.GetFiles(_folder))
            if (!OperatingSystem.IsWindows())
                File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        var recipes = Directory.CreateDirectory(Path.Combine(_folder, "..", "recipes")).FullName;
        foreach (var place in Directory.EnumerateFileSystemEntries(Path.Combine(SharedFiles.Repository, "recipes")))
            if (Path.Combine(recipes, Path.GetFileName(place)) is var link && !Path.Exists(link))
                File.CreateSymbolicLink(link, place);
    }

    /// <summary>The process of the job's script; null before there is one.</summary>
    public int? Job => int.TryParse(File.Exists(Path.Combine(_folder, "job.pid")) ? File.ReadAllText(Path.Combine(_folder, "job.pid")) : "",
        out var id) ? id : null;

    /// <summary>Runs a program, such as <c>sbatch</c>, until it and its job have ended.</summary>
    /// <param name="printsOnly">Whether the handbook only prints what it would be called with.</param>
    public Outcome Run(string program, string[] words, bool printsOnly = false, params (string Name, string Value)[] variables)
    {
        using var process = Start(program, words, printsOnly, variables);
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        Assert.True(process.WaitForExit(TimeSpan.FromMinutes(5)), "the job does not end");
        return new(process.ExitCode, output.Result, error.Result);
    }

    /// <summary>Starts a program, such as <c>sbatch</c>.</summary>
    public Process Start(string program, string[] words, bool printsOnly = false, params (string Name, string Value)[] variables)
    {
        var all = variables.ToDictionary(each => each.Name, each => each.Value);
        all["STANDIN"] = _folder;
        all["PATH"] = $"{_folder}:{Environment.GetEnvironmentVariable("PATH")}";
        all.TryAdd("HANDBOOK", Path.Combine(_folder, printsOnly ? "echo" : "handbook"));
        return _start(program is "sbatch" ? Path.Combine(_folder, program) : program, words, all);
    }
}
