using System.Diagnostics;
using System.Text.RegularExpressions;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Cli.Tests;

/// <summary>The scripts for Slurm, with stand-ins of its commands that run jobs on this machine.</summary>
public sealed class SlurmScriptTests
{
    private const string Script = "recipes/launch.slurm";

    [Fact]
    [Trait("speed", "slow")]
    public void A_job_of_one_node_and_one_of_two_train_to_the_end()
    {
        using var folder = new TrainingFolder("max_steps: 4\nsave_strategy: \"no\"");
        var slurm = Slurm(folder);

        var one = slurm.Run("sbatch", [Script, "mine", "cpt", "full", "multi_gpu", "--output_dir=one --logging_steps=2"], variables:
            ("PROCESSES_PER_NODE", "2"));
        Assert.True(one.Code == 0, one.Error);
        Assert.Contains("cpt recipes/mine/cpt/config_full.yaml on 1 node(s), 2 process(es) each", one.Output);

        var two = slurm.Run("sbatch", ["--job-name=x", "--nodes=2", Script, "--model", "mine", "--task=cpt", "--config", "small", "--accelerator",
            "deepspeed_zero3", "--dp", "1", "--args", "--output_dir=two --logging_steps=2"], variables: ("PROCESSES_PER_NODE", "1"));
        Assert.True(two.Code == 0, two.Error);
        Assert.Contains("on host 1 of 2, 2 in all", two.Error);
        Assert.Contains("ZeRO-3: each of 2 processes keeps 1/2", two.Error);

        Assert.Equal(4, folder.State("two")["global_step"]!.GetValue<int>());
        Assert.Equal(folder.Curve("one"), folder.Curve("two"));
        Assert.Equal(folder.Weights("one"), folder.Weights("two"));
    }

    [Fact, Trait("speed", "slow")]
    public async Task A_job_that_has_to_make_room_saves_queues_again_and_ends_with_the_same_bits()
    {
        using var folder = new TrainingFolder("max_steps: 400\nsave_strategy: \"no\"\nneftune_noise_alpha: 5");
        var slurm = Slurm(folder);
        Assert.Equal(0, folder.Launch(["--nproc-per-node", "2"], "--output_dir=whole").Code);

        string[] words = ["--nodes=2", Script, "mine", "cpt", "full", "ddp", "--output_dir=cut"];
        using (var job = slurm.Start("sbatch", words, variables: ("PROCESSES_PER_NODE", "1")))
        {
            var (output, error) = (job.StandardOutput.ReadToEndAsync(), job.StandardError.ReadToEndAsync());
            foreach (var signal in (string[])["USR1", "TERM"])
            {
                var until = folder.Lines("cut") + 8;
                Wait(job, () => folder.Lines("cut") >= until);
                var id = slurm.Job;
                Process.Start("kill", [$"-{signal}", $"{id}"]).WaitForExit();
                Wait(job, () => slurm.Job != id);
            }
            Assert.True(job.WaitForExit(TimeSpan.FromMinutes(3)), "the job does not end");
            var (said, errors) = (await output, await error);
            Assert.True(job.ExitCode == 0, errors);
            Assert.Equal(2, Regex.Count(said, "job 4711 queues again"));
            Assert.Contains("restart 2: cpt", said);
            Assert.Equal(2, Regex.Count(said + errors, "going on from "));
            Assert.DoesNotContain("error:", errors);
        }
        Assert.Equal(folder.Curve("whole"), folder.Curve("cut"));
        Assert.Equal(folder.Weights("whole"), folder.Weights("cut"));

        // one that somebody has cancelled stays so
        using (var job = slurm.Start("sbatch", [.. words[1..^1], "--output_dir=cancelled"], false, ("PROCESSES_PER_NODE", "2"),
            ("STANDIN_STATE", "CANCELLED")))
        {
            var output = job.StandardOutput.ReadToEndAsync();
            job.BeginErrorReadLine();
            Wait(job, () => folder.Lines("cancelled") > 3);
            Process.Start("kill", ["-TERM", $"{slurm.Job}"]).WaitForExit();
            Assert.True(job.WaitForExit(TimeSpan.FromMinutes(2)), "the job does not end");
            Assert.Equal(130, job.ExitCode);
            Assert.Contains("job 4711 is cancelled", await output);
            Assert.Single(folder.Checkpoints("cancelled"));
        }

        static void Wait(Process job, Func<bool> isSo)
        {
            for (var waited = Stopwatch.StartNew(); !isSo(); Thread.Sleep(2))
                Assert.True(waited.Elapsed < TimeSpan.FromMinutes(2) && !job.HasExited, "nothing happens");
        }
    }

    [Theory]
    [InlineData("unknown option --modle", "--modle", "mine")]
    [InlineData("unknown option -x", "-x")]
    [InlineData("--model is missing")]
    [InlineData("--accelerator is missing", "--model", "mine", "--task", "cpt", "--config", "full")]
    [InlineData("--config has no value", "--model", "mine", "--config")]
    [InlineData("MODEL TASK CONFIG ACCELERATOR are needed", "mine", "cpt", "full")]
    [InlineData("one word too many: --b=2", "mine", "cpt", "full", "ddp", "--a=1", "--b=2")]
    [InlineData("there is no generation server here", "--model", "mine", "--task", "cpt", "--config", "full", "--accelerator", "ddp", "--tp", "2")]
    [InlineData("there is neither recipes/zephyr-7b-beta/dpo/config_half.yaml nor", "zephyr-7b-beta", "dpo", "half", "ddp")]
    [InlineData("there is no recipes/accelerate_configs/zero9.yaml", "zephyr-7b-beta", "dpo", "full", "zero9")]
    public void A_word_that_is_wrong_ends_the_script_with_1(string message, params string[] words)
    {
        using var handbook = new HandbookProcess();
        var outcome = Slurm(handbook).Run("sbatch", [Script, .. words], printsOnly: true);
        Assert.Equal((1, ""), (outcome.Code, outcome.Output));
        Assert.Contains(message, outcome.Error);
        Assert.Contains("--help", outcome.Error);
    }

    [Fact]
    public void Its_help_needs_no_job_and_its_jobs_need_one()
    {
        using var handbook = new HandbookProcess();
        var slurm = Slurm(handbook);
        var help = slurm.Run("bash", [Script, "--help"]);
        Assert.Equal((0, ""), (help.Code, help.Error));
        Assert.Contains("--accelerator ACCELERATOR", help.Output);
        var outside = slurm.Run("bash", [Script, "zephyr-7b-beta", "dpo", "full", "ddp"]);
        Assert.Equal(1, outside.Code);
        Assert.Contains("submit it with sbatch", outside.Error);
    }

    [Theory]
    [InlineData("zephyr-7b-beta sft full deepspeed_zero3", "zephyr-7b-beta/sft/config_full.yaml", "zero3", 8)]
    [InlineData("zephyr-7b-beta dpo qlora fsdp_qlora", "zephyr-7b-beta/dpo/config_qlora.yaml", "fsdp_qlora", 2)]
    [InlineData("gpt2-nl cpt full multi_gpu", "gpt2-nl/cpt/config_full.yaml", "multi_gpu", 8)]
    [InlineData("--model smollm3 --task sft --config mid --accelerator zero2", "smollm3/sft/mid.yaml", "zero2", 8)]
    [InlineData("--accelerator=fsdp --config=apo --task=dpo --model=smollm3", "smollm3/dpo/apo.yaml", "fsdp", 8)]
    [InlineData("--model zephyr-141b-A35b --task orpo --config full --accelerator ddp", "zephyr-141b-A35b/orpo/config_full.yaml", "ddp", 8)]
    public void Recipes_and_files_of_the_launcher_are_found_by_their_names(string words, string recipe, string file, int processes)
    {
        using var handbook = new HandbookProcess();
        var outcome = Slurm(handbook).Run("sbatch", ["--nodes=2", Script, .. words.Split(' ')], printsOnly: true);
        Assert.True(outcome.Code == 0, outcome.Error);
        var task = recipe.Split('/')[1];
        for (var node = 0; node < 2; node++)
            Assert.Contains($"handbook launch --config_file recipes/accelerate_configs/{file}.yaml --nproc-per-node {processes} --nnodes 2 "
                + $"--max-restarts 1 --rdzv-endpoint localhost:24711 --node-rank {node} {task} recipes/{recipe}\n", outcome.Output);
    }

    [Fact]
    public void The_scan_is_sixty_jobs_of_good_recipes()
    {
        using var handbook = new HandbookProcess();
        var outcome = Slurm(handbook).Run("bash", ["recipes/pref_align_scan/launch_scan.sh", "--partition=p"], printsOnly: true);
        Assert.True(outcome.Code == 0, outcome.Error);
        string[] jobs = [.. Regex.Matches(outcome.Output, @"handbook launch .* --node-rank 0 dpo (.*)\n")
            .Select(match => match.Groups[1].Value)];
        Assert.Equal(60, jobs.Distinct().Count());
        Assert.Contains("recipes/pref_align_scan/dpo/config_openhermes.yaml --loss_type=ipo --beta=0.9 "
            + "--output_dir=data/openhermes-7b-align-scan-ipo-beta-0.9", jobs);
        foreach (var words in jobs.Select(job => job.Split(' ')))
            Assert.True(Recipe.Load(new(Path.Combine(SharedFiles.Repository, words[0])), words[1..], TrainingMethod.Dpo)
                .TryGet(out _, out var report), report.ToString());
    }

    private static SlurmStandIn Slurm(TrainingFolder folder)
    {
        foreach (var name in (string[])["config_full", "small"])
            folder.Write($"recipes/mine/cpt/{name}.yaml", File.ReadAllText(folder["recipe.yaml"]));
        return new(folder.Write, folder.StartOther);
    }

    private static SlurmStandIn Slurm(HandbookProcess handbook) =>
        new(handbook.Write, (program, words, variables) => handbook.StartOther(program, words, variables));
}
