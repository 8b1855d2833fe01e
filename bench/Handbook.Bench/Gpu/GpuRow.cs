using System.Text.Json;
using System.Text.Json.Serialization;

namespace Handbook.Bench.Gpu;

/// <summary>One thing that a stage found: a check, or a figure.</summary>
/// <param name="Stage">The stage.</param>
/// <param name="Name">What was looked at.</param>
/// <param name="Ok">Whether it is as it should be; null for a figure.</param>
/// <param name="Value">How far it is off, or the figure; null for neither.</param>
/// <param name="Unit">Of the value.</param>
/// <param name="Note">What a reader should know.</param>
internal sealed record GpuRow(string Stage, string Name, bool? Ok, double? Value, string Unit, string Note);

/// <summary>What became of a stage.</summary>
/// <param name="Name">The stage.</param>
/// <param name="State"><c>done</c>, <c>failed</c>, <c>out of time</c> or <c>left out</c>.</param>
/// <param name="Seconds">What it took.</param>
/// <param name="Note">Why it is not done.</param>
internal sealed record StageEnd(string Name, string State, double Seconds, string Note);

/// <summary>What a run of all stages leaves behind; written anew after each of them.</summary>
/// <param name="Kind"><c>test</c> or <c>bench</c>.</param>
/// <param name="Device">What was computed on.</param>
/// <param name="IsRehearsal">Whether a stand-in computed, at tiny shapes: the figures then say nothing.</param>
internal sealed record GpuReport(string Kind, string Device, bool IsRehearsal, string Date, IReadOnlyList<StageEnd> Stages,
    IReadOnlyList<GpuRow> Rows)
{
    public static JsonSerializerOptions Json { get; } = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private static readonly JsonSerializerOptions s_indented = new(Json) { WriteIndented = true };

    public string ToJson() => JsonSerializer.Serialize(this, s_indented) + "\n";
}
