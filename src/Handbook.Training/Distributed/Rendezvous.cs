using System.Text;
using Handbook.Base;

namespace Handbook.Training.Distributed;

/// <summary>Which process of how many this is, and where they meet; from torchrun's environment variables, or <c>srun</c>'s.</summary>
internal sealed record Rendezvous
{
    /// <summary>Which process this is, from 0.</summary>
    public required int Rank { get; init; }

    /// <summary>How many there are.</summary>
    public required int WorldSize { get; init; }

    /// <summary>Which one on its host; null where nobody said.</summary>
    public int? LocalRank { get; init; }

    /// <summary>How many on its host; null where nobody said.</summary>
    public int? LocalWorldSize { get; init; }

    /// <summary>Name or address of the host of rank 0.</summary>
    public required string Address { get; init; }

    /// <summary>Port of the store there.</summary>
    public required int Port { get; init; }

    /// <summary>Whether the launcher serves the store; else rank 0 does.</summary>
    public bool ServedByLauncher { get; init; }

    /// <summary>Sets the keys of this start apart from those of an earlier one in the same store.</summary>
    public string Attempt { get; init; } = "0";

    /// <summary>What this process's environment says; null where it was not started as one of several.</summary>
    /// <exception cref="InputException">A variable is missing, or does not fit the others; names it.</exception>
    public static Rendezvous? FromEnvironment() => From(Environment.GetEnvironmentVariable);

    /// <param name="read">The value of a variable; null where it is not set.</param>
    internal static Rendezvous? From(Func<string, string?> read)
    {
        var variables = new Variables(read);
        if (variables.Has("RANK") || variables.Has("WORLD_SIZE"))
            return FromTorchrun(variables);
        // A batch script has the numbers of the job too, but only what srun starts is one process of several.
        return variables.Has("SLURM_PROCID") && (variables.Has("SLURM_STEP_NUM_TASKS") || variables.Has("SLURM_STEP_ID"))
            ? FromSlurm(variables) : null;
    }

    private static Rendezvous FromTorchrun(Variables variables)
    {
        var world = variables.Number("WORLD_SIZE", 1, int.MaxValue, "RANK");
        var rank = variables.Number("RANK", 0, world - 1, "WORLD_SIZE");
        int? localWorld = variables.Has("LOCAL_WORLD_SIZE") ? variables.Number("LOCAL_WORLD_SIZE", 1, world, "WORLD_SIZE") : null;
        int? local = variables.Has("LOCAL_RANK")
            ? variables.Number("LOCAL_RANK", 0, Math.Min(rank, (localWorld ?? world) - 1), localWorld is null ? "RANK" : "LOCAL_WORLD_SIZE")
            : null;
        return new()
        {
            Rank = rank,
            WorldSize = world,
            LocalRank = local,
            LocalWorldSize = localWorld,
            Address = world == 1 ? variables.TextOr("MASTER_ADDR", "127.0.0.1") : variables.Text("MASTER_ADDR", "WORLD_SIZE"),
            Port = world == 1 && !variables.Has("MASTER_PORT") ? 0 : variables.Number("MASTER_PORT", 1, 65535, "WORLD_SIZE"),
            ServedByLauncher = variables.TextOr("TORCHELASTIC_USE_AGENT_STORE", "") == "True",
            Attempt = variables.TextOr("TORCHELASTIC_RESTART_COUNT", "0"),
        };
    }

    private static Rendezvous FromSlurm(Variables variables)
    {
        var world = variables.Number("SLURM_NTASKS", 1, int.MaxValue, "SLURM_PROCID");
        var rank = variables.Number("SLURM_PROCID", 0, world - 1, "SLURM_NTASKS");
        int? local = variables.Has("SLURM_LOCALID") ? variables.Number("SLURM_LOCALID", 0, rank, "SLURM_PROCID") : null;
        var address = variables.Has("MASTER_ADDR") ? variables.Text("MASTER_ADDR", "SLURM_NTASKS")
            : variables.Has("SLURM_STEP_NODELIST") ? FirstHost(variables.Text("SLURM_STEP_NODELIST", "SLURM_NTASKS"))
            : variables.Has("SLURM_JOB_NODELIST") ? FirstHost(variables.Text("SLURM_JOB_NODELIST", "SLURM_NTASKS"))
            : variables.Has("SLURM_LAUNCH_NODE_IPADDR") ? variables.Text("SLURM_LAUNCH_NODE_IPADDR", "SLURM_NTASKS")
            : world == 1 ? "127.0.0.1"
            : throw Variables.Missing("SLURM_JOB_NODELIST", "it names the host of rank 0", "run it with srun, or set MASTER_ADDR to that host");
        return new()
        {
            Rank = rank,
            WorldSize = world,
            LocalRank = local,
            Address = address,
            // as many jobs as there are numbers share a host without meeting
            Port = variables.Has("MASTER_PORT") ? variables.Number("MASTER_PORT", 1, 65535, "SLURM_NTASKS")
                : world == 1 ? 0
                : 15000 + variables.Number("SLURM_JOB_ID", 0, int.MaxValue, "SLURM_NTASKS") % 15000,
            Attempt = $"{variables.TextOr("SLURM_RESTART_COUNT", "0")}.{variables.TextOr("SLURM_STEP_ID", "0")}",
        };
    }

    /// <summary>The first host of Slurm's notation, e.g. <c>node01</c> of <c>node[01-04,7],gpu3</c>.</summary>
    internal static string FirstHost(string list)
    {
        var host = new StringBuilder();
        for (var i = 0; i < list.Length && list[i] != ','; i++)
        {
            if (list[i] != '[')
            {
                host.Append(list[i]);
                continue;
            }
            var end = list.IndexOf(']', i);
            if (end < 0)
                throw new InputException($"the environment variable SLURM_JOB_NODELIST is '{list}', which is no list of hosts",
                    fix: "set MASTER_ADDR to the host of rank 0");
            host.Append(list[(i + 1)..end].Split(',', '-')[0]);
            i = end;
        }
        return host.ToString();
    }

    private sealed class Variables(Func<string, string?> read)
    {
        public bool Has(string name) => !string.IsNullOrWhiteSpace(read(name));

        public string TextOr(string name, string otherwise) => Has(name) ? read(name)!.Trim() : otherwise;

        public string Text(string name, string because) => Has(name) ? read(name)!.Trim()
            : throw Missing(name, $"{because} is set, so this is one process of several, which have to meet",
                "start with `handbook launch`, torchrun or srun, or set it; to train with one process, unset " + because);

        public int Number(string name, int low, int high, string because)
        {
            var text = Text(name, because);
            if (int.TryParse(text, out var number) && number >= low && number <= high)
                return number;
            var range = high == int.MaxValue ? $"a number from {low}" : low == high ? $"{low}" : $"a number from {low} to {high}";
            var other = Has(because) ? $" ({because} is {read(because)!.Trim()})" : "";
            throw new InputException($"the environment variable {name} is '{text}', but must be {range}{other}",
                fix: "start with `handbook launch`, torchrun or srun, which set it");
        }

        public static InputException Missing(string name, string why, string fix) =>
            new($"the environment variable {name} is not set", why, fix);
    }
}
