using Handbook.Base;
using Handbook.Launch;
using Handbook.Testing;

namespace Handbook.Tests.Launch;

/// <summary>The launcher with a shell in the place of a training command.</summary>
public sealed class LauncherTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();
    private readonly List<string> _said = [];

    [Fact]
    public void Each_process_learns_who_it_is_and_gets_its_share_of_the_cores()
    {
        var plan = new LaunchPlan { Processes = 3, Nodes = 2, NodeRank = 1, Address = "node0", Port = 1234 };

        Assert.Equal(0, Run(plan, "echo $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE $MASTER_ADDR $MASTER_PORT $OMP_NUM_THREADS > OUT/$RANK"));

        var threads = Math.Max(1, Environment.ProcessorCount / 3);
        for (var local = 0; local < 3; local++)
            Assert.Equal($"{3 + local} {local} 6 3 node0 1234 {threads}", File.ReadAllText(_folder[$"{3 + local}"]).Trim());
    }

    [Fact]
    public void What_other_ranks_print_is_in_files_and_the_end_of_a_failed_one_is_shown()
    {
        var plan = new LaunchPlan { Processes = 2, LogFolder = _folder["logs"] };

        Assert.Equal(7, Run(plan, "if [ $RANK = 1 ]; then echo the disk is full >&2; exit 7; fi"));

        Assert.Equal("the disk is full", File.ReadAllText(_folder["logs/rank-1.log"]).Trim());
        Assert.Contains(_said, line => line.Contains("rank 1 on") && line.Contains("exit code 7"));
        Assert.Contains(_said, line => line.Contains("the disk is full"));
    }

    [Theory]
    [InlineData("true", 0, false)]
    [InlineData("if [ $RANK = 1 ]; then exit 7; fi", 7, true)]
    public void Files_that_nobody_asked_for_stay_where_something_went_wrong(string script, int code, bool stay)
    {
        string log;
        using (var launcher = new Launcher(new LaunchPlan { Processes = 2 }, ["/bin/sh", "-c", $"echo $RANK; {script}"], _said.Add))
        {
            Assert.Equal(code, launcher.Run());
            Assert.Equal("1", File.ReadAllText(log = launcher.LogOf(1)).Trim());
        }
        Assert.Equal(stay, File.Exists(log));
        if (stay)
            Directory.Delete(Path.GetDirectoryName(log)!, recursive: true);
    }

    [Fact]
    public void Those_that_do_not_notice_a_failure_are_ended()
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();

        Assert.Equal(9, Run(new LaunchPlan { Processes = 2 }, "if [ $RANK = 1 ]; then exit 9; fi; sleep 60"));

        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30));
    }

    [Fact]
    public void A_failed_job_is_started_again_as_often_as_is_asked()
    {
        var plan = new LaunchPlan { Processes = 2, Restarts = 2 };

        Assert.Equal(0, Run(plan, "echo $TORCHELASTIC_RESTART_COUNT >> OUT/starts-$RANK; [ $TORCHELASTIC_RESTART_COUNT = 2 ] || exit 1"));

        Assert.Equal(["0", "1", "2"], File.ReadAllLines(_folder["starts-0"]));
        Assert.Equal(["0", "1", "2"], File.ReadAllLines(_folder["starts-1"]));
    }

    [Fact]
    public void Hosts_that_start_again_meet_at_the_next_port()
    {
        var plan = new LaunchPlan { Nodes = 2, NodeRank = 1, Address = "node0", Port = 1234, Restarts = 2 };
        Assert.Equal(5, Run(plan, "echo $MASTER_PORT >> OUT/ports; exit 5"));
        Assert.Equal(["1234", "1235", "1236"], File.ReadAllLines(_folder["ports"]));
    }

    [Fact]
    public void What_the_user_has_to_mend_is_not_tried_again()
    {
        Assert.Equal(2, Run(new LaunchPlan { Processes = 2, Restarts = 5 }, "echo x >> OUT/starts-$RANK; exit 2"));
        Assert.Single(File.ReadAllLines(_folder["starts-0"]));
    }

    [Theory]
    [InlineData(10)]
    [InlineData(15)]
    public void A_signal_is_handed_on_and_what_was_stopped_is_not_started_again(int signal)
    {
        // each says that it is there, and on SIGTERM saves and ends as the training commands do
        const string script = "trap 'echo saved > OUT/saved-$RANK; exit 130' TERM; echo x >> OUT/starts-$RANK; while :; do sleep 0.05; done";
        var asked = Task.Run(() =>
        {
            for (var waited = System.Diagnostics.Stopwatch.StartNew();
                !File.Exists(_folder["starts-0"]) || !File.Exists(_folder["starts-1"]); Thread.Sleep(10))
                if (waited.Elapsed > TimeSpan.FromSeconds(30))
                    return;
            SignalNumbers.Send(Environment.ProcessId, signal);
        });

        Assert.Equal(130, Run(new LaunchPlan { Processes = 2, Restarts = 3 }, script));

        Assert.True(asked.IsCompleted);
        Assert.True(File.Exists(_folder["saved-0"]) && File.Exists(_folder["saved-1"]));
        Assert.Single(File.ReadAllLines(_folder["starts-0"]));
        Assert.DoesNotContain(_said, line => line.Contains("error"));
    }

    [Fact]
    public void Cores_are_numbered_as_the_system_numbers_them()
    {
        Assert.Equal([0, 1, 2, 3, 8, 10, 11], Cores.Parse("0-3,8,10-11"));
        Assert.SkipUnless(File.Exists("/usr/bin/taskset") && Cores.Allowed() is { Count: > 1 }, "one core, or nothing to pin with");
        Assert.Equal(0, Run(new LaunchPlan { Processes = 2, Threads = 1 }, "grep Cpus_allowed_list /proc/self/status > OUT/cores-$RANK"));
        var allowed = Cores.Allowed()!;
        for (var rank = 0; rank < 2; rank++)
            Assert.Equal($"Cpus_allowed_list:\t{allowed[rank]}", File.ReadAllText(_folder[$"cores-{rank}"]).Trim());
    }

    [Theory]
    [InlineData("node0:1234", "node0", 1234)]
    [InlineData("node0", "node0", null)]
    [InlineData("[fe80::1]:99", "fe80::1", 99)]
    [InlineData("fe80::1", "fe80::1", null)]
    [InlineData("10.0.0.1:29500", "10.0.0.1", 29500)]
    public void An_endpoint_is_a_host_and_a_port(string endpoint, string host, int? port)
    {
        var plan = new LaunchPlan().At(endpoint);
        Assert.Equal((host, port), (plan.Address, plan.Port));
    }

    [Fact]
    public void Numbers_that_do_not_fit_together_are_refused()
    {
        foreach (var (plan, key) in new[]
        {
            (new LaunchPlan { Processes = 0 }, "nproc-per-node"), (new LaunchPlan { Nodes = 2 }, "rdzv-endpoint"),
            (new LaunchPlan { Nodes = 2, NodeRank = 2, Address = "a" }, "node-rank"), (new LaunchPlan { Port = 70000 }, "port"),
            (new LaunchPlan { Restarts = -1 }, "max-restarts"),
            (new LaunchPlan { Nodes = 2, Address = "a", Port = 65535, Restarts = 1 }, "port"),
        })
            Assert.Contains(key, Assert.Throws<InputException>(plan.Validate).Message);
        Assert.Throws<InputException>(() => new LaunchPlan().At(":99"));
        Assert.Throws<InputException>(() => new LaunchPlan().At("node:x"));
    }

    [Fact]
    public void A_file_of_the_python_launcher_is_read_and_what_it_asks_in_vain_is_said()
    {
        var file = Write("""
            compute_environment: LOCAL_MACHINE
            deepspeed_config:
              zero3_init_flag: true
              zero_stage: 3
              offload_optimizer_device: none
            distributed_type: DEEPSPEED
            machine_rank: 0
            main_training_function: main
            mixed_precision: bf16
            num_machines: 2
            num_processes: 16
            main_process_ip: node0
            main_process_port: 6000
            use_cpu: false
            """);
        var plan = AccelerateFile.Read(file, new()).Shared();
        Assert.Equal((8, 2, "node0", 6000), (plan.Processes, plan.Nodes, plan.Address, plan.Port));
        Assert.Empty(plan.Notes);
        Assert.Equal("--zero_stage=3", Assert.Single(plan.Keys).Word(null));
    }

    [Theory]
    [InlineData("multi_gpu", 8, "", "")]
    [InlineData("ddp", 8, "", "")]
    [InlineData("zero2", 8, "", "--zero_stage=2")]
    [InlineData("zero3", 8, "", "--zero_stage=3")]
    [InlineData("fsdp", 8, "", "--zero_stage=3")]
    [InlineData("fsdp_qlora", 2, "fsdp_qlora.yaml: fsdp_offload_params has no effect", "--zero_stage=3")]
    public void The_files_beside_the_recipes_are_read(string name, int processes, string note, string word)
    {
        var plan = AccelerateFile.Read(Path.Combine(SharedFiles.Repository, "recipes", "accelerate_configs", $"{name}.yaml"), new());
        Assert.Equal((processes, 1), (plan.Shared().Processes, plan.Nodes));
        Assert.Contains(note, string.Concat(plan.Notes));
        Assert.Equal(note.Length == 0, plan.Notes.Count == 0);
        Assert.Equal(word, string.Concat(plan.Keys.Select(key => key.Word(null))));
        // the processes of all hosts, which an option counts
        Assert.Equal(processes / 2, (plan with { Nodes = 2 }).Shared().Processes);
    }

    [Theory]
    [InlineData("num_procesess: 8", "num_procesess")]
    [InlineData("num_processes: eight", "num_processes")]
    [InlineData("distributed_type: TPU", "TPU")]
    [InlineData("mixed_precision: fp8", "fp8")]
    [InlineData("num_processes: 9\nnum_machines: 2", "9 processes")]
    [InlineData("- a list", "mapping")]
    [InlineData("num_processes: 2\ndistributed_type: NO", "distributed_type NO is one process")]
    [InlineData("deepspeed_config: {zero_stge: 3}", "unknown key deepspeed_config.zero_stge")]
    [InlineData("deepspeed_config: {zero_stage: 4}", "zero_stage is 4")]
    [InlineData("deepspeed_config: {deepspeed_config_file: ds.json}", "deepspeed_config_file: ")]
    [InlineData("fsdp_config: {fsdp_ofload_params: true}", "unknown key fsdp_config.fsdp_ofload_params")]
    [InlineData("fsdp_config: {fsdp_sharding_strategy: HALF}", "fsdp_sharding_strategy is HALF")]
    [InlineData("parallelism_config: {parallelism_config_tp_size: 2}", "parallelism_config_tp_size is 2")]
    [InlineData("megatron_lm_config: {megatron_lm_tp_degree: 2}", "megatron_lm_config is not built")]
    [InlineData("model_name_or_path: m", "is a recipe")]
    public void A_broken_file_is_refused_by_name(string text, string named) =>
        Assert.Contains(named, Assert.Throws<InputException>(() => AccelerateFile.Read(Write(text), new()).Shared()).Message);

    [Theory]
    [InlineData("num_processes: 2\nnope: 1", 2)]
    [InlineData("num_machines: 1\ndeepspeed_config:\n  zero_stage: 9", 3)]
    [InlineData("num_processes: many", 1)]
    public void What_is_wrong_in_a_file_has_its_line(string text, int line) => Assert.Contains($"config.yaml:{line}: ",
        Assert.Throws<InputException>(() => AccelerateFile.Read(Write(text), new())).Message);

    [Theory]
    [InlineData("deepspeed_config: {zero_stage: 1, offload_optimizer_device: nvme}", "--zero_stage=1 --offload_optimizer=nvme")]
    [InlineData("fsdp_config: {fsdp_sharding_strategy: SHARD_GRAD_OP}", "--zero_stage=2")]
    [InlineData("fsdp_config: {fsdp_version: 2, fsdp_reshard_after_forward: false}", "--zero_stage=2")]
    [InlineData("fsdp_config: {fsdp_version: 2, fsdp_reshard_after_forward: true}", "--zero_stage=3")]
    [InlineData("fsdp_config: {fsdp_sharding_strategy: NO_SHARD}", "")]
    public void What_a_launcher_shares_out_is_a_key_of_the_recipe(string text, string words) =>
        Assert.Equal(words, string.Join(' ', AccelerateFile.Read(Write(text), new()).Keys.Select(key => key.Word(null))));

    private string Write(string text)
    {
        File.WriteAllText(_folder["config.yaml"], text);
        return _folder["config.yaml"];
    }

    private int Run(LaunchPlan plan, string script)
    {
        using var launcher = new Launcher(plan, ["/bin/sh", "-c", script.Replace("OUT", _folder.Path)], line =>
        {
            lock (_said)
                _said.Add(line);
        })
        {
            Patience = TimeSpan.FromSeconds(1),
        };
        return launcher.Run();
    }

    public void Dispose() => _folder.Dispose();
}
