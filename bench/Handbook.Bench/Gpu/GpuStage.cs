using System.Diagnostics;
using System.Text.Json;
using Handbook.Base;
using Handbook.Torch.Devices;

namespace Handbook.Bench.Gpu;

/// <summary>A stage of <c>gpu test</c> or <c>gpu bench</c>; each runs in a process of its own, which may die without harm to the others.</summary>
/// <param name="Name">As <c>--only</c> names it.</param>
/// <param name="Kind"><c>test</c> or <c>bench</c>.</param>
/// <param name="Seconds">The most that it may take on an H200.</param>
/// <param name="Run">Computes, and tells as it goes.</param>
internal sealed record GpuStage(string Name, string Kind, int Seconds, Action<StageRun> Run)
{
    /// <summary>All of them, the most telling first: whatever time is left over is no loss.</summary>
    public static IReadOnlyList<GpuStage> All { get; } =
    [
        new("device", "test", 30, GpuChecks.Device),
        new("families", "test", 120, GpuChecks.Families),
        new("optimisers", "test", 45, GpuChecks.Optimisers),
        new("answers", "test", 45, GpuAnswers.Compare),
        new("runs", "test", 150, GpuRuns.Golden),
        new("repeat", "test", 40, GpuRuns.Repeat),
        new("resume", "test", 60, GpuRuns.Resume),
        new("memory", "test", 25, GpuChecks.Memory),
        new("ranks", "test", 30, GpuRanks.Compare),
        new("sft-full", "bench", 75, run => GpuFigures.Train(run, "sft", "full")),
        new("sft-lora", "bench", 60, run => GpuFigures.Train(run, "sft", "lora")),
        new("dpo-lora", "bench", 60, run => GpuFigures.Train(run, "dpo", "lora")),
        new("sft-qlora", "bench", 45, run => GpuFigures.Train(run, "sft", "qlora")),
        new("decode", "bench", 45, GpuFigures.Decode),
        new("pytorch", "bench", 70, GpuFigures.PyTorch),
    ];
}

/// <summary>A stage while it runs: what it computes on, and whom it tells.</summary>
internal sealed class StageRun
{
    private readonly string _stage;
    private readonly long _begun = Stopwatch.GetTimestamp();
    private readonly int _seconds;

    public StageRun(string stage, bool isRehearsal, int seconds)
    {
        (_stage, IsRehearsal, _seconds) = (stage, isRehearsal, seconds);
        Device = isRehearsal ? StandInDevice.Use() : ComputeDevice.Gpu(0, out var why)
            ?? throw new InputException($"there is no GPU to compute on{(why is null ? "" : $": {why}")}",
                fix: "see `handbook info`; to rehearse without one: make test-gpu DRY=1");
        Device.Prepare(tf32: false, deterministic: false);
        Console.WriteLine($"{NameMark}{Device}");
    }

    /// <summary>What the line with the device's name begins with.</summary>
    public const string NameMark = "device: ";

    /// <summary>The GPU, or what stands in for it.</summary>
    public ComputeDevice Device { get; }

    /// <summary>Whether shapes are tiny because nothing but the way through the code is looked at.</summary>
    public bool IsRehearsal { get; }

    /// <summary>Whether there is time for one more thing that takes so long.</summary>
    public bool HasTimeFor(double seconds) => Stopwatch.GetElapsedTime(_begun).TotalSeconds + seconds < _seconds;

    /// <summary>Tells of a check.</summary>
    public void Check(string name, bool ok, double? value = null, string unit = "", string note = "") =>
        Tell(new(_stage, name, ok, value, unit, note));

    /// <summary>Tells a figure.</summary>
    public void Figure(string name, double? value, string unit, string note = "") => Tell(new(_stage, name, null, value, unit, note));

    private static void Tell(GpuRow row) => Console.WriteLine(JsonSerializer.Serialize(row, GpuReport.Json));
}
