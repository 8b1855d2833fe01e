using System.Text.Json;
using Handbook.Base;
using Handbook.Training.Methods;
using Handbook.Training.Schedules;

namespace Handbook.Training;

/// <summary>What a run knows besides weights and optimiser state; a checkpoint keeps it, so that the curve goes on bit for bit.</summary>
internal sealed class LoopState
{
    public const string FileName = "training_state.json";

    /// <summary>Optimiser steps done.</summary>
    public int Step { get; set; }

    /// <summary>Tokens that went through the model.</summary>
    public long TokensSeen { get; set; }

    /// <summary>Sum of all steps' losses.</summary>
    public double TotalLoss { get; set; }

    /// <summary>Sum of the losses since the last log entry, and how many were finite.</summary>
    public double LossSinceLog { get; set; }

    public int StepsSinceLog { get; set; }

    /// <summary>What was measured since the last log entry.</summary>
    public MetricSums SinceLog { get; } = new();

    /// <summary>Seconds of training, over all starts.</summary>
    public double Seconds { get; set; }

    /// <summary>What the order of rows depends on; a resumed run must have the same.</summary>
    public string DataKey { get; set; } = "";

    /// <summary>Numbers that the method keeps, such as a running mean.</summary>
    public double[] MethodState { get; set; } = [];

    /// <summary>Processes that the batch of a step counts.</summary>
    public int BatchProcesses { get; set; } = 1;

    /// <summary>State of <c>reduce_lr_on_plateau</c>; null for other schedules.</summary>
    public PlateauState? Plateau { get; set; }

    /// <param name="sinceLog">What everyone measured since the last log entry.</param>
    public string ToJson(MetricSums sinceLog)
    {
        using var stream = new MemoryStream();
        using (var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true }))
        {
            json.WriteStartObject();
            json.WriteNumber("step", Step);
            json.WriteNumber("tokens_seen", TokensSeen);
            json.WriteNumber("total_loss", TotalLoss);
            json.WriteNumber("loss_since_log", LossSinceLog);
            json.WriteNumber("steps_since_log", StepsSinceLog);
            json.WriteNumber("seconds", Seconds);
            json.WriteString("data_key", DataKey);
            json.WriteNumber("batch_processes", BatchProcesses);
            json.WriteStartArray("method_state");
            foreach (var number in MethodState)
                json.WriteNumberValue(number);
            json.WriteEndArray();
            json.WriteStartObject("since_log");
            foreach (var (name, sum, count) in sinceLog.All)
            {
                json.WriteStartArray(name);
                foreach (var exact in (ExactSum[])[sum, count])
                {
                    json.WriteStartArray();
                    foreach (var part in exact.Parts)
                        json.WriteNumberValue(part);
                    json.WriteEndArray();
                }
                json.WriteEndArray();
            }
            json.WriteEndObject();
            if (Plateau is not null)
            {
                json.WritePropertyName("plateau");
                JsonSerializer.Serialize(json, Plateau);
            }
            json.WriteEndObject();
        }
        return System.Text.Encoding.UTF8.GetString(stream.ToArray()) + "\n";
    }

    /// <summary>Whether a checkpoint has it.</summary>
    public static bool Exists(string folder) => File.Exists(Path.Combine(folder, FileName));

    // A number, as older checkpoints have it, or the parts of a sum.
    private static ExactSum Exact(JsonElement sum) => sum.ValueKind == JsonValueKind.Number ? ExactSum.Of(sum.GetDouble())
        : ExactSum.Of([.. sum.EnumerateArray().Select(part => part.GetDouble())]);

    /// <exception cref="InputException">The file is absent or not ours.</exception>
    public static LoopState Load(string folder)
    {
        var path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
            throw new InputException($"{folder} has no {FileName}",
                why: "it was saved with save_only_model, or by another program: there is nothing to go on from exactly",
                fix: $"start a new run from its weights: model_name_or_path: {folder}, with another output_dir");
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllText(path));
            var json = document.RootElement;
            var state = new LoopState
            {
                Step = json.GetProperty("step").GetInt32(),
                TokensSeen = json.GetProperty("tokens_seen").GetInt64(),
                TotalLoss = json.GetProperty("total_loss").GetDouble(),
                LossSinceLog = json.GetProperty("loss_since_log").GetDouble(),
                StepsSinceLog = json.GetProperty("steps_since_log").GetInt32(),
                Seconds = json.GetProperty("seconds").GetDouble(),
                DataKey = json.GetProperty("data_key").GetString()!,
                BatchProcesses = json.TryGetProperty("batch_processes", out var processes) ? processes.GetInt32() : 1,
                MethodState = json.TryGetProperty("method_state", out var numbers)
                    ? [.. numbers.EnumerateArray().Select(n => n.GetDouble())] : [],
                Plateau = json.TryGetProperty("plateau", out var plateau) ? plateau.Deserialize<PlateauState>() : null,
            };
            foreach (var entry in json.GetProperty("since_log").EnumerateObject())
                state.SinceLog.Add(entry.Name, Exact(entry.Value[0]), Exact(entry.Value[1]));
            return state;
        }
        catch (Exception problem) when (problem is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            throw new InputException($"{path} is damaged: {problem.Message}",
                fix: "remove this checkpoint; the run goes on from the one before it", inner: problem);
        }
    }
}
