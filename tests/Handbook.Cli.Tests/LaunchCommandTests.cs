using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Handbook.Launch;

namespace Handbook.Cli.Tests;

/// <summary>Several processes, started as a user starts them, train as one does.</summary>
public sealed class LaunchCommandTests
{
    private const double Rounding = 2e-5;       // float32, summed in another order

    [Fact]
    public void Two_processes_log_what_one_logs_with_the_same_rows_in_a_step()
    {
        using var folder = new TrainingFolder("max_steps: 6\neval_strategy: steps\neval_steps: 3\nsave_strategy: \"no\"");
        folder.Finish("--output_dir=one");

        var launched = folder.Launch(["--nproc-per-node", "2"], "--output_dir=two", "--gradient_accumulation_steps=1");

        Assert.True(launched.Code == 0, launched.Error);
        Assert.Contains("x 2 processes = 4 rows a step", launched.Error + launched.Output);
        Near(folder.Curve("one"), folder.Curve("two"));
        Assert.Equal(folder.State("one")["global_step"]!.GetValue<int>(), folder.State("two")["global_step"]!.GetValue<int>());
    }

    [Fact]
    public void Deterministic_processes_of_any_number_leave_the_same_bits()
    {
        using var folder = new TrainingFolder("max_steps: 4\neval_strategy: steps\neval_steps: 2\nsave_strategy: \"no\"\ndeterministic: true");
        foreach (var (count, stage) in (ReadOnlySpan<(int, int)>)[(2, 3), (3, 0)])
        {
            var launched = folder.Launch(["--nproc-per-node", $"{count}"], $"--output_dir={count}", "--per_device_train_batch_size=4",
                "--gradient_accumulation_steps=1", $"--zero_stage={stage}");
            Assert.True(launched.Code == 0, launched.Error);
            folder.Finish("--output_dir=alone", $"--per_device_train_batch_size={4 * count}", "--gradient_accumulation_steps=1", "--fresh=true");
            Assert.Equal(folder.Curve("alone").Select(WithoutEpoch), folder.Curve($"{count}").Select(WithoutEpoch));
            Assert.Equal(File.ReadAllBytes(folder["alone/model.safetensors"]), File.ReadAllBytes(folder[$"{count}/model.safetensors"]));
        }

        // A last batch that is not full counts as one, of whatever size batches are.
        static string WithoutEpoch(string step) => Regex.Replace(step, @"""epoch"":[^,]*,", "");
    }

    [Fact]
    [Trait("speed", "slow")]
    public void Processes_that_share_the_tokens_of_a_row_log_what_one_logs()
    {
        using var folder = new TrainingFolder("max_steps: 4\nsave_steps: 2\nlr_scheduler_type: constant\neval_strategy: steps\neval_steps: 2\nneftune_noise_alpha: 5");
        folder.Finish("--output_dir=one");

        var launched = folder.Launch(["--nproc-per-node", "4"], "--output_dir=four", "--context_parallel_size=2",
            "--gradient_accumulation_steps=1");

        Assert.True(launched.Code == 0, launched.Error);
        Assert.Contains("x 2 groups of 2 processes = 4 rows a step", launched.Error + launched.Output);
        Near(folder.Curve("one"), folder.Curve("four"));
        // the same run goes on without
        var on = folder.Launch(["--nproc-per-node", "2"], "--output_dir=four", "--context_parallel_size=1", "--gradient_accumulation_steps=1",
            "--max_steps=6");
        Assert.True(on.Code == 0, on.Error);
        folder.Finish("--output_dir=one", "--max_steps=6");
        Near(folder.Curve("one"), folder.Curve("four"));
    }

    [Fact]
    public void A_golden_run_whose_rows_two_processes_share_logs_what_the_reference_trainer_logged()
    {
        var folder = Testing.SharedFiles.Need("golden", "runs", "sft_chat_assistant_bfd");
        using var handbook = new HandbookProcess();
        var outcome = handbook.Run(["launch", "--nproc-per-node", "2", "sft", Path.Combine(folder, "recipe.yaml"),
            $"--model_name_or_path={Path.Combine(folder, "..", "model")}", $"--dataset_name={Path.Combine(folder, "rows.jsonl")}",
            "--context_parallel_size=2", "--output_dir=out"], TimeSpan.FromMinutes(5));
        Assert.True(outcome.Code == 0, outcome.Error);
        JsonNode[] expected = [.. File.ReadLines(Path.Combine(folder, "expected.jsonl")).Where(line => line.Length > 0).Select(line => JsonNode.Parse(line)!)];
        JsonNode[] logged = [.. File.ReadLines(Path.Combine(handbook.Folder, "out", "metrics.jsonl")).Select(line => JsonNode.Parse(line)!)];
        Assert.Equal(expected.Length, logged.Length);
        foreach (var (wanted, found) in expected.Zip(logged))
            foreach (var name in (string[])["loss", "grad_norm", "learning_rate", "num_tokens"])
            {
                var value = wanted[name]!.GetValue<double>();
                Assert.True(Math.Abs(found[name]!.GetValue<double>() - value) <= Math.Max(1e-4, Math.Abs(value) * 0.002),
                    $"step {wanted["step"]}: {name} is {found[name]}, the reference has {value}");
            }
    }

    public static TheoryData<string> Configurations() => [.. Directory.GetFiles(Path.Combine(Testing.SharedFiles.Repository, "recipes",
        "accelerate_configs"), "*.yaml").Select(file => Path.GetFileNameWithoutExtension(file)).Order(StringComparer.Ordinal)];

    /// <summary>With as many processes as they ask for.</summary>
    [Theory, Trait("speed", "slow"), MemberData(nameof(Configurations))]
    public void A_published_file_of_the_launcher_starts_a_run_as_it_is(string name)
    {
        var file = Path.Combine(Testing.SharedFiles.Repository, "recipes", "accelerate_configs", $"{name}.yaml");
        var processes = int.Parse(Regex.Match(File.ReadAllText(file), @"num_processes: (\d+)").Groups[1].Value);
        using var folder = new TrainingFolder("max_steps: 2\nsave_strategy: \"no\"");
        string[] rows = ["--per_device_train_batch_size=1", "--gradient_accumulation_steps=1"];
        var launched = folder.Launch(["--config_file", file], [.. rows, "--output_dir=launched"]);
        Assert.True(launched.Code == 0, launched.Error);
        Assert.Contains($"x {processes} processes = {processes} rows a step", launched.Error + launched.Output);
        folder.Finish(rows[0], $"--gradient_accumulation_steps={processes}", "--output_dir=one");
        Near(folder.Curve("one"), folder.Curve("launched"));
    }

    [Fact]
    public void Processes_that_cannot_be_put_into_groups_end_and_say_so()
    {
        using var folder = new TrainingFolder("max_steps: 2");
        var alone = folder.Train("--output_dir=out", "--context_parallel_size=2");
        Assert.Equal(2, alone.Code);
        Assert.Contains("context_parallel_size is 2, but there is 1 process", alone.Error);
        var three = folder.Launch(["--nproc-per-node", "3"], "--output_dir=out", "--context_parallel_size=2");
        Assert.Equal(2, three.Code);
        Assert.Contains("context_parallel_size is 2, but there are 3 processes", three.Error);
        folder.Write("config.yaml", "num_processes: 2\nparallelism_config: {parallelism_config_cp_size: 2}\n");
        Assert.Contains("parallelism_config.parallelism_config_cp_size is 2, but context_parallel_size of the recipe is 1",
            folder.Launch(["--config_file", "config.yaml"], "--output_dir=out").Error);
        Assert.False(Directory.Exists(folder["out"]));
    }

    [Fact]
    public async Task Processes_that_do_not_agree_end_and_say_in_what()
    {
        using var folder = new TrainingFolder("max_steps: 4");
        var port = Launcher.FreePort();
        using Process first = folder.StartRank(0, 2, port, "--output_dir=out"), second = folder.StartRank(1, 2, port, "--output_dir=out",
            "--learning_rate=0.5");
        var (error, other) = (first.StandardError.ReadToEndAsync(), second.StandardError.ReadToEndAsync());
        Assert.True(first.WaitForExit(TimeSpan.FromMinutes(2)) && second.WaitForExit(TimeSpan.FromMinutes(2)), "they go on");

        Assert.Equal((2, 2), (first.ExitCode, second.ExitCode));
        var said = await error;
        Assert.Contains("the recipe differs between the ranks", said);
        Assert.Contains("learning_rate", said);
        Assert.Contains("learning_rate", await other);
        Assert.False(Directory.Exists(folder["out"]), "something was written");
    }

    [Fact]
    public void A_process_that_waits_for_the_others_ends_when_it_is_asked_to()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "there are no such signals");
        using var folder = new TrainingFolder("max_steps: 4");
        using var waiting = folder.StartRank(0, 2, Launcher.FreePort(), "--output_dir=out");
        _ = waiting.StandardOutput.ReadToEndAsync();
        _ = waiting.StandardError.ReadToEndAsync();
        Assert.False(waiting.WaitForExit(TimeSpan.FromSeconds(5)));
        using (Process.Start("kill", ["-TERM", $"{waiting.Id}"]))
            Assert.True(waiting.WaitForExit(TimeSpan.FromSeconds(20)), "it waits on");
        Assert.Equal(130, waiting.ExitCode);
    }

    [Fact]
    [Trait("speed", "slow")]
    public void Number_17_packed_rows_go_on_where_they_were()
    {
        using var folder = new TrainingFolder("packing: true\nmax_length: 32\nsave_steps: 3\nlr_scheduler_type: constant");
        string[] two = ["--nproc-per-node", "2"];
        Assert.Equal(0, folder.Launch(two, "--output_dir=whole", "--max_steps=12").Code);
        foreach (var steps in (int[])[4, 9, 12])
        {
            var outcome = folder.Launch(two, "--output_dir=parted", $"--max_steps={steps}");
            Assert.True(outcome.Code == 0, outcome.Error);
        }
        Assert.Equal(folder.Curve("whole"), folder.Curve("parted"));
        Assert.Equal(folder.Weights("whole"), folder.Weights("parted"));
    }

    [Fact]
    public void Groups_that_cannot_be_made_are_told_before_anyone_waits()
    {
        using var folder = new TrainingFolder("max_steps: 2");
        using var alone = folder.StartRank(0, 3, Launcher.FreePort(), "--output_dir=out", "--context_parallel_size=2");
        var error = alone.StandardError.ReadToEnd();
        Assert.True(alone.WaitForExit(TimeSpan.FromSeconds(20)), "it waits for ranks that never start");
        Assert.Equal(2, alone.ExitCode);
        Assert.Contains("context_parallel_size is 2, but there are 3 processes", error);
    }

    [Fact]
    public void An_optimiser_that_cannot_be_shared_out_is_refused_where_something_would_be()
    {
        using var folder = new TrainingFolder("max_steps: 1\noptim: adafactor\nzero_stage: 2");
        Assert.Contains("zero_stage 2 has no effect on one process", folder.Finish("--output_dir=one").Error);
        var two = folder.Launch(["--nproc-per-node", "2"], "--output_dir=two");
        Assert.Equal(2, two.Code);
        Assert.Contains("adafactor works on whole matrices, which it would cut among 2 processes", two.Error);
    }

    [Fact]
    [Trait("speed", "slow")]
    public void The_launchers_stage_is_the_recipes_unless_that_has_its_own()
    {
        using var folder = new TrainingFolder("max_steps: 1");
        var asked = folder.Launch(["--nproc-per-node", "2", "--zero_stage", "3"], "--output_dir=asked");
        Assert.True(asked.Code == 0, asked.Error);
        Assert.Contains("ZeRO-3: each of 2 processes", asked.Error + asked.Output);
        var own = folder.Launch(["--nproc-per-node", "2", "--zero_stage", "3"], "--output_dir=own", "--zero_stage=1");
        Assert.Contains("note: --zero_stage 3 has no effect: the recipe says zero_stage 1", own.Error);
        Assert.Contains("ZeRO-1: each of 2 processes", own.Error + own.Output);
    }

    [Fact]
    public async Task What_only_one_rank_cannot_write_ends_all_with_what_to_mend()
    {
        using var folder = new TrainingFolder("max_steps: 4");
        var nowhere = folder.Write("file", "no folder");
        var port = Launcher.FreePort();
        using var first = folder.StartRank(0, 2, port, "--output_dir=out");
        using var second = folder.StartOther("dotnet", ["exec", HandbookProcess.ProgramFile, "cpt", "recipe.yaml", "--output_dir=out"],
            new Dictionary<string, string>
            {
                ["RANK"] = "1",
                ["WORLD_SIZE"] = "2",
                ["MASTER_ADDR"] = "127.0.0.1",
                ["MASTER_PORT"] = $"{port}",
                ["HANDBOOK_CACHE"] = nowhere,
            });
        Task<string> said = first.StandardError.ReadToEndAsync(), other = second.StandardError.ReadToEndAsync();
        Assert.True(first.WaitForExit(TimeSpan.FromMinutes(2)) && second.WaitForExit(TimeSpan.FromMinutes(2)), "they go on");
        Assert.True(first.ExitCode == 2 && second.ExitCode == 2, $"{first.ExitCode}: {await said}\n{second.ExitCode}: {await other}");
        Assert.Contains("rank 1 on ", await said);
        Assert.Contains(nowhere, await said);
        Assert.Contains("  fix: ", await said);
    }

    [Fact]
    public async Task A_rank_that_hangs_ends_the_job() => await EndsWithin20Seconds(rank: 1);

    [Fact, Trait("speed", "slow")]
    public async Task A_first_rank_that_hangs_ends_the_job() => await EndsWithin20Seconds(rank: 0);

    private static async Task EndsWithin20Seconds(int rank)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "there is no signal that stops a process");
        using var folder = new TrainingFolder("max_steps: 100000\nsave_strategy: \"no\"");
        using var launched = folder.StartLaunch(["--nproc-per-node", "2"], "--output_dir=out");
        var error = launched.StandardError.ReadToEndAsync();
        launched.BeginOutputReadLine();
        for (var waited = Stopwatch.StartNew(); folder.Lines("out") < 3; Thread.Sleep(20))
            Assert.True(!launched.HasExited && waited.Elapsed < TimeSpan.FromMinutes(2), "no step is done");
        using var victim = folder.Rank(rank);
        using (Process.Start("kill", ["-STOP", $"{victim!.Id}"]))
            Assert.True(launched.WaitForExit(TimeSpan.FromSeconds(20)), "the job goes on for more than 20 s");
        Assert.NotEqual(0, launched.ExitCode);
        Assert.Contains($"rank {rank} on ", await error);
        Assert.True(victim.WaitForExit(TimeSpan.FromSeconds(5)), "it is left behind");
    }

    [Theory]
    [InlineData("launch has nothing to start", "--nproc-per-node", "2")]
    [InlineData("launch cannot start `chat`", "--nproc-per-node", "2", "chat", "model")]
    [InlineData("one process repeats what several did", "--nproc-per-node", "2", "reproduce", "out")]
    [InlineData("launch has no option --nprocs", "--nprocs", "2", "sft", "recipe.yaml")]
    [InlineData("nproc-per-node is 0", "--nproc-per-node", "0", "sft", "recipe.yaml")]
    [InlineData("handbook launch --nproc-per-node 2 sft", "--nproc-per-node", "2", "run_sft.py", "r.yaml")]
    [InlineData("launch has no option --num_gpus", "--num_gpus", "2", "sft", "recipe.yaml")]
    [InlineData("5 processes cannot be shared out among 2 hosts", "--num_processes", "5", "--num_machines", "2", "sft", "recipe.yaml")]
    [InlineData("no address is given", "--nnodes", "2", "sft", "recipe.yaml")]
    [InlineData("--config_file: no.yaml does not exist", "--config_file", "no.yaml", "sft", "recipe.yaml")]
    public void What_cannot_be_launched_is_said(string message, params string[] words)
    {
        using var handbook = new HandbookProcess();
        var outcome = handbook.Run(["launch", .. words]);
        Assert.Equal(2, outcome.Code);
        Assert.Contains(message, outcome.Error);
        Assert.Contains("  fix: ", outcome.Error);
    }

    [Fact]
    public void What_several_processes_cannot_begin_with_is_shown_at_the_keys_as_one_shows_it()
    {
        using var folder = new TrainingFolder("max_steps: 2");
        var alone = folder.Train("--model_name_or_path=none", "--dataset_name=rows/nothing");
        var several = folder.Launch(["--nproc-per-node", "2"], "--model_name_or_path=none", "--dataset_name=rows/nothing");
        Assert.Equal((2, 2), (alone.Code, several.Code));
        Assert.Contains("command line: error: model_name_or_path: none is not on this machine", several.Error);
        Assert.Equal(Problems(alone.Error), Problems(several.Error));
        Assert.False(Directory.Exists(folder["trainer_output"]));

        static string Problems(string error) => error[error.IndexOf("command line: error", StringComparison.Ordinal)..(error.IndexOf("nothing was started.", StringComparison.Ordinal) + 20)];
    }

    [Fact]
    public void What_the_launcher_and_the_recipe_say_of_a_key_has_to_be_the_same()
    {
        using var folder = new TrainingFolder("max_steps: 2");
        folder.Write("config.yaml", "num_processes: 1\nmixed_precision: bf16\ndeepspeed_config: {gradient_accumulation_steps: 4, zero_stage: 3}\n");

        var refused = folder.Launch(["--config_file", "config.yaml"], "--output_dir=out");
        Assert.Equal(2, refused.Code);
        Assert.Contains("config.yaml: deepspeed_config.gradient_accumulation_steps is 4, but gradient_accumulation_steps of the recipe is 2",
            refused.Error);
        Assert.Contains("fix: say --gradient_accumulation_steps=4 behind the recipe", refused.Error);
        Assert.Contains("--gradient_accumulation_steps is 3, but", folder.Launch(["--gradient_accumulation_steps", "3"]).Error);
        Assert.False(Directory.Exists(folder["out"]));

        var launched = folder.Launch(["--rdzv_backend", "c10d", "--standalone", "--config_file", "config.yaml"], "--output_dir=out",
            "--gradient_accumulation_steps=4");
        Assert.True(launched.Code == 0, launched.Error);
        Assert.Contains("note: --rdzv_backend has no effect here", launched.Error);
        Assert.Contains("note: --standalone has no effect here", launched.Error);
        Assert.Contains("zero_stage 3 has no effect on one process", launched.Error + launched.Output);
        Assert.Contains("asks for zero_stage 3, but the recipe says 2", folder.Launch(["--config_file", "config.yaml"], "--output_dir=out",
            "--gradient_accumulation_steps=4", "--zero_stage=2").Error);
        Assert.Contains("note: config.yaml: mixed_precision has no effect: the recipe's bf16 decides, and it is not set", launched.Error);
    }

    [Theory, Trait("speed", "slow")]
    [InlineData(0), InlineData(1), InlineData(2), InlineData(3)]
    public async Task A_job_whose_ranks_are_killed_ends_with_the_bits_of_one_that_nobody_disturbed(int zeroStage)
    {
        const int Kills = 20;
        using var folder = new TrainingFolder($"max_steps: {Kills * 12}\nsave_steps: 3\nsave_total_limit: 2\nneftune_noise_alpha: 5\n"
            + $"zero_stage: {zeroStage}");
        string[] two = ["--nproc-per-node", "2", "--max-restarts", "1"];
        Assert.Equal(0, folder.Launch(two, "--output_dir=whole").Code);
        var random = new Random(3);
        for (var killed = 0; killed < Kills; killed++)
        {
            var rank = killed % 2;
            using var launched = folder.StartLaunch(["--nproc-per-node", "2"], "--output_dir=cut");
            var error = launched.StandardError.ReadToEndAsync();
            launched.BeginOutputReadLine();
            var until = folder.Lines("cut") + random.Next(1, 8);
            for (var waited = Stopwatch.StartNew(); folder.Lines("cut") < until && !launched.HasExited; Thread.Sleep(2))
                Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), "no step is done");
            using (var victim = folder.Rank(rank))
                victim!.Kill();
            Assert.True(launched.WaitForExit(TimeSpan.FromSeconds(20)), "the others go on for more than 20 s");
            Assert.NotEqual(0, launched.ExitCode);
            Assert.Contains($"rank {rank} on ", await error);
        }
        Assert.Equal(0, folder.Launch(two, "--output_dir=cut").Code);
        Assert.Equal(folder.Curve("whole"), folder.Curve("cut"));
        Assert.Equal(folder.Weights("whole"), folder.Weights("cut"));
    }

    [Theory, Trait("speed", "slow")]
    [InlineData(0), InlineData(1)]
    public async Task A_job_of_two_hosts_starts_again_on_both_when_one_loses_a_rank(int rank)
    {
        using var folder = new TrainingFolder("max_steps: 60\nsave_steps: 3\nsave_total_limit: 2");
        Assert.Equal(0, folder.Launch(["--nproc-per-node", "2"], "--output_dir=whole").Code);
        var place = $"127.0.0.1:{Launcher.FreePort()}";
        Process[] hosts = [.. Enumerable.Range(0, 2).Select(host => folder.StartLaunch(["--nnodes", "2", "--node-rank", $"{host}",
            "--rdzv-endpoint", place, "--max-restarts", "2"], "--output_dir=cut"))];
        var said = Array.ConvertAll(hosts, host => host.StandardError.ReadToEndAsync());
        Array.ForEach(hosts, host => host.BeginOutputReadLine());
        for (var waited = Stopwatch.StartNew(); folder.Lines("cut") < 5; Thread.Sleep(2))
            Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2), "no step is done");
        using (var victim = folder.Rank(rank))
            victim!.Kill();
        foreach (var host in hosts)
            if (!host.WaitForExit(TimeSpan.FromMinutes(3)))
                host.Kill(entireProcessTree: true);
        var all = string.Concat(await Task.WhenAll(said));
        Assert.True(hosts.All(host => host.ExitCode == 0), all);
        Assert.Equal(2, Regex.Count(all, "starting again from the newest checkpoint"));
        Assert.Equal(folder.Curve("whole"), folder.Curve("cut"));
        Assert.Equal(folder.Weights("whole"), folder.Weights("cut"));
        Array.ForEach(hosts, host => host.Dispose());
    }

    [Fact, Trait("speed", "slow")]
    public void A_checkpoint_goes_on_on_any_number_of_processes()
    {
        using var folder = new TrainingFolder("max_steps: 12\nsave_steps: 6\nlr_scheduler_type: constant");
        Assert.Equal(0, folder.Launch(["--nproc-per-node", "4"], "--output_dir=four", "--gradient_accumulation_steps=1").Code);
        foreach (var processes in (ReadOnlySpan<int>)[1, 3])
        {
            var run = $"on-{processes}";
            Assert.Equal(0, folder.Launch(["--nproc-per-node", "4"], $"--output_dir={run}", "--gradient_accumulation_steps=1",
                "--max_steps=6").Code);
            var outcome = folder.Launch(["--nproc-per-node", $"{processes}"], $"--output_dir={run}", "--gradient_accumulation_steps=1");
            Assert.True(outcome.Code == 0, outcome.Error);
            Assert.Contains($"began on 4 processes and goes on on {processes}", outcome.Error + outcome.Output);
            Near(folder.Curve("four"), folder.Curve(run));
        }
    }

    private static void Near(string[] expected, string[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        foreach (var (one, two) in expected.Zip(actual, (a, b) => (JsonNode.Parse(a)!.AsObject(), JsonNode.Parse(b)!.AsObject())))
            foreach (var (name, value) in one)
                Assert.Equal(value!.GetValue<double>(), two[name]!.GetValue<double>(), Rounding * Math.Max(1, Math.Abs(value.GetValue<double>())));
    }
}
