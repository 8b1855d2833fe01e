using Handbook.Base;
using Handbook.Training.Distributed;

namespace Handbook.Training.Tests.Distributed;

public sealed class RendezvousTests
{
    private static Rendezvous? From(string variables)
    {
        var all = variables.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(each => each.Split('=', 2))
            .ToDictionary(each => each[0], each => each[1]);
        return Rendezvous.From(all.GetValueOrDefault);
    }

    private const string Torchrun = "RANK=5 WORLD_SIZE=8 LOCAL_RANK=1 LOCAL_WORLD_SIZE=4 MASTER_ADDR=node1 MASTER_PORT=29500";

    [Fact]
    public void Without_variables_there_is_one_process() => Assert.Null(From("MASTER_ADDR=elsewhere SLURM_JOB_ID=7"));

    [Fact]
    public void A_batch_script_itself_is_one_process() => Assert.Null(From("SLURM_PROCID=0 SLURM_NTASKS=8 SLURM_JOB_ID=7 SLURM_LOCALID=0"));

    [Fact]
    public void Torchruns_variables_are_read()
    {
        var place = From(Torchrun)!;
        Assert.Equal((5, 8, 1, 4, "node1", 29500, false, "0"), (place.Rank, place.WorldSize, place.LocalRank, place.LocalWorldSize,
            place.Address, place.Port, place.ServedByLauncher, place.Attempt));
        var again = From(Torchrun + " TORCHELASTIC_USE_AGENT_STORE=True TORCHELASTIC_RESTART_COUNT=2")!;
        Assert.True(again.ServedByLauncher);
        Assert.Equal("2", again.Attempt);
    }

    [Fact]
    public void Slurms_variables_are_read()
    {
        var place = From("SLURM_STEP_ID=0 SLURM_PROCID=5 SLURM_NTASKS=8 SLURM_LOCALID=1 SLURM_JOB_NODELIST=gpu[07-09],x1 SLURM_JOB_ID=40123")!;
        Assert.Equal((5, 8, 1, "gpu07", 15000 + 40123 % 15000), (place.Rank, place.WorldSize, place.LocalRank, place.Address, place.Port));
        place = From("SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_LAUNCH_NODE_IPADDR=10.0.0.3 MASTER_PORT=4000")!;
        Assert.Equal(("10.0.0.3", 4000), (place.Address, place.Port));
        place = From("SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_JOB_NODELIST=a MASTER_ADDR=b MASTER_PORT=4000")!;
        Assert.Equal("b", place.Address);
        // torchrun inside of srun: a task per host, which starts the ranks
        Assert.Equal(5, From("SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2 " + Torchrun)!.Rank);
    }

    [Theory]
    [InlineData("node3", "node3")]
    [InlineData("node3,node4", "node3")]
    [InlineData("node[01-04,7],gpu3", "node01")]
    [InlineData("r[2,3]n[10-12]", "r2n10")]
    public void The_first_host_of_a_list_is_found(string list, string host) => Assert.Equal(host, Rendezvous.FirstHost(list));

    [Theory]
    [InlineData("RANK", "WORLD_SIZE")]
    [InlineData("WORLD_SIZE", "RANK")]
    [InlineData("MASTER_ADDR", "WORLD_SIZE")]
    [InlineData("MASTER_PORT", "WORLD_SIZE")]
    public void A_missing_variable_is_named(string missing, string because)
    {
        var failure = Assert.Throws<InputException>(() => From(string.Join(' ',
            Torchrun.Split(' ').Where(each => !each.StartsWith(missing + "=", StringComparison.Ordinal)))));
        Assert.Equal($"the environment variable {missing} is not set", failure.What);
        Assert.Contains(because, failure.Why, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("RANK=8", "RANK is '8', but must be a number from 0 to 7 (WORLD_SIZE is 8)")]
    [InlineData("RANK=x", "RANK is 'x', but must be a number from 0 to 7 (WORLD_SIZE is 8)")]
    [InlineData("WORLD_SIZE=0", "WORLD_SIZE is '0', but must be a number from 1 (RANK is 5)")]
    [InlineData("LOCAL_RANK=4", "LOCAL_RANK is '4', but must be a number from 0 to 3 (LOCAL_WORLD_SIZE is 4)")]
    [InlineData("LOCAL_WORLD_SIZE=9", "LOCAL_WORLD_SIZE is '9', but must be a number from 1 to 8 (WORLD_SIZE is 8)")]
    [InlineData("MASTER_PORT=70000", "MASTER_PORT is '70000', but must be a number from 1 to 65535 (WORLD_SIZE is 8)")]
    public void A_contradiction_is_named(string changed, string message)
    {
        var name = changed.Split('=')[0];
        var failure = Assert.Throws<InputException>(() => From(string.Join(' ', Torchrun.Split(' ')
            .Select(each => each.StartsWith(name + "=", StringComparison.Ordinal) ? changed : each))));
        Assert.Equal("the environment variable " + message, failure.What);
    }

    [Theory]
    [InlineData("SLURM_STEP_ID=0 SLURM_PROCID=1", "SLURM_NTASKS is not set")]
    [InlineData("SLURM_STEP_ID=0 SLURM_PROCID=2 SLURM_NTASKS=2", "SLURM_PROCID is '2', but must be a number from 0 to 1 (SLURM_NTASKS is 2)")]
    [InlineData("SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2", "SLURM_JOB_NODELIST is not set")]
    [InlineData("SLURM_STEP_ID=0 SLURM_PROCID=1 SLURM_NTASKS=2 SLURM_JOB_NODELIST=a", "SLURM_JOB_ID is not set")]
    [InlineData("SLURM_STEP_ID=0 SLURM_PROCID=0 SLURM_NTASKS=2 SLURM_LOCALID=1", "SLURM_LOCALID is '1', but must be 0 (SLURM_PROCID is 0)")]
    public void Slurms_contradictions_are_named(string variables, string message) =>
        Assert.Equal("the environment variable " + message, Assert.Throws<InputException>(() => From(variables)).What);
}
