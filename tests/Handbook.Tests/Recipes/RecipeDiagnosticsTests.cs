using Handbook.Base;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Tests.Recipes;

/// <summary>Every message that a recipe can cause, word for word.</summary>
public sealed class RecipeDiagnosticsTests
{
    [Fact]
    public void A_value_out_of_range_is_shown_where_it_stands() => Check(RecipeFile.Good + "learning_rate: -0.1\n", """
        r.yaml:4:16: error: learning_rate is -0.1, but must be 0 or greater
            4 | learning_rate: -0.1
              |                ^^^^
          why: a negative rate climbs the loss
          fix: use 2.0e-5 for fine-tuning, 1.0e-4 and more for small models
        1 problem found; nothing was started.

        """);

    [Fact]
    public void All_problems_are_told_at_once() => Check("model_name_or_path: m\nlearning_rate: fast\nmax_steps: 0\nbf16: false\n", """
        r.yaml:2:16: error: learning_rate is "fast", not a number
            2 | learning_rate: fast
              |                ^^^^
          fix: write a number, such as 2.0e-5
        r.yaml:3:12: error: max_steps is 0, but must be at least 1, or -1 for no limit
            3 | max_steps: 0
              |            ^
          fix: use -1 to let num_train_epochs decide
        r.yaml: error: dataset_name is missing, and so are dataset_mixture and dataset_mixer
          why: there is nothing to train on
          fix: add `dataset_name: path/to/rows.jsonl` (a file or a folder)
        3 problems found; nothing was started.

        """);

    [Fact]
    public void A_key_that_does_not_exist_names_the_nearest() => Check(RecipeFile.Good + "lerning_rate: 1\n", """
        r.yaml:4:1: error: lerning_rate is not a key of a recipe
            4 | lerning_rate: 1
              | ^^^^^^^^^^^^
          why: a key that is ignored would be a run that is not what it says
          fix: did you mean learning_rate?
        1 problem found; nothing was started.

        """);

    [Fact]
    public void A_key_like_no_other_is_told_so() => Has(RecipeFile.Good + "colour: red\n",
        "r.yaml:4:1: error: colour is not a key of a recipe", "fix: `handbook explain` lists every key");

    [Fact]
    public void Digits_behind_a_zero_are_two_numbers() => Check(RecipeFile.Good + "seed: 0100\n", """
        r.yaml:4:7: error: seed is 0100, which YAML 1.1 reads as 64 and YAML 1.2 as 100
            4 | seed: 0100
              |       ^^^^
          fix: write 100 or 64, as it is meant
        1 problem found; nothing was started.

        """);

    [Fact]
    public void A_text_in_braces_that_is_no_map_says_what_is_wrong_with_it() => Has(RecipeFile.Good + "lr_scheduler_kwargs: '{\"a\": 1'\n",
        "r.yaml:4:22: error: lr_scheduler_kwargs is \"{\"a\": 1\", a text that is no map: this is not YAML: ",
        "  fix: write {name: value}, without quotes around it");

    [Theory]
    [InlineData("chat_template: {% for m in messages %}{{ m.content }}{% endfor %}", "a value that begins with { is a map in YAML, and this is a template")]
    [InlineData("chat_template: {{ messages }}", "a value that begins with { is a map in YAML, and this is a template")]
    [InlineData("run_name: 'it's'", "the quote that opens the value is closed before s'")]
    [InlineData("run_name: \"a \" b", "the quote that opens the value is closed before b")]
    [InlineData("run_name: [draft] first", "a value that begins with [ is a list in YAML, and a text stands behind this one")]
    [InlineData("run_name: {a} b", "a value that begins with { is a map in YAML, and a text stands behind this one")]
    [InlineData("run_name: try 2: longer", "a second colon with a space behind it stands in the line")]
    public void A_value_that_YAML_reads_otherwise_says_why(string line, string what) => Has(RecipeFile.Good + line + "\n", what, "  fix: ");

    [Theory]
    [InlineData("report_to: tensorboard, wandb", "tensorboard|wandb")]
    [InlineData("report_to: csv,wandb", "csv|wandb")]
    [InlineData("report_to: csv", "csv")]
    public void A_list_of_names_may_be_written_with_commas(string line, string names) =>
        Assert.Equal(names.Split('|'), RecipeFile.Load(RecipeFile.Good + line + "\n", TrainingMethod.Sft).Training.ReportTo);

    [Theory]
    [InlineData("use_peft: true\nlora_target_modules: q_proj, v_proj", "q_proj|v_proj")]
    [InlineData("use_peft: true\nlora_target_modules: .*\\.[0-9]{1,2}\\.q_proj", ".*\\.[0-9]{1,2}\\.q_proj")]      // one pattern
    public void A_pattern_keeps_its_commas(string lines, string modules) =>
        Assert.Equal(modules.Split('|'), RecipeFile.Load(RecipeFile.Good + lines + "\n", TrainingMethod.Sft).Adapter.LoraTargetModules!);

    [Fact]
    public void A_quoted_list_says_how_it_is_written() => Has(RecipeFile.Good + "report_to: 'csv, wandb'\n",
        "report_to names \"csv, wandb\", not one of", "  fix: write a list, without quotes around it: [csv, wandb]");

    [Fact]
    public void A_key_given_twice_names_the_first_line() => Check(RecipeFile.Good + "seed: 1\nseed: 2\n", """
        r.yaml:5:1: error: seed is given twice, first in line 4
            5 | seed: 2
              | ^^^^
          why: only one of the two could count
          fix: remove one of the lines
        1 problem found; nothing was started.

        """);

    [Fact]
    public void Two_names_of_one_key_must_agree() => Has(RecipeFile.Good + "max_length: 512\nmax_seq_length: 1024\n",
        "r.yaml:5:17: error: max_seq_length and max_length (line 4) are two names of one key, with different values",
            "fix: keep max_length");

    [Fact]
    public void Broken_yaml_is_shown_where_it_breaks() => Check("model_name_or_path: [a, b\ndataset_name: d\n", """
        r.yaml:1:23: error: this is not YAML: something is missing or not closed behind this
            1 | model_name_or_path: [a, b
              |                       ^
          fix: write `key: value`, with a space behind the colon; put quotes around text with : # { [ in it
        1 problem found; nothing was started.

        """);

    [Fact]
    public void A_tab_in_the_indentation_is_found() => Check("model_name_or_path: m\ndataset_mixer:\n\td: 1.0\n", """
        r.yaml:3:1: error: a tab stands in the indentation
            3 |  d: 1.0
              | ^
          why: YAML allows only spaces there
          fix: replace the tab with two spaces
        1 problem found; nothing was started.

        """);

    [Theory]
    [InlineData("", "the recipe is empty")]
    [InlineData("- a\n- b\n", "a recipe is a list of lines `key: value`")]
    [InlineData("just words\n", "a recipe is a list of lines `key: value`")]
    [InlineData("a: 1\n---\nb: 2\n", "a second YAML document begins here")]
    [InlineData("model_name_or_path: *nowhere\n", "the alias *nowhere has no anchor before it")]
    public void A_file_that_is_no_recipe_is_told_so(string text, string message) => Has(text, $"error: {message}\n");

    [Fact] // 3,000 seeds: a recipe with a few characters replaced, removed or doubled is read or refused, and never throws
    public void Broken_recipes_never_throw()
    {
        const string noise = ":{}[]&*!|>'\"%@`#-,?\t\n\r\\ ~<=\0é\uFEFF\u2028";
        var good = File.ReadAllText(Path.Combine(SharedFiles.Repository, "recipes/zephyr-7b-beta/sft/config_full.yaml"));
        for (var seed = 0; seed < 3000; seed++)
        {
            var random = new Random(seed);
            var text = new System.Text.StringBuilder(good[..random.Next(1, good.Length)]);
            for (var i = random.Next(1, 8); i > 0; i--)
                switch (random.Next(3))
                {
                    case 0: text[random.Next(text.Length)] = noise[random.Next(noise.Length)]; break;
                    case 1: text.Insert(random.Next(text.Length), noise[random.Next(noise.Length)]); break;
                    default: text.Insert(random.Next(text.Length), text.ToString(random.Next(text.Length), 1)); break;
                }
            var report = new Diagnostics("r.yaml");
            YamlReader.Read(text.ToString(), "r.yaml", report);
            Assert.NotNull(report.ToString());
        }
    }

    [Fact]
    public void A_thousand_laughs_are_stopped()
    {
        var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
        for (var i = 1; i < 10; i++)
            text += $"a{i}: &a{i} [{string.Join(", ", Enumerable.Repeat($"*a{i - 1}", 10))}]\n";
        Has(text, "error: more than 200000 values, repetitions by alias included\n");
    }

    [Fact]
    public void Deep_nesting_is_stopped() => Has("model_name_or_path: " + new string('[', 100_000) + "\n", "error: values are nested more "
        + "than 64 deep\n");

    [Theory]
    [InlineData("per_device_train_batch_size: 2.5", "r.yaml:4:30: error: per_device_train_batch_size is 2.5, not a whole number")]
    [InlineData("per_device_train_batch_size: many", "per_device_train_batch_size is \"many\", not a whole number")]
    [InlineData("per_device_train_batch_size: 0", "per_device_train_batch_size is 0, but must be at least 1")]
    [InlineData("max_steps: 99999999999", "max_steps is 99999999999, which is too large")]
    [InlineData("learning_rate: [1, 2]", "learning_rate is a list, not a number")]
    [InlineData("learning_rate: {a: 1}", "learning_rate is a map, not a number")]
    [InlineData("learning_rate:", "learning_rate is empty")]
    [InlineData("learning_rate: .nan", "learning_rate is \".nan\", not a number")]
    [InlineData("packing: maybe", "packing is \"maybe\", not true or false")]
    [InlineData("lr_scheduler_type: cosin", "lr_scheduler_type is \"cosin\", not one of linear, cosine, ")]
    [InlineData("report_to: {a: 1}", "report_to is a map, not a list of texts")]
    [InlineData("lr_scheduler_kwargs: 3", "lr_scheduler_kwargs is \"3\", not a map")]
    [InlineData("lr_scheduler_kwargs: {power: 2}", "lr_scheduler_kwargs has power, which linear does not know")]
    [InlineData("dataset_kwargs: {add_special_token: true}", "r.yaml:4:18: error: dataset_kwargs has no key add_special_token")]
    [InlineData("warmup_ratio: 1.5", "warmup_ratio is 1.5, but must lie between 0 and 1")]
    [InlineData("warmup_steps: -1", "warmup_steps is -1, but must be 0 or greater")]
    [InlineData("save_steps: 1.5", "save_steps is 1.5, but must be a whole number of steps, or a share of the run between 0 and 1")]
    [InlineData("save_total_limit: 0", "save_total_limit is 0, but must be at least 1")]
    [InlineData("num_train_epochs: 0", "num_train_epochs is 0, but must be greater than 0")]
    [InlineData("max_length: 1", "max_length is 1, but must be at least 2")]
    [InlineData("max_seq_length: 1", "max_seq_length is 1, but must be at least 2")]
    [InlineData("packing: true\nmax_length: null", "max_length is null, but packing needs a block length")]
    [InlineData("max_bad_rows: 2", "max_bad_rows is 2, but is a share between 0 and 1")]
    [InlineData("adam_beta2: 1", "adam_beta2 is 1, but must be at least 0 and below 1")]
    [InlineData("optim: lomo", "optim is lomo, an optimiser that is not built yet")]
    [InlineData("optim: sgd\noptim_args: betas=1", "optim_args has betas, which sgd does not take")]
    [InlineData("optim: sgd\noptim_args: momentum", "optim_args has momentum, where momentum=NUMBER is expected")]
    [InlineData("optim_args: eps=1", "optim_args has eps, which adamw_torch does not take")]
    [InlineData("optim: adamw_torch_4bit", "optim is adamw_torch_4bit, an optimiser that is not built yet")]
    [InlineData("optim: galore_adamw_8bit", "optim is galore_adamw_8bit, an optimiser that is not built yet")]
    [InlineData("optim: muon\noptim_args: rank=4", "optim_args has rank, which muon does not take")]
    [InlineData("optim: muon\noptim_args: adjust_lr_fn=keller",
        "optim_args has adjust_lr_fn=keller, where adjust_lr_fn is original or match_rms_adamw")]
    [InlineData("optim: muon\noptim_args: ns_steps=2.5", "optim_args has ns_steps=2.5, where a whole number is expected")]
    [InlineData("optim: muon\noptim_args: momentum=1", "optim_args has momentum=1, where a number of at least 0 and below 1 is expected")]
    [InlineData("optim: adamw_8bit\noptim_args: embedding_bits=16", "optim_args has embedding_bits=16, where embedding_bits is 32 or 8")]
    [InlineData("optim: galore_adamw", "optim_target_modules is missing, but optim: galore_adamw needs it")]
    [InlineData("optim: apollo_adamw\noptim_target_modules: []", "optim_target_modules is missing, but optim: apollo_adamw needs it")]
    [InlineData("optim: galore_adamw\noptim_target_modules: \"attn(\"", "optim_target_modules has attn(, which is no regular expression")]
    [InlineData("optim: galore_adamw\noptim_target_modules: attn\noptim_args: rank=0",
        "optim_args has rank=0, where a number of at least 1 is expected")]
    [InlineData("optim: schedule_free_adamw\nadam_beta1: 0\nlr_scheduler_type: constant",
        "adam_beta1 is 0 together with optim: schedule_free_adamw")]
    [InlineData("embedding_learning_rate: -1", "embedding_learning_rate is -1, but must be 0 or greater")]
    [InlineData("embedding_learning_rate: 1e-5\nlearning_rate: 0", "embedding_learning_rate is 1E-05, but learning_rate is 0")]
    [InlineData("optim: sgd\nadafactor: true", "adafactor is true together with optim: sgd")]
    [InlineData("optim: zzz", "apollo_adamw\n    4 | optim: zzz\n      |        ^^^\n  fix: write one that is listed, such as adamw_torch\n")]
    [InlineData("optim: adam", "optim is \"adam\", not one of adamw_torch")]
    [InlineData("load_in_4bit: true", "load_in_4bit is true, but use_peft is false")]
    [InlineData("load_in_8bit: true", "load_in_8bit is true, but use_peft is false")]
    [InlineData("use_peft: true\nload_in_4bit: true\nload_in_8bit: true", "load_in_8bit is true beside load_in_4bit")]
    [InlineData("adapter_name_or_path: a", "adapter_name_or_path names an adapter to go on with, but use_peft is false")]
    [InlineData("use_peft: true\nlora_r: 0", "lora_r is 0, but must be 1 or more")]
    [InlineData("use_peft: true\nlora_r: -8", "lora_r is -8, but must be 1 or more")]
    [InlineData("use_peft: true\nlora_alpha: 0", "lora_alpha is 0, but must be above 0")]
    [InlineData("use_peft: true\nlora_dropout: 1", "lora_dropout is 1, but must be from 0 to below 1")]
    [InlineData("use_peft: true\nloraplus_lr_ratio: 0", "loraplus_lr_ratio is 0, but must be above 0")]
    [InlineData("use_peft: true\ninit_lora_weights: pissa\nuse_dora: true", "init_lora_weights is pissa beside use_dora")]
    [InlineData("use_peft: true\ninit_lora_weights: olora\nlora_bias: true", "init_lora_weights is olora beside lora_bias")]
    [InlineData("use_peft: true\nlora_target_modules: \".*(q_proj\"",
        "lora_target_modules is \".*(q_proj\", which is not a regular expression")]
    [InlineData("use_peft: true\nlayers_to_transform: [0, 1.5]", "layers_to_transform has 1.5, but layers are numbered 0, 1, 2")]
    [InlineData("use_peft: true\nrank_pattern: {\"q_proj\": 1.5}", "rank_pattern gives q_proj the value 1.5")]
    [InlineData("use_peft: true\nalpha_pattern: {\"(q\": 2}", "alpha_pattern has \"(q\", which is not a regular expression")]
    [InlineData("fp16: true", "fp16 is true, which is not built yet")]
    [InlineData("torch_dtype: float16", "torch_dtype is float16, which cannot be trained on a CPU")]
    [InlineData("beta: 0.1", "beta belongs to dpo, orpo, kto, cpo, bco and grpo recipes, not to sft")]
    [InlineData("per_gpu_train_batch_size: 8", "per_gpu_train_batch_size is not accepted")]
    [InlineData("chat_template: a\nchat_template_path: b", "chat_template_path is given together with chat_template")]
    [InlineData("dataset_config: c\ndataset_mixture: {datasets: [{id: d}]}", "dataset_name is given together with dataset_mixture")]
    [InlineData("dataset_mixer: {d: 1.0}", "dataset_name is given together with dataset_mixer")]
    [InlineData("load_best_model_at_end: true", "load_best_model_at_end is on, but eval_strategy is no")]
    [InlineData("load_best_model_at_end: true\neval_strategy: steps\nsave_strategy: epoch",
        "load_best_model_at_end is on, but eval_strategy (steps) and save_strategy (epoch) differ")]
    [InlineData("load_best_model_at_end: true\neval_strategy: steps\neval_steps: 30\nsave_steps: 100",
        "save_steps is 100, not a multiple of eval_steps 30")]
    [InlineData("lr_scheduler_type: reduce_lr_on_plateau", "lr_scheduler_type is reduce_lr_on_plateau, which needs evaluations")]
    [InlineData("lr_scheduler_type: cosine_with_min_lr", "lr_scheduler_kwargs lacks min_lr_rate, which cosine_with_min_lr needs")]
    public void A_wrong_value_is_told(string lines, string message) => Has(RecipeFile.Good + lines + "\n", message);

    [Theory]
    [InlineData("dataset_mixer: {d: -0.5}\n", "dataset_mixer.d is -0.5, but must be 0 or greater")]
    [InlineData("dataset_mixer: {d: lots}\n", "dataset_mixer.d is \"lots\", not a number")]
    [InlineData("dataset_mixer: {}\n", "dataset_mixer names no data set")]
    [InlineData("dataset_mixer: {a: 1, b: 1}\ndataset_configs: [x]\n", "dataset_configs has 1 name for 2 data sets")]
    [InlineData("dataset_mixer: {a: 1}\ndataset_splits: [validation]\n",
        "dataset_splits has the split validation, which is neither a train nor a test split")]
    [InlineData("dataset_mixer: {a: 1}\ndataset_splits: [train]\neval_strategy: epoch\n",
        "eval_strategy asks for evaluations, but no rows are held out")]
    [InlineData("dataset_mixture: d.jsonl\n", "dataset_mixture is \"d.jsonl\", not a map")]
    [InlineData("dataset_mixture: {datasets: d.jsonl}\n", "dataset_mixture.datasets is \"d.jsonl\", not a list")]
    [InlineData("dataset_mixture: {datasets: []}\n", "dataset_mixture names no data set")]
    [InlineData("dataset_mixture: {datasets: [{split: train}]}\n", "dataset_mixture.datasets.0 has no id")]
    [InlineData("dataset_mixture: {datasets: [{id: a, wait: 1}]}\n", "dataset_mixture.datasets.0 has no key wait")]
    [InlineData("dataset_mixture: {datasets: [{id: a, columns: [x]}, {id: b, columns: [y]}]}\n",
        "dataset_mixture keeps different columns in different entries: [x] and [y]")]
    [InlineData("dataset_mixture: {datasets: [{id: a}], test_split_size: 1.5}\n",
        "dataset_mixture.test_split_size is 1.5, but is a share between 0 and 1 or a number of rows")]
    [InlineData("dataset_mixture: {datasets: [{id: a}]}\ndo_eval: true\n", "do_eval asks for evaluations, but no rows are held out")]
    [InlineData("dataset_config: c\n", "dataset_config is given without dataset_name")]
    public void Wrong_data_is_told(string lines, string message) => Has("model_name_or_path: m\n" + lines, message);

    [Fact]
    public void A_missing_model_says_what_to_add() => Check("dataset_name: d\nbf16: false\n", """
        r.yaml: error: model_name_or_path is missing
          why: training starts from a model: a folder with config.json, weights and tokenizer.json
          fix: add `model_name_or_path: path/to/model`, or make a new one with `handbook init`
        1 problem found; nothing was started.

        """);

    [Fact]
    public void A_wrong_override_is_shown_in_the_argument() => Check(RecipeFile.Good, """
        command line: error: --seed has no value
              | --seed
              |   ^^^^
          fix: write --seed=VALUE; it is a whole number
        command line: error: --lerning_rate is not a key of a recipe
              | --lerning_rate=1
              |   ^^^^^^^^^^^^
          why: a key that is ignored would be a run that is not what it says
          fix: did you mean learning_rate?
        command line: error: max_steps is "many", not a whole number
              | --max_steps many
              |             ^^^^
          fix: write a whole number, such as 8
        3 problems found; nothing was started.

        """, "--lerning_rate=1", "--max_steps", "many", "--seed");

    [Fact]
    public void A_lone_word_is_no_override() =>
        Has(RecipeFile.Good, ["max_steps=3"], "command line: error: max_steps=3 is not an override");

    [Fact]
    public void Keys_without_effect_are_noted_in_a_line_each() =>
        Check(RecipeFile.Good + "project: x\nattn_implementation: sdpa\nevaluation_strategy: \"no\"\nremove_unused_columns: true\n",
        """
        r.yaml:4:1: note: project has no effect here: runs are kept on the disk, in metrics.jsonl and in the forms that report_to names
        r.yaml:5:1: note: attn_implementation has no effect here: attention is always fused and exact; no setting changes the result
        r.yaml:6:1: note: evaluation_strategy is the older name of eval_strategy

        """);

    [Fact]
    public void Defaults_that_depend_on_the_way_of_writing_are_noted() =>
        Check("model_name_or_path: m\ndataset_mixer: {d: 1.0}\ndataset_splits: [train]\ndataset_num_proc: 2\n", """
        r.yaml:2:1: note: packing is on, as recipes with dataset_mixer always packed; `packing: false` turns it off
        r.yaml:4:1: note: dataset_num_proc belongs to the newer way of writing recipes; dataset_mixer decides, and the older defaults hold

        """);

    [Fact]
    public void Float32_by_default_is_noted() => Has("model_name_or_path: m\ndataset_name: d\n", "r.yaml: note: bf16 is not set, so "
        + "everything is computed in float32;");

    [Theory]
    [InlineData("report_to: comet_ml", "names comet_ml, which is not written to", "use tensorboard, wandb, mlflow, csv or none")]
    [InlineData("report_to: [tensorboard, trackio]", "names trackio, which is not written to", "use wandb, whose form trackio imports")]
    [InlineData("report_to: tensorbord", "names tensorbord, not one of tensorboard, wandb, mlflow, csv, all, none", "did you mean tensorboard?")]
    [InlineData("report_to: [none, wandb]", "has none among 2 names", "remove none, or the others")]
    public void A_report_that_is_not_written_is_refused_by_its_name(string line, string what, string fix) =>
        Has(RecipeFile.Good + line + "\n", $"error: report_to {what}", $"  fix: {fix}");

    [Fact]
    public void A_preference_recipe_is_good_without_a_word()
    {
        Assert.Equal("", RecipeFile.Said(RecipeFile.Good + "beta: 0.1\nloss_type: sigmoid\nmax_prompt_length: 512\n", TrainingMethod.Dpo));
        Assert.Contains("beta is \"low\", not a number", RecipeFile.Said(RecipeFile.Good + "beta: low\n", TrainingMethod.Dpo));
    }

    [Fact]
    public void A_missing_file_names_one_that_is_there()
    {
        using var file = new RecipeFile(RecipeFile.Good);
        var folder = file.File.DirectoryName!;
        Assert.Equal($"{folder}/s.yaml: error: the recipe does not exist\n  fix: did you mean {folder}/r.yaml?\n1 problem found; nothing "
            + "was started.\n", Said($"{folder}/s.yaml"));
        Assert.Equal($"{folder}: error: the recipe is a folder, not a recipe\n  fix: did you mean {folder}/r.yaml?\n1 problem found; "
            + "nothing was started.\n", Said(folder));
        Assert.Equal("/nowhere/r.yaml: error: the recipe does not exist\n  fix: name a YAML file, such as recipes/tiny/sft.yaml\n1 "
            + "problem found; nothing was started.\n", Said("/nowhere/r.yaml"));
    }

    [Fact]
    public void A_file_that_is_no_text_is_told_so()
    {
        using var file = new RecipeFile("");
        File.WriteAllBytes(file.File.FullName, [0x6d, 0xff, 0xfe, 0x00]);
        Assert.StartsWith($"{file.File.FullName}: error: the recipe is not UTF-8 text\n", Said(file.File.FullName));
    }

    private static string Said(string path) => Recipe.Load(new FileInfo(path), [], TrainingMethod.Sft).Diagnostics.ToString();

    private static void Check(string recipe, string expected, params string[] overrides) =>
        Assert.Equal(expected, RecipeFile.Said(recipe, TrainingMethod.Sft, overrides));

    private static void Has(string recipe, params string[] parts) => Has(recipe, [], parts);

    private static void Has(string recipe, string[] overrides, params string[] parts)
    {
        var said = RecipeFile.Said(recipe, TrainingMethod.Sft, overrides);
        Assert.All(parts, part => Assert.Contains(part, said));
    }
}
