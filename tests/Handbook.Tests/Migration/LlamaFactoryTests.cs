using Handbook.Base;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Tests.Migration;

/// <summary>Configurations of LLaMA-Factory become recipes; data sets are those that <c>dataset_info.json</c> tells of.</summary>
public sealed class LlamaFactoryTests
{
    private const string Sft = """
        ### model
        model_name_or_path: org/model
        trust_remote_code: true

        ### method
        stage: sft
        do_train: true
        finetuning_type: lora
        lora_rank: 16
        lora_target: q_proj,v_proj
        quantization_bit: 4

        ### dataset
        dataset: identity,chats
        dataset_dir: sets
        template: llama3
        cutoff_len: 1024
        max_samples: 1000
        overwrite_cache: true
        preprocessing_num_workers: 16

        ### output
        output_dir: saves/sft
        logging_steps: 10
        save_steps: 500
        plot_loss: true

        ### train
        per_device_train_batch_size: 1
        gradient_accumulation_steps: 8
        learning_rate: 1.0e-4
        num_train_epochs: 3.0
        lr_scheduler_type: cosine
        warmup_ratio: 0.1
        bf16: true
        ddp_timeout: 180000000

        ### eval
        val_size: 0.1
        per_device_eval_batch_size: 1
        eval_strategy: steps
        eval_steps: 500
        """;

    private const string Info = """
        {
          "identity": {"file_name": "identity.json"},
          "chats": {"hf_hub_url": "org/chats", "subset": "en", "split": "train_sft", "formatting": "sharegpt",
            "columns": {"messages": "turns", "system": "sys", "images": "pics"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "asker", "assistant_tag": "assistant"}},
          "pairs": {"file_name": "pairs.json", "ranking": true, "columns": {"prompt": "question", "chosen": "good", "rejected": "bad"}},
          "judged": {"file_name": "judged.json", "formatting": "sharegpt", "columns": {"messages": "messages", "kto_tag": "thumb"}},
          "wiki": {"file_name": "wiki.json", "columns": {"prompt": "body"}}
        }
        """;

    [Fact]
    public void A_fine_tuning_of_an_adapter_keeps_its_settings()
    {
        using var file = new MigrationFile("sft.yaml", Sft).With("sets/dataset_info.json", Info).Migrate();
        var recipe = file.Recipe;
        Assert.Equal((TrainingMethod.Sft, 1024, 16, 32.0, 0.0), (recipe.Method, recipe.Data.MaxLength, recipe.Adapter.LoraR,
            recipe.Adapter.LoraAlpha, recipe.Adapter.LoraDropout));
        Assert.Equal((true, true), (recipe.Quantisation.LoadIn4Bit, recipe.Quantisation.UseBnbNestedQuant));
        Assert.Equal(["q_proj", "v_proj"], recipe.Adapter.LoraTargetModules!);
        Assert.True(recipe.Training.GradientCheckpointing);
        Assert.True(recipe.Sft.AssistantOnlyLoss);
        Assert.Equal((IntervalStrategy.Steps, 0.1), (recipe.Training.EvalStrategy, recipe.Data.DatasetMixture!.TestSplitSize));
        var sets = recipe.Data.DatasetMixture.Datasets;
        Assert.Equal([("sets/identity.json", "train[:1000]"), ("org/chats", "train_sft[:1000]")],
            sets.Select(set => (set.Id[set.Id.IndexOf(set.Id.StartsWith("org", StringComparison.Ordinal) ? "org" : "sets",
                StringComparison.Ordinal)..], set.Split)));
        Assert.Equal(("en", "turns", "sys"), (sets[1].Config, sets[1].ColumnMapping!["messages"], sets[1].ColumnMapping!["system"]));
        Assert.Contains("the tokenizer's own template counts", file.Left(16));
        Assert.Contains("text alone", file.Text);
        Assert.Contains("user_tag: asker", file.Text);
    }

    [Theory]
    [InlineData("stage: dpo\npref_loss: sigmoid\npref_beta: 0.2\npref_ftx: 0.5\ndataset: pairs", "dpo")]
    [InlineData("stage: dpo\npref_loss: orpo\npref_beta: 0.2\ndataset: pairs", "orpo")]
    [InlineData("stage: dpo\npref_loss: simpo\npref_beta: 2.0\nsimpo_gamma: 1.0\ndataset: pairs", "cpo")]
    [InlineData("stage: kto\npref_beta: 0.2\nkto_chosen_weight: 2.0\ndataset: judged", "kto")]
    [InlineData("stage: rm\ndataset: pairs", "reward")]
    [InlineData("stage: pt\ndataset: wiki", "cpt")]
    public void A_stage_becomes_a_method(string lines, string method)
    {
        using var file = new MigrationFile("c.yaml",
            $"model_name_or_path: m\nfinetuning_type: full\ncutoff_len: 512\ndataset_dir: sets\n{lines}\n")
            .With("sets/dataset_info.json", Info).Migrate();
        var (recipe, set) = (file.Recipe, file.Recipe.Data.DatasetMixture!.Datasets[0]);
        Assert.Equal(method, recipe.MethodName);
        Assert.False(recipe.Adapter.UsePeft);
        Assert.Equal(5e-5, recipe.Training.LearningRate);
        switch (method)
        {
            case "dpo":
                Assert.Equal((0.2, 0.5), (recipe.Preference.Beta, recipe.Preference.RpoAlpha));
                Assert.Equal(("question", "good", "bad"), (set.ColumnMapping!["instruction"], set.ColumnMapping["chosen"],
                    set.ColumnMapping["rejected"]));
                break;
            case "cpo":
                Assert.Equal(["simpo"], recipe.Preference.LossType!);
                Assert.Equal((0.0, 1.0), (recipe.Preference.CpoAlpha, recipe.Preference.SimpoGamma));
                break;
            case "kto":
                Assert.Equal(("thumb", 2.0), (set.ColumnMapping!["label"], recipe.Preference.DesirableWeight));
                break;
            case "cpt":
                Assert.Equal("body", set.ColumnMapping!["text"]);
                Assert.Equal((true, PackingStrategy.Wrapped), (recipe.Data.Packing, recipe.Data.PackingStrategy));
                break;
        }
    }

    [Theory]
    [InlineData("packing: false", false)]
    [InlineData("packing: true", true)]
    public void Texts_are_joined_to_blocks_unless_it_is_turned_off(string line, bool isPacked)
    {
        using var file = new MigrationFile("c.yaml", $"model_name_or_path: m\nfinetuning_type: full\nstage: pt\ndataset: wiki\n"
            + $"overwrite_output_dir: true\n{line}\n").Migrate();
        Assert.Equal(isPacked, file.Recipe.Data.Packing);
        Assert.Contains("`fresh: true` starts anew", file.Left(5));
    }

    [Theory]
    [InlineData("stage: ppo", "stage: ppo has no counterpart here")]
    [InlineData("finetuning_type: freeze", "finetuning_type: freeze has no counterpart here")]
    public void What_cannot_be_trained_here_is_refused(string line, string message)
    {
        using var file = new MigrationFile("c.yaml", $"model_name_or_path: m\ndataset: d\ncutoff_len: 512\n{line}\n");
        Assert.Contains(message, Assert.Throws<InputException>(() => file.Migrate()).Message);
    }

    [Fact]
    public void The_words_of_its_command_say_the_same_as_its_file()
    {
        using var words = new MigrationFile("train.sh", """
            CUDA_VISIBLE_DEVICES=0 llamafactory-cli train \
                --stage dpo --do_train True \
                --model_name_or_path org/model \
                --dataset pairs --dataset_dir sets --template qwen \
                --finetuning_type lora --lora_target all --pref_beta 0.1 \
                --cutoff_len 2048 --output_dir saves/dpo --flash_attn auto
            """).With("sets/dataset_info.json", Info).Migrate();
        Assert.Equal((TrainingMethod.Dpo, 2048, "saves/dpo"), (words.Recipe.Method, words.Recipe.Data.MaxLength,
            words.Recipe.Training.OutputDir));
        Assert.Equal(["all-linear"], words.Recipe.Adapter.LoraTargetModules!);
        Assert.Contains("exact", words.Left(6));
    }

    [Fact]
    public void Without_the_index_names_stay_names_and_it_is_told()
    {
        using var file = new MigrationFile("c.yaml", "model_name_or_path: m\nstage: sft\nfinetuning_type: full\ndataset: mine\n").Migrate();
        Assert.Equal("mine", file.Recipe.Data.DatasetMixture!.Datasets[0].Id);
        Assert.Contains("dataset_info.json is not here", file.Left(4));
    }
}
