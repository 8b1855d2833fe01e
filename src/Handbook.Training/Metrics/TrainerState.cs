using System.Text.Json;
using Handbook.Base;
using Handbook.Base.Files;

namespace Handbook.Training.Metrics;

/// <summary><c>trainer_state.json</c>: where a run stands and everything it logged, with the keys of the Python trainer.</summary>
internal sealed class TrainerState
{
    public const string FileName = "trainer_state.json";

    public double? BestMetric { get; set; }

    public int? BestGlobalStep { get; set; }

    /// <summary>Path of the best checkpoint as the run wrote it, e.g. <c>runs/a/checkpoint-50</c>.</summary>
    public string? BestModelCheckpoint { get; set; }

    /// <summary>Epochs done, with fraction.</summary>
    public double Epoch { get; set; }

    public int GlobalStep { get; set; }

    public int EvalSteps { get; set; }

    public int LoggingSteps { get; set; }

    public int SaveSteps { get; set; }

    public int MaxSteps { get; set; }

    public double NumTrainEpochs { get; set; }

    /// <summary>Tokens that went through the model, prompts included.</summary>
    public long NumInputTokensSeen { get; set; }

    public double TotalFlos { get; set; }

    /// <summary>Rows per device and micro-batch.</summary>
    public int TrainBatchSize { get; set; }

    /// <summary>What was logged, oldest first; each entry has a <c>step</c>.</summary>
    public List<MetricSet> LogHistory { get; init; } = [];

    public string ToJson() => PythonJson.Write(new Dictionary<string, object?>
    {
        ["best_global_step"] = BestGlobalStep,
        ["best_metric"] = BestMetric,
        ["best_model_checkpoint"] = BestModelCheckpoint,
        ["epoch"] = Epoch,
        ["eval_steps"] = EvalSteps,
        ["global_step"] = GlobalStep,
        ["is_hyper_param_search"] = false,
        ["is_local_process_zero"] = true,
        ["is_world_process_zero"] = true,
        ["log_history"] = LogHistory,
        ["logging_steps"] = LoggingSteps,
        ["max_steps"] = MaxSteps,
        ["num_input_tokens_seen"] = NumInputTokensSeen,
        ["num_train_epochs"] = NumTrainEpochs == Math.Floor(NumTrainEpochs) ? (long)NumTrainEpochs : NumTrainEpochs,
        ["save_steps"] = SaveSteps,
        ["stateful_callbacks"] = new Dictionary<string, object?>(),
        ["total_flos"] = TotalFlos,
        ["train_batch_size"] = TrainBatchSize,
        ["trial_name"] = null,
        ["trial_params"] = null,
    }, indent: 2, sortKeys: true) + "\n";

    /// <summary>Reads the file of a checkpoint or run folder, written by us or by the Python trainer.</summary>
    public static TrainerState Load(string path)
    {
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllText(path));
            var root = document.RootElement;
            double? Number(string key) => root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.Number
                ? value.GetDouble() : null;
            string? Text(string key) => root.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String
                ? value.GetString() : null;
            return new TrainerState
            {
                BestMetric = Number("best_metric"),
                BestGlobalStep = (int?)Number("best_global_step"),
                BestModelCheckpoint = Text("best_model_checkpoint"),
                Epoch = Number("epoch") ?? 0,
                GlobalStep = (int)(Number("global_step") ?? 0),
                EvalSteps = (int)(Number("eval_steps") ?? 0),
                LoggingSteps = (int)(Number("logging_steps") ?? 0),
                SaveSteps = (int)(Number("save_steps") ?? 0),
                MaxSteps = (int)(Number("max_steps") ?? 0),
                NumTrainEpochs = Number("num_train_epochs") ?? 0,
                NumInputTokensSeen = (long)(Number("num_input_tokens_seen") ?? 0),
                TotalFlos = Number("total_flos") ?? 0,
                TrainBatchSize = (int)(Number("train_batch_size") ?? 0),
                LogHistory = root.TryGetProperty("log_history", out var history)
                    ? [.. history.EnumerateArray().Select(MetricSet.Read)] : [],
            };
        }
        catch (Exception error) when (error is JsonException or FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{path} cannot be read: {error.Message}",
                fix: "resume from another checkpoint-N folder", inner: error);
        }
    }

    internal void Save(string outputDir) => WholeFile.WriteText(Path.Combine(outputDir, FileName), ToJson());
}
