using System.Text.Json;
using System.Text.Json.Nodes;

namespace Handbook.Evaluation;

/// <summary>What became of a row, as its line of the samples says it.</summary>
/// <param name="Measures">What it gave for each metric and filter; nothing where it is left out.</param>
internal sealed record RowOutcome(IReadOnlyList<RowMeasure> Measures)
{
    /// <summary>Contexts that lost their beginning.</summary>
    public int Cut { get; private init; }

    /// <summary>Answers that ended at their greatest length.</summary>
    public int Unfinished { get; private init; }

    /// <summary>Whether the prompt could not be asked; it counts as unanswered.</summary>
    public bool IsRefused { get; private init; }

    /// <summary>Why the row counts nowhere; null where it does.</summary>
    public LeftOut? Left { get; private init; }

    /// <summary>A row's line of the samples, with its number and measures.</summary>
    /// <param name="question">The row.</param>
    /// <param name="line">What else is kept of it; becomes the line.</param>
    /// <param name="measures">What it gave.</param>
    public static JsonObject Complete(TaskQuestion question, JsonObject line, IReadOnlyList<RowMeasure> measures)
    {
        line.Insert(0, "doc_id", question.Number);
        line["metrics"] = new JsonArray([.. measures.Select(measure => new JsonObject
        {
            ["metric"] = measure.Metric,
            ["filter"] = measure.Filter,
            ["values"] = new JsonArray([.. measure.Values.Select(value => (JsonNode)value)]),
        })]);
        return line;
    }

    /// <summary>Reads a line of the samples.</summary>
    public static RowOutcome Of(JsonElement line)
    {
        var isRefused = line.TryGetProperty("refused", out _);
        return new([.. line.GetProperty("metrics").EnumerateArray().Select(measure => new RowMeasure(
            measure.GetProperty("metric").GetString()!, measure.GetProperty("filter").GetString()!,
            [.. measure.GetProperty("values").EnumerateArray().Select(value => value.GetDouble())]))])
        {
            Cut = line.TryGetProperty("cut", out var cut) ? cut.GetInt32() : 0,
            Unfinished = !isRefused && line.TryGetProperty("finished", out var finished)
                ? finished.EnumerateArray().Count(each => !each.GetBoolean()) : 0,
            IsRefused = isRefused,
            Left = line.TryGetProperty("left", out var left)
                ? new(left.GetProperty("reason").GetString()!, left.GetProperty("place").GetString()!) : null,
        };
    }
}

/// <summary>Why a row is left out.</summary>
/// <param name="Reason">The kind of problem, by which rows are counted.</param>
/// <param name="Place">Where the row stands, and what exactly is wrong with it.</param>
internal sealed record LeftOut(string Reason, string Place);
