using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Training.Scale;

namespace Handbook.Cli;

/// <summary>Shows what <c>handbook plan</c> found.</summary>
internal sealed class PlanReport
{
    private static readonly JsonSerializerOptions s_indented = new() { WriteIndented = true };

    private readonly Recipe _recipe;
    private readonly ScalePlan _plan;
    private readonly ScaleOptions _asked;
    private readonly ClusterModel? _cluster;
    private readonly ClusterResult[] _simulated;

    public PlanReport(Recipe recipe, ScalePlan plan, ScaleOptions asked, ClusterModel? cluster)
    {
        (_recipe, _plan, _asked, _cluster) = (recipe, plan, asked, cluster);
        _simulated = cluster is null ? [] : [.. plan.Rows.Select(row => ClusterSimulation.Run(row, plan.Load, asked.Network, cluster))];
    }

    /// <summary>What is not counted.</summary>
    public IReadOnlyList<string> Notes => _plan.Notes;

    private string Kind => !_recipe.Adapter.UsePeft ? "full" : _recipe.Quantisation is { LoadIn4Bit: true } or { LoadIn8Bit: true } ? "QLoRA" : "LoRA";

    public void Write(TextWriter output)
    {
        var parameters = _plan.Parameters;
        var all = parameters.Rules.Where(rule => rule.Adapter is null).Sum(rule => rule.Spec.Count);
        output.WriteLine(Invariant($"{_recipe.Path}: {_recipe.MethodName}, {Kind}, {all / 1e9:0.00}B weights, ")
            + Invariant($"{parameters.TrainedCount / 1e6:#,0.0}M trained; each process {_plan.Load.Tokens:N0} tokens a step ")
            + Invariant($"in {_plan.Load.Passes} pass{(_plan.Load.Passes == 1 ? "" : "es")}"));
        List<string[]> lines = [["world", "mode", "memory", "weights", "gradients", "states", "passing", "sent/step", "messages", "traffic", "hidden",
            "step", "tokens/s", ""]];
        for (var i = 0; i < _plan.Rows.Count; i++)
        {
            var (row, memory, step) = (_plan.Rows[i], _plan.Rows[i].Memory, _plan.Rows[i].Step);
            lines.Add([Number(row.World), row.Mode, Size.Of(memory.Total), Size.Of(memory.Frozen + memory.Weights), Size.Of(memory.Gradients),
                memory.States is { } states ? Size.Of(states) : "?", Size.Of(memory.Passing), Size.Of(step.Sent.Bytes), Number(step.Sent.Messages),
                Time(step.Busy), Invariant($"{step.Hidden:P0}"), Time(step.Seconds), Rate(row),
                !row.Fits ? "too large" : row.IsBest ? "fastest" : ""]);
        }
        Table(output, lines);
        if (_cluster is null)
            return;
        output.WriteLine();
        output.WriteLine(Invariant($"simulated: {_cluster.Steps} steps, seed {_cluster.Seed}, ")
            + (_cluster.Measured.Count > 0 ? Invariant($"{_cluster.Measured.Count} measured times") : Invariant($"spread {_cluster.Spread}"))
            + (_cluster.StallChance > 0 ? Invariant($", stalls {_cluster.StallChance} x {_cluster.StallFactor}") : "")
            + (_cluster.LinkSpread > 0 ? Invariant($", links {_cluster.LinkSpread}") : ""));
        List<string[]> simulated = [["world", "mode", "mean step", "median", "95 %", "efficiency"]];
        for (var i = 0; i < _simulated.Length; i++)
            simulated.Add([Number(_plan.Rows[i].World), _plan.Rows[i].Mode, Time(_simulated[i].Mean), Time(_simulated[i].Median),
                Time(_simulated[i].Percentile95), Invariant($"{_simulated[i].Efficiency:P0}")]);
        Table(output, simulated);
    }

    public string ToJson()
    {
        var rows = new JsonArray();
        for (var i = 0; i < _plan.Rows.Count; i++)
        {
            var (row, memory, step) = (_plan.Rows[i], _plan.Rows[i].Memory, _plan.Rows[i].Step);
            var json = new JsonObject
            {
                ["world"] = row.World,
                ["zero_stage"] = (int)row.Stage,
                ["memory"] = new JsonObject
                {
                    ["frozen"] = memory.Frozen,
                    ["weights"] = memory.Weights,
                    ["gradients"] = memory.Gradients,
                    ["states"] = memory.States,
                    ["passing"] = memory.Passing,
                    ["total"] = memory.Total,
                },
                ["sent_bytes"] = step.Sent.Bytes,
                ["messages"] = step.Sent.Messages,
                ["operations"] = step.Operations,
                ["wishes"] = step.Wishes,
                ["traffic_seconds"] = step.Busy,
                ["waited_seconds"] = step.Waited,
                ["hidden"] = step.Hidden,
                ["step_seconds"] = step.Seconds,
                ["tokens_per_second"] = row.World * _plan.Load.Tokens / step.Seconds is var rate && double.IsFinite(rate) ? rate : null,
                ["fits"] = row.Fits,
                ["fastest"] = row.IsBest,
            };
            if (_cluster is not null)
                json["simulated"] = new JsonObject
                {
                    ["mean"] = _simulated[i].Mean,
                    ["median"] = _simulated[i].Median,
                    ["percentile_95"] = _simulated[i].Percentile95,
                    ["efficiency"] = _simulated[i].Efficiency,
                };
            rows.Add(json);
        }
        return new JsonObject
        {
            ["recipe"] = _recipe.Path,
            ["method"] = _recipe.MethodName,
            ["trained"] = Kind,
            ["network_bytes_per_second"] = _asked.Network.BytesPerSecond,
            ["latency_seconds"] = _asked.Network.Latency,
            ["rate"] = _asked.Rate,
            ["tokens_per_process"] = _plan.Load.Tokens,
            ["passes"] = _plan.Load.Passes,
            ["trained_weights"] = _plan.Parameters.TrainedCount,
            ["rows"] = rows,
            ["notes"] = new JsonArray([.. Notes.Select(note => JsonValue.Create(note))]),
        }.ToJsonString(s_indented) + "\n";
    }

    private string Rate(ScaleRow row) => _asked.Rate is null ? "" : Number((long)(row.World * _plan.Load.Tokens / row.Step.Seconds));

    private static void Table(TextWriter output, List<string[]> lines)
    {
        int[] widths = [.. Enumerable.Range(0, lines[0].Length).Select(column => lines.Max(line => line[column].Length))];
        foreach (var line in lines)
            output.WriteLine(string.Join("  ", line.Select((text, column) => column is 1 || column == 13 ? text.PadRight(widths[column])
                : text.PadLeft(widths[column]))).TrimEnd());
    }

    private static string Time(double seconds) => seconds switch
    {
        0 => "0",
        < 1e-3 => Invariant($"{seconds * 1e6:0} us"),
        < 1 => Invariant($"{seconds * 1e3:0.#} ms"),
        < 1000 => Invariant($"{seconds:0.##} s"),
        _ => Size.Of(TimeSpan.FromSeconds(seconds)),
    };

    private static string Number(long number) => number.ToString("N0", CultureInfo.InvariantCulture);

    private static string Invariant(FormattableString text) => FormattableString.Invariant(text);
}
