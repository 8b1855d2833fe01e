using System.Globalization;
using System.Text;
using System.Text.Json;
using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Data.Tests;
using Handbook.Models.Sharding;
using Handbook.Recipes;
using Handbook.Training;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Preferences;
using Handbook.Training.Methods.Rewards;
using Handbook.Training.Methods.Sft;
using Handbook.Training.Optimizers;
using Handbook.Training.Plans;
using Handbook.Training.Schedules;
using Handbook.Training.Tests.Contract;

namespace Handbook.Tests.Recipes;

/// <summary>Who reads a key is tried: for every key of data and training, every method and many settings, another value changes what a run
/// does, or something is said.</summary>
[Collection("tensors"), Trait("speed", "slow")]
public sealed class KeyReadersTests : IDisposable
{
    /// <summary>Keys that a run reads as they stand, whatever else is set: what they change is not seen in rows, steps, rates and
    /// intervals.</summary>
    private static readonly HashSet<string> s_asTheyStand =
    [
        "model_name_or_path", "tokenizer_name_or_path", "torch_dtype", "output_dir", "env", "fresh", "resume_from_checkpoint",
            "ignore_data_skip", "ignore_recipe_changes", "chat_template", "chat_template_path",
            "setup_chat_format", "new_special_tokens", "resize_to_multiple_of",
        "eos_token", "pad_token", "max_tokens", "dataset_num_proc", "max_bad_rows", "bf16", "gradient_checkpointing", "max_grad_norm",
        "neftune_noise_alpha", "label_smoothing_factor", "router_aux_loss_coef",
        "save_only_model", "load_best_model_at_end", "disable_tqdm", "log_level", "run_name", "report_to", "eval_on_start", "do_eval",
        "dataset_encoding", "sample_by",        // of text files
    ];

    /// <summary>Keys that are about rows of one kind, and are tried where the rows are of that kind.</summary>
    private static readonly string[] s_ofSomeRows = ["text_column", "completion_only_loss", "assistant_only_loss",
        "auto_insert_empty_system_msg"];

    /// <summary>Keys that name the data: the settings below have each way.</summary>
    private static readonly string[] s_sources = ["dataset_mixer", "dataset_mixture", "dataset_name", "dataset_configs", "dataset_config"];

    private static readonly string[] s_settings =
    [
        "", "eval_strategy: steps", "eval_strategy: epoch\nsave_strategy: epoch",
            "eval_strategy: steps\nlogging_strategy: epoch\neval_steps: 4",
            "do_eval: true", "max_steps: 3", "save_strategy: \"no\"", "logging_strategy: \"no\"",
        "optim: rmsprop", "optim: lion", "optim: sgd", "optim: adagrad", "adafactor: true", "lr_scheduler_type: constant",
        "lr_scheduler_type: cosine\nwarmup_steps: 2", "train_sampling_strategy: sequential",
        "train_sampling_strategy: group_by_length", "max_length: null", "report_to: none",
        "eval_strategy: steps\nload_best_model_at_end: true", "eval_strategy: epoch\nsave_total_limit: 2\nsave_strategy: epoch",
    ];

    private static readonly string[] s_fineTuning =
        ["packing: true\nmax_length: 64", "packing: true\npacking_strategy: wrapped\nmax_length: 64",
            "packing: true\npacking_strategy: wrapped\neval_packing: false\neval_strategy: steps\neval_steps: 4\nmax_length: 64",
                "truncation_side: left",
            "assistant_only_loss: true"];

    private static readonly string[] s_preferences = ["trl_compat: \"0.24\"", "trl_compat: \"1.9\"",
        "trl_compat: \"0.24\"\nmax_length: null", "max_length: null\nmax_prompt_length: null"];

    private readonly TextMaker _files = new();
    private readonly Handbook.Models.Decoder _model = Tiny.Model("llama", dtype: Torch.DType.Float32);
    private readonly Text.Tokenizers.Tokenizer _tokenizer = TextMaker.Bytes.With(null, null,
        "{% for m in messages %}{# system turns too #}{{ '<|' + m['role'][0] + '|>' + m['content'] }}{% if m['role'] == 'assistant' %}{{ "
            + "eos_token }}{% endif "
        + "%}{% endfor %}{% if add_generation_prompt %}{{ '<|a|>' }}{% endif %}");
    private readonly Dictionary<string, (ITokenRows Train, string Rows)> _known = [];
    private readonly Dictionary<string, string> _paths = [];
    private string _knownRows = "";

    public KeyReadersTests()
    {
        static string Words(int i, int count) => string.Join(' ', Enumerable.Range(i, count).Select(n => $"w{n}"));
        // Every other row so short that any few of them have two which fit into one packed row.
        Write("chats", i => new { messages = Turns(i, Words(i, i % 2 == 0 ? 1 + i % 4 : 1 + i * 7 % 30)), text = "x" });
        Write("texts", i => new { text = Words(i, 1 + i * 7 % 40), body = Words(i + 50, 4) });
        Write("prompted", i => new { prompt = Words(i, 1 + i % 7), completion = " " + Words(i, 1 + i * 7 % 30), text = "x" });
        Write("pairs", i =>
            new { prompt = Words(i, 1 + i % 9), chosen = " " + Words(i, 3 + i * 7 % 20), rejected = " " + Words(i + 1, 5), text = "x" });
        Write("chatpairs",
            i => new { chosen = Turns(i, Words(i, 4 + i * 7 % 20)), rejected = Turns(i, Words(i + 9, 5 + i % 3)), text = "x" });
        Write("judged",
            i => new { prompt = Words(i, 1 + i % 9), completion = " " + Words(i, 3 + i * 7 % 20), label = i % 2 == 0, text = "x" });
        Write("prompts", i => new { prompt = Words(i, 1 + i % 9), answer = "x", text = "x" });

        void Write(string name, Func<int, object> row)
        {
            _paths[name] = Path.Combine(_files.Folder, name);
            _files.Write($"{name}/train.jsonl", string.Concat(Enumerable.Range(0, 26)
                .Select(i => JsonSerializer.Serialize(row(i)) + "\n")));
            _files.Write($"{name}/test.jsonl", string.Concat(Enumerable.Range(30, 6).Select(i => JsonSerializer.Serialize(row(i)) + "\n")));
            _files.Write($"{name}-known.jsonl", string.Concat(Enumerable.Range(3, 4).Select(i => JsonSerializer.Serialize(row(i)) + "\n")));
            _files.Write($"{name}/other.jsonl", string.Concat(Enumerable.Range(60, 9)
                .Select(i => JsonSerializer.Serialize(row(i)) + "\n")));
        }

        static object[] Turns(int i, string answer) => [new { role = "user", content = Words(i, 2) },
            new { role = "assistant", content = answer }];
    }

    public void Dispose()
    {
        _model.Dispose();
        _files.Dispose();
    }

    [Theory]
    [InlineData(TrainingMethod.Sft, "chats")]
    [InlineData(TrainingMethod.Sft, "texts")]
    [InlineData(TrainingMethod.Sft, "prompted")]
    [InlineData(TrainingMethod.Cpt, "texts")]
    [InlineData(TrainingMethod.Dpo, "pairs")]
    [InlineData(TrainingMethod.Dpo, "chatpairs")]
    [InlineData(TrainingMethod.Orpo, "pairs")]
    [InlineData(TrainingMethod.Kto, "judged")]
    [InlineData(TrainingMethod.Cpo, "pairs")]
    [InlineData(TrainingMethod.Bco, "judged")]
    [InlineData(TrainingMethod.Reward, "pairs")]
    [InlineData(TrainingMethod.Grpo, "prompts")]
    public void A_key_changes_what_a_run_does_or_is_told_of(TrainingMethod method, string data)
    {
        var path = _paths[data];
        _known.Clear();
        _knownRows = path + "-known.jsonl";
        string[] sources = [$"dataset_name: {path}", $"dataset_mixture: {{datasets: [{{id: {path}}}], test_split_size: 0.25}}",
            $"dataset_mixer: {{{path}: 1.0}}\ndataset_splits: [train, test]"];
        string[] settings = [.. s_settings, .. method is TrainingMethod.Sft or TrainingMethod.Cpt ? s_fineTuning
            : MethodDefinition.Of(method) is PreferenceDefinition ? s_preferences : []];
        var silent = new List<string>();
        var tried = new HashSet<string>();
        foreach (var source in sources)
            foreach (var setting in source == sources[0] ? settings : settings.Where((_, i) => i % 3 == 0 || i >= s_settings.Length))
            {
                var lines = $"model_name_or_path: m\n{source}\nbf16: false\nmax_length: 48\nper_device_train_batch_size: "
                    + $"4\nwarmup_ratio: 0.2\n{(method == TrainingMethod.Grpo ? "reward_funcs: exact_match\nnum_generations: 4\n"
                    : MethodDefinition.Of(method) is AnswerDefinition and not RewardDefinition ? "max_prompt_length: 12\n" : "")}";
                var before = With(lines, setting);
                if (Load(before, method) is not { } recipe || Rows(recipe).Train.Count == 0)
                    continue;
                var effects = Effects(recipe);
                foreach (var key in RecipeKeys.All.Where(key => IsTried(key, method) && Concerns(key.Name, data, recipe,
                    Rows(recipe).Train.Count) && !$"\n{setting}".Contains($"\n{key.Name}: ", StringComparison.Ordinal)))
                {
                    // One value may fall upon the same steps as the one that holds; another does not.
                    var values = Values(key, recipe).ToArray();
                    tried.UnionWith(values.Length > 0 ? [key.Name] : []);
                    if (values.Length > 0 && values.All(value => IsSilent(key.Name, value)))
                        silent.Add($"{RecipeNames(method)}, {source.Split(':')[0]}, {setting.Replace("\n", ", ")}: {key.Name}: {string.Join(" or ", values)}");
                }

                bool IsSilent(string key, string value)
                {
                    var after = With(before, $"{key}: {value}");
                    return !RecipeFile.Said(after, method).Contains(key, StringComparison.Ordinal) && Load(after, method) is { } changed
                        && Effects(changed) == effects;
                }
            }
        Assert.Empty(RecipeKeys.All.Where(key => IsTried(key, method)).Select(key => key.Name).Except(tried).Except(s_ofSomeRows));
        Assert.True(silent.Count == 0, $"nobody reads these, and nothing is said:\n  {string.Join("\n  ", silent)}");
    }

    /// <summary>Whether rows of this kind have what a key is about; where they have not, only the rows themselves can tell.</summary>
    private static bool Concerns(string key, string data, Recipe recipe, int rows) => key switch
    {
        "dataloader_drop_last" => rows % recipe.Training.PerDeviceTrainBatchSize != 0 && recipe.Training.MaxSteps <= 0,
        "text_column" => data == "texts" || recipe.Method is not TrainingMethod.Sft,
        "completion_only_loss" => data == "prompted",
        "assistant_only_loss" => data == "chats",
        "auto_insert_empty_system_msg" => recipe.Dialect == RecipeDialect.Mixture || data.StartsWith("chat", StringComparison.Ordinal),
        "group_by_length" => !(recipe.Data.Packing && recipe.Data.PackingStrategy == PackingStrategy.Wrapped)
            && recipe.Training.TrainSamplingStrategy != SamplingStrategy.GroupByLength,
        _ => true,
    };

    private static string RecipeNames(TrainingMethod method) => Base.Keys.RecipeNames.Of(method);

    /// <summary>The lines with those of a setting in place of their own.</summary>
    private static string With(string lines, string setting)
    {
        var keys = setting.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(':')[0]).ToArray();
        return string.Concat(lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => !keys.Contains(line.Split(':')[0]))
            .Concat(setting.Split('\n', StringSplitOptions.RemoveEmptyEntries)).Select(line => line + "\n"));
    }

    private static bool IsTried(RecipeKey key, TrainingMethod method) => key.Disposition == Disposition.Works && key.Serves(method)
        && !s_asTheyStand.Contains(key.Name) && !s_sources.Contains(key.Name)
        && (key.Property!.DeclaringType == typeof(DataOptions) || key.Property.DeclaringType == typeof(SftOptions)
            || key.Property.DeclaringType == typeof(TrainingOptions)
            || key.Name is "max_prompt_length" or "max_completion_length" or "truncation_mode");

    /// <summary>Values that are not the one that holds.</summary>
    private IEnumerable<string> Values(RecipeKey key, Recipe recipe)
    {
        var now = YamlWriter.Flow(key.Property!.GetValue(recipe.Records.First(record => record.GetType() == key.Property.DeclaringType)));
        string[] values = key.Name switch
        {
            "dataset_splits" => ["[other_train]"],
            "dataset_train_split" or "dataset_test_split" => ["other"],
            "text_column" => ["body"],
            "column_mapping" => [recipe.Method switch { TrainingMethod.Cpt => "{text: body}", TrainingMethod.Sft =>
            "{prompt: text, completion: text}", TrainingMethod.Kto or TrainingMethod.Bco => "{completion: prompt}", _ =>
            "{prompt: text}" }],
            "decontaminate" => [$"{{against: [{{id: {_knownRows}}}], ngrams: 0, min_length: 1}}"],
            "dataset_kwargs" => ["{add_special_tokens: false, append_concat_token: false}"],
            "max_length" or "max_prompt_length" or "max_completion_length" => ["9", "20"],
            "truncation_mode" => ["keep_end", "keep_start"],
            "truncation_side" => ["left"],
            "packing_strategy" => ["wrapped", "bfd"],
            "offload_optimizer" => ["nvme"],
            "optim_args" => [recipe.Training.Optimizer() switch { OptimizerKind.RmsProp => "alpha=0.5", OptimizerKind.Sgd =>
            "momentum=0.5", OptimizerKind.Adagrad => "eps=0.1", OptimizerKind.Adafactor => "clip_threshold=2", _ => "none=1" }],
            "optim_target_modules" => ["[attn, mlp]"],
            "lr_scheduler_kwargs" => ["{num_cycles: 2}"],
            "lr_scheduler_type" => ["polynomial", "linear"],
            "optim" => ["adagrad", "sgd"],
            "metric_for_best_model" => ["runtime"],
            "greater_is_better" => ["true"],
            "logging_dir" => ["elsewhere"],
            "max_steps" => ["2", "5"],
            "warmup_ratio" => ["0.7"],      // other steps than a fifth, however few there are
            "per_device_train_batch_size" => ["8"],
            "num_train_epochs" => ["2"],
            "save_steps" or "eval_steps" or "logging_steps" => ["2", "3"],
            "train_sampling_strategy" => [RowPlan.KeepsOrder(recipe) ? "random" : "sequential"],
            "eval_packing" => [recipe.Data.PacksEvaluation() ? "false" : "true"],
            "completion_only_loss" => ["false"],
            "save_strategy" => [recipe.Training.SaveStrategy == SaveStrategy.No ? "steps" : "\"no\""],
            "logging_strategy" => ["epoch", "steps", "\"no\""],
            "eval_strategy" => ["epoch", "steps"],
            "eval_delay" => ["11"],
            _ when key.Type == typeof(bool) || key.Type == typeof(bool?) => ["true", "false"],
            _ when (Nullable.GetUnderlyingType(key.Type) ?? key.Type) is var type && (type == typeof(int) || type == typeof(long)) =>
            ["2", "3"],
            _ when (Nullable.GetUnderlyingType(key.Type) ?? key.Type) == typeof(double) => ["0.3", "0.4"],
            _ => throw new NotSupportedException($"say in this test how {key.Name} may be written"),
        };
        return values.Where(value => value != now);
    }

    private static Recipe? Load(string lines, TrainingMethod method)
    {
        using var file = new RecipeFile(lines);
        return Recipe.Load(file.File, [], method).TryGet(out var recipe, out _) ? recipe : null;
    }

    /// <summary>What a run would do: the rows it sees, in which steps, with which rates and updates, and what happens when.</summary>
    private string Effects(Recipe recipe)
    {
        var (train, rows) = Rows(recipe);
        if (train.Count == 0)
            return rows;
        var training = recipe.Training;
        var plan = RowPlan.Steps(recipe, train);
        var text = new StringBuilder(rows);
        var intervals = new Intervals(training, plan);
        var schedule = LearningRateSchedule.Create(training.LrSchedulerType, training.LrSchedulerKwargs, training.Warmup(plan.TotalSteps),
            plan.TotalSteps, training.LearningRate);
        using (var optimizer = Optimizer.Create(training, _model.Parameters))
            text.Append(optimizer.Description);
        foreach (var spec in _model.Parameters.Specs)
            text.Append(CultureInfo.InvariantCulture, $" {training.RateFactor(spec):R}");
        for (var step = 0; step < plan.TotalSteps; step++)
        {
            text.Append(CultureInfo.InvariantCulture,
                $"\n{string.Join(' ', plan[step].MicroBatches.Select(rows => string.Join(',', rows)))} {schedule.At(step):R} "
                + $"{intervals.Logs(step + 1)} {intervals.Saves(step + 1)}");
            if (training.Evaluates())
                text.Append(CultureInfo.InvariantCulture, $" {intervals.Evaluates(step + 1, plan[step].EpochAfter)}");
        }
        if (training.Evaluates())
            text.Append(CultureInfo.InvariantCulture, $"\nevaluates {training.PerDeviceEvalBatchSize}");
        if (training.EvalStrategy != IntervalStrategy.No && (training.LoadBestModelAtEnd || training.SaveStrategy == SaveStrategy.Best
            || training.SaveTotalLimit is not null))
            text.Append($"\nbest {training.BestMetric()} {training.BestIsGreatest()}");
        if (training.SaveStrategy != SaveStrategy.No)
            text.Append($"\nkeeps {training.SaveTotalLimit}");
        if (training.WritesTensorBoard())
            text.Append($"\nlogs {training.LoggingDir}");
        if (recipe.Method is TrainingMethod.Grpo)
            text.Append($"\nsamples {recipe.Preference.MaxCompletionLength} {training.Seed}");
        text.Append($"\nnoise {training.Seed}");
        text.Append($"\nof two processes {Shard.Of((ShardingStage)training.ZeroStage, 1, 2, training.Deterministic)}, {recipe.GlobalBatch()}");
        return text.ToString();
    }

    private (ITokenRows Train, string Rows) Rows(Recipe recipe)
    {
        var options = RowPlan.Options(recipe, _tokenizer) with { MaxBadRows = 1 };
        var key = JsonSerializer.Serialize(options with
        {
            Tokenizer = null!,
            Chats = null,
            Cache = null!,
            RecipeFolder = null,
            Threads = null,
            MaxBadRows = 0
        });
        if (_known.TryGetValue(key, out var known))
            return known;
        try
        {
            var data = TrainingData.Load(options with { Cache = _files.Cache });
            var train = Copy(data.Train);
            string[] said = [.. data.Remarks, .. data.Sources.SelectMany(source => source.Summary.Noted.Select(noted => noted.Remark))];
            known = (train, $"{string.Join('\n', said)}\n{Dump(train)}\nheld "
                + $"out\n{(data.Evaluation is { } held && options.Evaluates ? Dump(held) : "")}");
            data.Dispose();
        }
        catch (Base.InputException problem)
        {
            known = (new TokenRowList([]), problem.Message);       // it is told at the start of the run
        }
        return _known[key] = known;
    }

    private static TokenRowList Copy(ITokenRows rows) => new([.. Enumerable.Range(0, rows.Count).Select(rows.Read).Select(row => row with
    {
        Segments = [.. row.Segments.Select(part => part with { Ids = part.Ids.ToArray(), Loss = part.Loss.ToArray() })],
    })]);

    private static string Dump(ITokenRows rows) => string.Join('\n', Enumerable.Range(0, rows.Count).Select(rows.Read).Select(row =>
        string.Join('|', row.Segments.Select(part =>
            $"{part.Role} {string.Join(',', part.Ids.ToArray())} {string.Join("", part.Loss.ToArray())}"))));
}
