namespace Handbook.Cli.Tests;

/// <summary>A command line of the Python handbook is answered with the one to type.</summary>
public sealed class OldWordsTests
{
    [Theory]
    [InlineData("run_sft recipes/zephyr-7b-beta/sft/config_full.yaml", "handbook sft recipes/zephyr-7b-beta/sft/config_full.yaml")]
    [InlineData("run_dpo.py r.yaml --beta=0.2", "handbook dpo r.yaml --beta=0.2")]
    [InlineData("scripts/run_orpo.py --config r.yaml", "handbook orpo r.yaml")]
    [InlineData("accelerate launch --config_file recipes/accelerate_configs/zero3.yaml scripts/run_sft.py r.yaml --load_in_4bit=true",
        "handbook sft r.yaml --load_in_4bit=true")]
    [InlineData("ACCELERATE_LOG_LEVEL=info accelerate launch --config_file zero3.yaml --num_processes=1 scripts/sft.py --config r.yaml "
        + "--learning_rate 1e-4", "handbook sft r.yaml --learning_rate 1e-4")]
    [InlineData("torchrun --nproc_per_node 8 scripts/run_cpt.py r.yaml", "handbook cpt r.yaml")]
    [InlineData("python scripts/run_dpo.py r.yaml --num_processes 8 --seed=1", "handbook dpo r.yaml --seed=1")]
    [InlineData("trl dpo --config r.yaml", "handbook dpo r.yaml")]
    [InlineData("accelerate launch", "handbook sft RECIPE, or another of `handbook --help`")]
    [InlineData("sft/r.yaml --seed=1", "handbook sft sft/r.yaml --seed=1")]
    public void It_is_translated(string words, string fix) => Assert.Equal(fix, OldWords.Explain(words.Split(' '))?.Fix);

    [Theory]
    [InlineData("fly")]
    [InlineData("sft --nonsense")]
    [InlineData("")]
    public void Another_word_is_not(string words) => Assert.Null(OldWords.Explain(words.Split(' ', StringSplitOptions.RemoveEmptyEntries)));

    [Fact]
    public void The_command_line_prints_it()
    {
        using var handbook = new HandbookProcess();
        var outcome = handbook.Run("accelerate", "launch", "--config_file", "zero3.yaml", "run_sft.py", "r.yaml");
        Assert.Equal((2, "error: accelerate launch is how the Python handbook was started\n  why: here one process trains on the whole "
            + "machine, without a launcher\n  fix: handbook sft r.yaml\n"), (outcome.Code, outcome.Error));
        outcome = handbook.Run("run_sft", "r.yaml");
        Assert.Equal((2, "error: run_sft is how the Python handbook was started\n  why: here every method is a command\n  fix: handbook "
            + "sft r.yaml\n"), (outcome.Code, outcome.Error));
    }
}
