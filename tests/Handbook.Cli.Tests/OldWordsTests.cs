using Handbook.Recipes;

namespace Handbook.Cli.Tests;

/// <summary>A command line of the Python handbook is answered with the one to type.</summary>
public sealed class OldWordsTests
{
    [Theory]
    [InlineData("run_sft recipes/zephyr-7b-beta/sft/config_full.yaml", "handbook sft recipes/zephyr-7b-beta/sft/config_full.yaml")]
    [InlineData("run_dpo.py r.yaml --beta=0.2", "handbook dpo r.yaml --beta=0.2")]
    [InlineData("scripts/run_orpo.py --config r.yaml", "handbook orpo r.yaml")]
    [InlineData("accelerate launch --config_file recipes/accelerate_configs/zero3.yaml scripts/run_sft.py r.yaml --load_in_4bit=true",
        "handbook launch --config_file recipes/accelerate_configs/zero3.yaml sft r.yaml --load_in_4bit=true")]
    [InlineData("accelerate launch --config_file=zero3.yaml --num_processes=4 --gradient_accumulation_steps 2 --rdzv_backend c10d "
        + "scripts/run_dpo.py r.yaml", "handbook launch --config_file zero3.yaml --num_processes 4 --gradient_accumulation_steps 2 dpo r.yaml")]
    [InlineData("accelerate launch --multi_gpu --num_machines 2 --machine_rank 1 --main_process_ip node0 --main_process_port 6000 "
        + "--num_processes 16 --max_restarts 1 --role $SLURMD_NODENAME: --tee 3 run_sft.py r.yaml",
        "handbook launch --nnodes 2 --node-rank 1 --master-addr node0 --master-port 6000 --num_processes 16 --max-restarts 1 sft r.yaml")]
    [InlineData("deepspeed --num_gpus 4 --num_nodes=2 --hostfile hosts run_dpo.py r.yaml",
        "handbook launch --nproc-per-node 4 --nnodes 2 dpo r.yaml")]
    [InlineData("deepspeed run_dpo.py r.yaml", "handbook dpo r.yaml")]
    [InlineData("torchrun --nproc_per_node=auto --standalone run_sft.py r.yaml", "handbook launch --nproc-per-node N sft r.yaml")]
    [InlineData("ACCELERATE_LOG_LEVEL=info accelerate launch --config_file zero3.yaml --num_processes=1 scripts/sft.py --config r.yaml "
        + "--learning_rate 1e-4", "handbook sft r.yaml --learning_rate 1e-4")]
    [InlineData("torchrun --nproc_per_node 8 scripts/run_cpt.py r.yaml", "handbook launch --nproc-per-node 8 cpt r.yaml")]
    [InlineData("python scripts/run_dpo.py r.yaml --num_processes 8 --seed=1", "handbook dpo r.yaml --seed=1")]
    [InlineData("trl dpo --config r.yaml", "handbook dpo r.yaml")]
    [InlineData("sbatch --nodes=4 recipes/launch.slurm zephyr-7b-beta sft full zero3",
        "sbatch --nodes=4 recipes/launch.slurm zephyr-7b-beta sft full zero3")]
    [InlineData("sbatch --nodes=4 job.sh", "sbatch -N 2 recipes/launch.slurm MODEL TASK CONFIG ACCELERATOR")]
    [InlineData("accelerate launch", "handbook sft RECIPE, or another of `handbook --help`")]
    [InlineData("sft/r.yaml --seed=1", "handbook sft sft/r.yaml --seed=1")]
    public void It_is_translated(string words, string fix) => Assert.Equal(fix, OldWords.Explain(words.Split(' '))?.Fix);

    [Theory]
    [InlineData("fly")]
    [InlineData("sft --nonsense")]
    [InlineData("")]
    public void Another_word_is_not(string words) => Assert.Null(OldWords.Explain(words.Split(' ', StringSplitOptions.RemoveEmptyEntries)));

    [Fact]
    public void What_it_advises_is_an_option_of_launch()
    {
        string[] python = ["config_file", "num_processes", "nproc-per-node", "num_gpus", "num_machines", "nnodes", "num_nodes", "machine_rank",
            "node_rank", "rdzv_endpoint", "main_process_ip", "master_addr", "main_process_port", "master_port", "max_restarts",
            "num_cpu_threads_per_process", "log_dir"];
        var options = Commands.Root().Subcommands.Single(command => command.Name == "launch").Options;
        Assert.All(python, name => Assert.Contains(options, option => option.Name == LauncherOptions.Here(name)));
        // and as it is spelled there
        Assert.All(python.Except(["num_gpus", "num_nodes"]), name => Assert.Contains(options,
            option => option.Name == $"--{name}" || option.Aliases.Contains($"--{name}")));
    }

    [Fact]
    public void The_command_line_prints_it()
    {
        using var handbook = new HandbookProcess();
        var outcome = handbook.Run("accelerate", "launch", "--config_file", "zero3.yaml", "run_sft.py", "r.yaml");
        Assert.Equal((2, "error: accelerate launch is how the Python handbook was started\n  why: here `handbook launch` starts "
            + "several processes\n  fix: handbook launch --config_file zero3.yaml sft r.yaml\n"), (outcome.Code, outcome.Error));
        outcome = handbook.Run("run_sft", "r.yaml");
        Assert.Equal((2, "error: run_sft is how the Python handbook was started\n  why: here every method is a command\n  fix: handbook "
            + "sft r.yaml\n"), (outcome.Code, outcome.Error));
    }
}
