using Handbook.Base;

namespace Handbook.Tests.Migration;

/// <summary>A setting that cannot be read stops the migration: all of them are told at once, each where it stands.</summary>
public sealed class UnreadableSettingsTests
{
    [Fact]
    public void All_of_Axolotl_s_are_told_at_once()
    {
        var message = Refused("c.yml", """
            base_model: m
            datasets:
              - path: d
                type: alpaca
                shards: few
            sequence_len: "long"
            learning_rate: abc
            micro_batch_size: 0
            val_set_size: lots
            saves_per_epoch: often
            load_in_8bit: perhaps
            train_on_inputs: 2
            tf32: maybe
            cosine_min_lr_ratio: low
            warmup_steps: [10]
            adapter: llama-adapter
            rl: ppo
            """);
        Assert.Contains("""
            c.yml:6:15: error: sequence_len is "long", not a whole number
                6 | sequence_len: "long"
                  |               ^^^^^^
            """, message);
        Assert.Contains("c.yml:7:16: error: learning_rate is \"abc\", not a number", message);
        Assert.Contains("c.yml:8:19: error: per_device_train_batch_size is 0", message);
        string[] others = ["5:13: error: shards is few, not a number", "9:15: error: val_set_size is lots",
            "10:18: error: saves_per_epoch is often", "11:15: error: load_in_8bit is perhaps, not true or false", "12:18: error: train_on_inputs is 2",
            "13:7: error: tf32 is \"maybe\"",
            "14:22: error: cosine_min_lr_ratio is low", "15:15: error: warmup_steps", "16:10: error: adapter: llama-adapter has no counterpart",
            "17:5: error: rl: ppo has no counterpart"];
        Assert.All(others, other => Assert.Contains(other, message));
        Assert.Contains("13 problems found", message);
    }

    [Fact]
    public void All_of_LLaMA_Factory_s_are_told_at_once()
    {
        var message = Refused("c.yml", """
            model_name_or_path: m
            stage: sft
            finetuning_type: freeze
            dataset: x
            cutoff_len: 2k
            learning_rate: fast
            num_train_epochs: three
            val_size: some
            max_samples: many
            quantization_bit: four
            use_galore: very
            packing: maybe
            pref_ftx: little
            """);
        string[] all = ["3:18: error: finetuning_type: freeze has no counterpart", "5:13: error: cutoff_len is \"2k\", not a whole number",
            "6:16: error: learning_rate is \"fast\", not a number", "7:19: error: num_train_epochs is \"three\"", "8:11: error: val_size is some",
            "9:14: error: max_samples is many", "11:13: error: use_galore is very", "12:10: error: packing is maybe",
            "13:11: error: pref_ftx is little"];
        Assert.All(all, other => Assert.Contains(other, message));
        Assert.Contains("9 problems found", message);
        Assert.Contains("4:19: error: quantization_bit is four", Refused("c.yml",
            "model_name_or_path: m\nstage: sft\ndataset: x\nquantization_bit: four\n"));
    }

    [Fact]
    public void Those_of_a_command_line_are_shown_at_their_words()
    {
        var message = Refused("train.sh", "LR=fast\ntrl sft --model_name_or_path m --dataset_name d \\\n"
            + "    --learning_rate=$LR --num_train_epochs three \\\n    --max_length '2k' --bf16 perhaps --warmup_ratio 2\n");
        Assert.Contains("""
            train.sh:3:21: error: learning_rate is "fast", not a number
                3 |     --learning_rate=$LR --num_train_epochs three \
                  |                     ^^^
            """, message);
        Assert.Contains("train.sh:3:44: error: num_train_epochs is \"three\"", message);
        Assert.Contains("""
            train.sh:4:18: error: max_length is "2k", not a whole number
                4 |     --max_length '2k' --bf16 perhaps --warmup_ratio 2
                  |                  ^^^^
            """, message);
        Assert.Contains("train.sh:4:30: error: bf16 is \"perhaps\", not true or false", message);
        Assert.Contains("train.sh:4:53: error: warmup_ratio is 2", message);
    }

    [Fact] // a name that another trainer has and we have not is no mistake there
    public void A_name_without_a_counterpart_is_told_as_ever()
    {
        using var file = new MigrationFile("c.yml", "base_model: m\ndatasets: [{path: d, type: alpaca}]\n"
            + "optimizer: came_pytorch\ntf32: auto\n").Migrate();
        Assert.Contains("came_pytorch", file.Left(3));
        Assert.Contains("tf32: true says it here", file.Left(4));
    }

    private static string Refused(string name, string text)
    {
        using var file = new MigrationFile(name, text);
        return Assert.Throws<InputException>(() => file.Migrate()).Message.ReplaceLineEndings("\n");
    }
}
