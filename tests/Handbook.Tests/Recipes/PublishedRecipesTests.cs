using Handbook.Base;
using Handbook.Base.Keys;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Plans;

namespace Handbook.Tests.Recipes;

/// <summary>The published recipes mean here what they mean in the Python handbook.</summary>
public sealed class PublishedRecipesTests
{
    // columns: recipe, method, model, data and share, rate, schedule, warm-up (a share, or steps), epochs, micro-batch, accumulation,
    // optimiser, longest row, longest prompt, β, loss
    private const string Table = """
        constitutional-ai/dpo/config_anthropic | dpo | alignment-handbook/mistral-7b-sft-constitutional-ai | HuggingFaceH4/ultrafeedback_binarized=1, HuggingFaceH4/cai-conversation-harmless=1 | 5e-7 | linear | 0.1 | 3 | 2 | 1 | rmsprop | 1024 | 512 | 0.1 | sigmoid
        constitutional-ai/sft/config_anthropic | sft | mistralai/Mistral-7B-v0.1 | HuggingFaceH4/cai-conversation-harmless=1, HuggingFaceH4/ultrachat_200k=1 | 2e-5 | cosine | 0.1 | 1 | 8 | 4 | adamw_torch | 2048 | - | - | -
        constitutional-ai/sft/config_grok | sft | mistralai/Mistral-7B-v0.1 | HuggingFaceH4/grok-conversation-harmless=0.15, HuggingFaceH4/ultrachat_200k=1 | 2e-5 | cosine | 0.1 | 1 | 8 | 4 | adamw_torch | 2048 | - | - | -
        gpt2-nl/cpt/config_full | cpt | gpt2 | yhavinga/mc4_nl_cleaned=1 | 2e-4 | cosine | 0.1 | 1 | 16 | 1 | adamw_torch | 1024 | - | - | -
        gpt2-nl/dpo/config_full | dpo | BramVanroy/gpt2-sft-dutch | BramVanroy/ultra_feedback_dutch=1 | 5e-7 | cosine | 0.1 | 1 | 8 | 8 | adamw_torch | 1024 | 512 | 0.1 | sigmoid
        gpt2-nl/sft/config_full | sft | BramVanroy/gpt2-cpt-dutch | BramVanroy/ultrachat_200k_dutch=1 | 2e-5 | cosine | 0.1 | 1 | 8 | 1 | adamw_torch | 1024 | - | - | -
        pref_align_scan/dpo/config_openhermes | dpo | teknium/OpenHermes-2.5-Mistral-7B | HuggingFaceH4/orca_dpo_pairs=1 | 5e-7 | cosine | 0.1 | 1 | 8 | 2 | adamw_torch | 512 | 512 | 0.01 | sigmoid
        pref_align_scan/dpo/config_zephyr | dpo | alignment-handbook/zephyr-7b-sft-full | HuggingFaceH4/ultrafeedback_binarized=1 | 5e-7 | cosine | 0.1 | 1 | 8 | 2 | adamw_torch | 512 | 512 | 0.01 | sigmoid
        smollm2/dpo/config | dpo | loubnabnl/smollm2-1.7B-sft | HuggingFaceH4/ultrafeedback_binarized=1 | 1e-6 | cosine | 0.1 | 3 | 2 | 8 | adamw_torch | 1024 | 512 | 0.5 | sigmoid
        smollm2/dpo/config_smol | dpo | loubnabnl/smollm2-360M-sft | HuggingFaceH4/ultrafeedback_binarized=1 | 1e-6 | cosine | 0.1 | 2 | 2 | 8 | adamw_torch | 1024 | 512 | 0.5 | sigmoid
        smollm3/dpo/apo | dpo | HuggingFaceTB/SmolLM3-3B-checkpoints | HuggingFaceTB/smoltalk2=0.5, HuggingFaceTB/smoltalk2=0.25 | 1e-6 | cosine_with_min_lr | 0.1 | 1 | 1 | 2 | adamw_torch | 24576 | - | 0.05 | apo_zero
        smollm3/sft/mid | sft | HuggingFaceTB/SmolLM3-3B-Base | HuggingFaceTB/smoltalk2=1, HuggingFaceTB/smoltalk2=1 | 2e-5 | cosine_with_min_lr | 0.03 | 5 | 1 | 2 | adamw_torch | 32768 | - | - | -
        starchat2-15b/dpo/config_v0.1 | dpo | HuggingFaceH4/starchat2-15b-sft-v0.1 | HuggingFaceH4/ultrafeedback_binarized=1, HuggingFaceH4/orca_dpo_pairs=1 | 5e-7 | cosine | 0.1 | 2 | 2 | 8 | adamw_torch | 1024 | 512 | 0.05 | sigmoid
        zephyr-141b-A35b/orpo/config_full | orpo | mistral-community/Mixtral-8x22B-v0.1 | argilla/distilabel-capybara-dpo-7k-binarized=1 | 5e-6 | inverse_sqrt | 100 | 3 | 1 | 1 | adamw_bnb_8bit | 2048 | 1792 | 0.05 | -
        zephyr-7b-beta/dpo/config_full | dpo | alignment-handbook/zephyr-7b-sft-full | HuggingFaceH4/ultrafeedback_binarized=1 | 5e-7 | cosine | 0.1 | 1 | 8 | 2 | adamw_torch | 1024 | 512 | 0.01 | sigmoid
        zephyr-7b-beta/sft/config_full | sft | mistralai/Mistral-7B-v0.1 | HuggingFaceH4/ultrachat_200k=1 | 2e-5 | cosine | 0.1 | 1 | 16 | 1 | adamw_torch | 2048 | - | - | -
        zephyr-7b-gemma/dpo/config_full | dpo | HuggingFaceH4/zephyr-7b-gemma-sft-v0.1 | argilla/dpo-mix-7k=1 | 5e-7 | cosine | 0.1 | 2 | 2 | 8 | adamw_torch | 1024 | 512 | 0.05 | sigmoid
        zephyr-7b-gemma/sft/config_full | sft | google/gemma-7b | HuggingFaceH4/deita-10k-v0-sft=1 | 2e-5 | cosine | 0.1 | 3 | 4 | 4 | adamw_torch | 2048 | - | - | -
        """;

    public static TheoryData<string> Rows() => [.. Table.Split('\n', StringSplitOptions.RemoveEmptyEntries)];

    [Theory, MemberData(nameof(Rows))]
    public void A_published_recipe_resolves_to_its_published_values(string row) =>
        RequireValues(row, Path.Combine(SharedFiles.Repository, $"recipes/{row.Split('|')[0].Trim()}.yaml"));

    [Theory, MemberData(nameof(Rows))]
    public void The_file_that_was_published_first_resolves_to_the_same(string row)
    {
        var file = PublishedFiles.PathOf($"a/{row.Split('|')[0].Trim()}");
        Assert.SkipUnless(File.Exists(file), "it was not among the first ones");
        RequireValues(row, file);
    }

    private static void RequireValues(string row, string path)
    {
        var (name, file) = (row.Split('|')[0].Trim(), new FileInfo(path));
        Assert.True(Recipe.Load(file, [], Recipe.GuessMethod(file)).TryGet(out var recipe, out var diagnostics), diagnostics.ToString());
        var (t, p) = (recipe.Training, recipe.Preference);
        var pairs = recipe.Method is TrainingMethod.Dpo or TrainingMethod.Orpo;
        object?[] found =
        [
            name, recipe.MethodName, recipe.Model.ModelNameOrPath,
                string.Join(", ", recipe.Mixture.Datasets.Select(set => $"{set.Id}={set.Weight}")), Small(t.LearningRate),
                RecipeNames.Of(t.LrSchedulerType),
            t.WarmupSteps > 0 ? t.WarmupSteps : t.WarmupRatio, t.NumTrainEpochs, t.PerDeviceTrainBatchSize, t.GradientAccumulationSteps,
                RecipeNames.Of(t.Optim), recipe.Data.MaxLength,
            pairs ? p.MaxPromptLength : null, pairs ? p.Beta : null, p.LossType is { } losses ? string.Join(", ", losses) : null,
        ];
        Assert.Equal(row, string.Join(" | ", found.Select(value => value ?? "-")));

        static string Small(double rate) => rate.ToString("0.#e-0");
    }

    [Fact]
    public void Every_preference_recipe_stands_in_the_table()
    {
        var folder = Path.Combine(SharedFiles.Repository, "recipes");
        foreach (var file in Directory.EnumerateFiles(folder, "*.yaml", SearchOption.AllDirectories)
            .Where(file => Path.GetFileName(Path.GetDirectoryName(file)) is "dpo" or "orpo"))
            if (Path.GetRelativePath(folder, file)[..^".yaml".Length] is var name && !name.EndsWith("qlora", StringComparison.Ordinal))
                Assert.Contains($"{name} | ", Table);
    }

    [Theory]
    [InlineData("zephyr-7b-beta/dpo/config_qlora")]
    [InlineData("zephyr-7b-beta/sft/config_qlora")]
    public void A_recipe_with_adapters_loads_unchanged(string name)
    {
        var file = new FileInfo(Path.Combine(SharedFiles.Repository, $"recipes/{name}.yaml"));
        Assert.True(Recipe.Load(file, [], Recipe.GuessMethod(file)).TryGet(out var recipe, out var report), report.ToString());
        Assert.Equal(1.0, recipe.Training.NumTrainEpochs);
        Assert.True(recipe.Adapter.UsePeft);
        Assert.True(recipe.Quantisation.LoadIn4Bit);
        Assert.Equal(recipe.MethodName == "dpo" ? (128, 128.0, 0.05) : (16, 16.0, 0.05),
            (recipe.Adapter.LoraR, recipe.Adapter.LoraAlpha, recipe.Adapter.LoraDropout));
        Assert.Equal(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"], recipe.Adapter.LoraTargetModules!);
    }

    [Fact] // as both were published: names, order and quirks
    public void A_preference_recipe_of_either_handbook_loads_unchanged()
    {
        var older = RecipeFile.Load("""
            # Model arguments
            model_name_or_path: alignment-handbook/zephyr-7b-sft-full
            torch_dtype: null
            use_flash_attention_2: true
            # Data training arguments
            dataset_mixer:
              HuggingFaceH4/ultrafeedback_binarized: 1.0
            dataset_splits:
            - train_prefs
            - test_prefs
            preprocessing_num_workers: 12
            # DPOTrainer arguments
            bf16: true
            beta: 0.01
            do_train: true
            do_eval: true
            evaluation_strategy: steps
            eval_steps: 100
            gradient_accumulation_steps: 2
            gradient_checkpointing: true
            gradient_checkpointing_kwargs:
              use_reentrant: False
            hub_model_id: zephyr-7b-dpo-full
            hub_model_revision: v1.0
            learning_rate: 5.0e-7
            log_level: info
            loss_type: kto_pair
            lr_scheduler_type: cosine
            max_prompt_length: 512
            num_train_epochs: 1
            optim: adamw_torch
            output_dir: data/zephyr-7b-dpo-full
            push_to_hub: true
            remove_unused_columns: false
            save_total_limit: 1
            truncation_side: left
            auto_insert_empty_system_msg: false
            """, TrainingMethod.Dpo);
        Assert.Equal((RecipeDialect.Mixer, 512, 512, TruncationMode.KeepEnd),
            (older.Dialect, older.Data.MaxLength, older.Preference.MaxPromptLength, older.Preference.Truncation()));
        Assert.Equal(["kto_pair"], older.Preference.LossType!);
        Assert.False(older.Sft.AutoInsertEmptySystemMsg);

        var newer = RecipeFile.Load("""
            model_name_or_path: HuggingFaceTB/SmolLM3-3B-checkpoints
            model_revision: it-SFT
            torch_dtype: bfloat16
            attn_implementation: flash_attention_2
            dataset_mixture:
              datasets:
              - id: HuggingFaceTB/smoltalk2
                config: Preference
                split: llama_3.1_tulu_3_8b_preference_mixture_no_think
                columns:
                - chosen
                - rejected
                - prompt
                - chat_template_kwargs
                weight: 0.5
            dataset_num_proc: 12
            beta: 0.05
            loss_type: apo_zero
            max_length: 24576
            padding_free: true
            use_liger_kernel: true
            use_logits_to_keep: true
            ignore_bias_buffers: true
            learning_rate: 1.0e-6
            bf16: true
            """, TrainingMethod.Dpo);
        Assert.Equal((RecipeDialect.Mixture, 24576, 512, TruncationMode.KeepStart),
            (newer.Dialect, newer.Data.MaxLength, newer.Preference.MaxPromptLength, newer.Preference.Truncation()));
    }
}
