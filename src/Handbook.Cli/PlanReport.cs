using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Runs;
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

    /// <summary>What the run reads, on each number of processes; empty where nobody knows.</summary>
    public IReadOnlyList<RowForecast> Runs { get; init; } = [];

    /// <summary>What it is planned for; null for this machine.</summary>
    public KnownDevice? Device { get; init; }

    /// <summary>Where the speed is from; null where the user gave it, or nobody knows it.</summary>
    public string? RateSource { get; init; }

    /// <summary>Keys with which the run would fit; null where it does.</summary>
    public IReadOnlyList<FitAdvice>? Advice { get; set; }

    /// <summary>What is not counted, and what stands for what is not here.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    private string Kind => _recipe.AdapterKind()?.Name ?? "full";

    public void Write(TextWriter output)
    {
        var parameters = _plan.Parameters;
        var all = parameters.Rules.Where(rule => rule.Adapter is null).Sum(rule => rule.Spec.Count);
        output.WriteLine(Invariant($"{_recipe.Path}: {_recipe.MethodName}, {Kind}, {(all < 1e9 ? all / 1e6 : all / 1e9):0.00}{(all < 1e9 ? "M" : "B")} weights, ")
            + Invariant($"{parameters.TrainedCount / 1e6:#,0.0}M trained; each process {_plan.Load.Tokens:N0} tokens a step ")
            + Invariant($"in {_plan.Load.Passes} pass{(_plan.Load.Passes == 1 ? "" : "es")}"));
        foreach (var run in Runs)
            output.WriteLine(Invariant($"{Count(run.Processes, "process", "processes")}: {run.Rows:N0} {_recipe.Definition.RowNoun}, {run.Steps:N0} steps, ")
                + Invariant($"{run.Epochs:0.##} epochs, {(run.LongestPrompt > 0 ? "at most " : "")}{run.Tokens:N0} tokens; ")
                + Invariant($"global batch {(long)_recipe.Training.PerDeviceTrainBatchSize * _recipe.Training.GradientAccumulationSteps * run.Processes:N0}; ")
                + (_plan.Rate is { } speed ? $"about {Size.Of(TimeSpan.FromSeconds(run.Tokens / speed / run.Processes))}; " : "")
                + $"order {run.Order[..12]}");
        if (RateSource is not null)
            output.WriteLine(Invariant($"{_plan.Rate:N0} tokens a second of one process, {RateSource}"));
        if (_asked.Memory is { } limit)
            output.WriteLine($"{(Device is null ? "one process" : Device.Name)} has {Size.Of(limit)}"
                + (_asked.Program > 0 ? $", of which {Size.Of(_asked.Program)} {(Device is null ? "are the program itself" : "are not for tensors")}" : ""));
        List<string[]> lines = [["world", "mode", "memory", "weights", "gradients", "states", "activations", "passing", "sent/step", "messages", "traffic",
            "hidden", "step", "tokens/s", ""]];
        for (var i = 0; i < _plan.Rows.Count; i++)
        {
            var (row, memory, step) = (_plan.Rows[i], _plan.Rows[i].Memory, _plan.Rows[i].Step);
            lines.Add([Number(row.World), row.Mode, Size.Of(memory.Total), Size.Of(memory.Frozen + memory.Weights), Size.Of(memory.Gradients),
                memory.States is { } states ? Size.Of(states) : "?", Size.Of(memory.Activations + memory.Gaps), Size.Of(memory.Passing), Size.Of(step.Sent.Bytes), Number(step.Sent.Messages),
                Time(step.Busy), Invariant($"{step.Hidden:P0}"), Time(step.Seconds), Rate(row),
                !row.Fits ? "too large" : row.IsBest ? "fastest" : ""]);
        }
        // What nobody asked about stays away: traffic of one process, a time that nobody knows.
        Table(output, _plan.Rows.All(row => row.World == 1) ? [.. lines.Select(line => (string[])[.. line[..7], .. line[(_plan.Rate is null ? 14 : 12)..]])] : lines);
        if (_plan.Rows is [{ Memory: { Reference: > 0 } asked }, ..])
            output.WriteLine($"another {Size.Of(asked.Reference)} are the reference's, {(asked.KeepsReference ? "all the time" : "before the first step")}");
        if (_plan.Rows is [{ Memory: { Sampling: > 0 } writing }, ..])
            output.WriteLine($"keys and values of answers take {Size.Of(writing.Sampling)} while they are written, before there are activations");
        if (Advice is not null)
            Advise(output, Advice);
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

    private static void Advise(TextWriter output, IReadOnlyList<FitAdvice> advice)
    {
        output.WriteLine();
        output.WriteLine(advice.Count == 0 ? "it does not fit, and no key would make it: take more processes (--world, zero_stage: 3), or a larger device" : "it does not fit; with these keys it would:");
        if (advice.Count > 0)
            Table(output, [["memory", "keys", "time", ""], .. advice.Select(one => (string[])[Size.Of(one.Memory), string.Join(' ', one.Overrides),
                Invariant($"x{one.Time:0.00}"), one.Changes])]);
    }

    private static string Count(int number, string one, string many) => number == 1 ? $"1 {one}" : Invariant($"{number:N0} {many}");

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
                    ["activations"] = memory.Activations,
                    ["gaps"] = memory.Gaps,
                    ["passing"] = memory.Passing,
                    ["reference"] = memory.Reference,
                    ["sampling"] = memory.Sampling,
                    ["program"] = memory.Program,
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
            ["network_bytes_per_second"] = double.IsFinite(_asked.Network.BytesPerSecond) ? _asked.Network.BytesPerSecond : null,
            ["latency_seconds"] = _asked.Network.Latency,
            ["rate"] = _plan.Rate,
            ["tokens_per_process"] = _plan.Load.Tokens,
            ["passes"] = _plan.Load.Passes,
            ["trained_weights"] = _plan.Parameters.TrainedCount,
            ["device"] = Device?.Name,
            ["memory_limit"] = _asked.Memory,
            ["runs"] = new JsonArray([.. Runs.Select(run => new JsonObject
            {
                ["processes"] = run.Processes,
                ["train_samples"] = run.Rows,
                ["total_steps"] = run.Steps,
                ["epochs"] = run.Epochs,
                ["tokens"] = run.Tokens,
                ["order_sha256"] = run.Order,
            })]),
            ["rows"] = rows,
            ["advice"] = Advice is null ? null : new JsonArray([.. Advice.Select(one => new JsonObject
            {
                ["overrides"] = new JsonArray([.. one.Overrides.Select(word => JsonValue.Create(word))]),
                ["memory"] = one.Memory,
                ["time"] = one.Time,
                ["changes"] = one.Changes,
            })]),
            ["notes"] = new JsonArray([.. Notes.Select(note => JsonValue.Create(note))]),
        }.ToJsonString(s_indented) + "\n";
    }

    private string Rate(ScaleRow row) => _plan.Rate is null ? "" : Number((long)(row.World * _plan.Load.Tokens / row.Step.Seconds));

    // The second column and the last are words.
    private static void Table(TextWriter output, List<string[]> lines)
    {
        foreach (var line in TextTable.Lines(lines, right: [0, .. Enumerable.Range(2, lines[0].Length - 3)]))
            output.WriteLine(line);
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
