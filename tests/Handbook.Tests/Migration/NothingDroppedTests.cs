using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Tests.Migration;

/// <summary>Every setting of another trainer is a key of the recipe or is told by its line, those inside of lists and maps, too.</summary>
public sealed class NothingDroppedTests
{
    private const string Axolotl = """
        base_model: m
        model_type: LlamaForCausalLM
        load_in_8bit: false
        load_in_4bit: true
        adapter: qlora
        lora_r: 8
        lora_target_linear: true
        lora_target_modules: [q_proj]
        datasets:
          - path: a.jsonl
            ds_type: json
            type: chat_template
            shards: 1
            trust_remote_code: false
            field_messages: dialog
            message_field_role: speaker
            message_field_content: said
            message_field_training: train
            roles:
              user: [customer]
            roles_to_train: [assistant]
            train_on_eos: turn
            train_on_eot: last
            chat_template: tokenizer_default
            field_human: q
          - path: b.jsonl
            type: chat_template
            message_property_mappings:
              role: from
              content: value
            roles_to_train: [assistant, user]
            train_on_eos: last
          - path: c.jsonl
            type:
              field_instruction: q
              field_output: a
              format: "{instruction}"
              mystery: 1
        val_set_size: 0
        evals_per_epoch: 2
        saves_per_epoch: 1
        save_steps: 100
        num_epochs: 2
        train_on_inputs: false
        lr_scheduler: linear
        cosine_min_lr_ratio: 0.1
        reward_model: false
        use_tensorboard: false
        use_wandb: true
        special_tokens:
          pad_token: "<pad>"
          unk_token: "<unk>"
        trl:
          beta: 0.1
          mystery_of_trl: 3
        mystery: 3
        """;

    private const string LlamaFactory = """
        model_name_or_path: m
        stage: sft
        do_train: true
        finetuning_type: full
        lora_rank: 8
        quantization_bit: 4
        double_quantization: false
        dataset: mine
        dataset_dir: sets
        eval_dataset: other
        val_size: 0.1
        max_samples: 10
        train_on_prompt: false
        mask_history: false
        pref_loss: sigmoid
        pref_ftx: 0.5
        use_galore: true
        galore_rank: 8
        galore_scale: 0.5
        galore_target: q_proj,v_proj
        galore_layerwise: true
        use_apollo: false
        apollo_rank: 4
        use_dft_loss: false
        disable_shuffling: true
        disable_gradient_checkpointing: true
        create_new_adapter: false
        mystery: 3
        """;

    private const string Trl = """
        trl sft \
        --model_name_or_path m \
        --dataset_name d \
        --test_split_size 0.1 \
        --learning_rate 1e-5 \
        --reward_funcs accuracy_reward \
        --config_file zero3.json \
        --config settings \
        --streaming \
        --device_map auto \
        --report_to tensorboard comet \
        --mystery 3
        """;

    // what a setting becomes; all others must be told
    private static readonly Dictionary<string, string> s_ours = new()
    {
        ["base_model"] = "model_name_or_path",
        ["model_name_or_path"] = "model_name_or_path",
        ["dataset_name"] = "dataset_name",
        ["learning_rate"] = "learning_rate",
        ["load_in_4bit"] = "load_in_4bit",
        ["adapter"] = "use_peft",
        ["lora_r"] = "lora_r",
        ["lora_rank"] = "lora_r",
        ["lora_target_linear"] = "lora_target_modules",
        ["path"] = "dataset_mixture",
        ["type"] = "dataset_mixture",
        ["field_messages"] = "dataset_mixture",
        ["field_instruction"] = "dataset_mixture",
        ["field_output"] = "dataset_mixture",
        ["roles_to_train: [assistant]"] = "assistant_only_loss",
        ["saves_per_epoch"] = "save_steps",
        ["num_epochs"] = "num_train_epochs",
        ["train_on_inputs"] = "assistant_only_loss",
        ["lr_scheduler"] = "lr_scheduler_type",
        ["use_wandb"] = "report_to",
        ["pad_token"] = "pad_token",
        ["stage: sft"] = "assistant_only_loss",
        ["finetuning_type: full"] = "dataset_mixture",
        ["dataset"] = "dataset_mixture",
        ["dataset_dir"] = "dataset_mixture",
        ["val_size"] = "dataset_mixture",
        ["max_samples"] = "dataset_mixture",
        ["train_on_prompt"] = "assistant_only_loss",
        ["use_galore"] = "optim",
        ["galore_rank"] = "optim_args",
        ["galore_scale"] = "optim_args",
        ["galore_target"] = "optim_target_modules",
        ["disable_shuffling"] = "train_sampling_strategy",
        ["disable_gradient_checkpointing"] = "gradient_checkpointing",
    };

    [Theory]
    [InlineData("c.yml", Axolotl)]
    [InlineData("c.yaml", LlamaFactory)]
    [InlineData("train.sh", Trl)]
    public void Every_setting_is_in_the_recipe_or_told(string name, string text)
    {
        using var file = new MigrationFile(name, text).With("sets/dataset_info.json", """{"mine": {"file_name": "mine.json"}}""")
            .Migrate();
        var lines = text.Split('\n');
        List<string> dropped = [];
        for (var i = 0; i < lines.Length; i++)
        {
            var line = lines[i].Trim(' ', '-', '\\');
            var setting = line.Split(' ')[0].TrimEnd(':');
            // a map whose entries are looked at one by one, or the command itself
            var isPart = lines[..i].LastOrDefault(before => Indent(before) < Indent(lines[i]))?.Trim()
                is "roles:" or "message_property_mappings:";
            if (isPart || setting == "trl" || line.EndsWith(':') && setting is not ("roles" or "message_property_mappings"))
                continue;
            var isTold = file.Left(i + 1) is not null;
            var becomes = s_ours.GetValueOrDefault(line) ?? s_ours.GetValueOrDefault(setting);
            if (!isTold && (becomes is null || !file.Recipe.Sources.ContainsKey(becomes)))
                dropped.Add($"{i + 1}: {line}");
        }
        Assert.Empty(dropped);

        static int Indent(string line) => line.Length - line.TrimStart().Length;
    }

    [Fact]
    public void What_an_entry_of_a_data_set_said_is_told_in_words()
    {
        using var file = new MigrationFile("c.yml", Axolotl).Migrate();
        Assert.Contains("train_on_inputs: false, roles_to_train: [assistant]", file.Text);
        Assert.Contains("not needed: a file's own name", file.Left(11));
        Assert.EndsWith("rename these there", file.Left(16));
        Assert.EndsWith("rename these there", file.Left(17));
        Assert.Contains("not needed: turns of role and content", file.Left(28));
        Assert.Contains("assistant_only_loss takes the assistant's turns", file.Left(31));
        Assert.Contains("message_property_mappings: {role: from, content: value}", file.Text);
        Assert.Contains("nothing comes of it beside the other settings", file.Left(46));
        Assert.Contains("not needed: off there", file.Left(47));
    }

    [Fact]
    public void The_projection_of_a_gradient_keeps_its_numbers()
    {
        using var file = new MigrationFile("c.yaml", LlamaFactory).Migrate();
        Assert.Equal("rank=8,update_proj_gap=200,scale=0.5", file.Recipe.Training.OptimArgs);
        Assert.Equal(["q_proj", "v_proj"], file.Recipe.Training.OptimTargetModules!);
        using var apollo = new MigrationFile("c.yaml",
            "model_name_or_path: m\nfinetuning_type: full\ndataset: d\nuse_apollo: true\n"
            + "apollo_rank: 4\napollo_scale_type: tensor\n").Migrate();
        Assert.Equal("rank=4,update_proj_gap=200,scale=32.0,scale_type=tensor", apollo.Recipe.Training.OptimArgs);
    }

    [Fact]
    public void A_data_set_that_is_only_a_name_is_refused_where_it_stands()
    {
        using var file = new MigrationFile("c.yml", "base_model: m\ndatasets:\n  - org/set\n");
        Assert.Contains("c.yml:3:5: error: datasets has \"org/set\", which is no map of what a data set is",
            Assert.Throws<InputException>(() => file.Migrate()).Message);
    }
}
