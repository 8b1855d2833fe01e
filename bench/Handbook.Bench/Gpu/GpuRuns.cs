using System.Security.Cryptography;
using System.Text.Json;
using Handbook.Base;
using Handbook.Recipes;
using Handbook.Runs;
using Handbook.Torch;
using Handbook.Torch.Devices;
using Handbook.Training.Metrics;
using Handbook.Training.Progress;

namespace Handbook.Bench.Gpu;

/// <summary>Whole runs of the reference trainers (<c>golden/runs</c>), from recipe and rows to what is logged and saved.</summary>
internal static class GpuRuns
{
    /// <summary>Share by which a logged value may differ from the reference's: what small differences grow to in a few steps at these high
    /// rates. The least is for values near zero.</summary>
    private const double Share = 0.005, Least = 2e-4;

    /// <summary>The ways that differ most, first: time may end.</summary>
    private static readonly string[] s_first = ["sft_chat", "dpo_chat", "sft_lora", "kto_chat", "reward_chat", "orpo_chat", "dpo_lora",
        "sft_text_bfd"];

    private static readonly string[] s_compared = ["loss", "grad_norm", "learning_rate", "nll_loss", "kl", "mean_reward", "margin",
        "accuracy"];

    /// <summary>Every run beside what the reference logged.</summary>
    public static void Golden(StageRun run)
    {
        if (Runs(run) is not { } runs)
            return;
        string[] names = [.. Directory.GetDirectories(runs).Where(folder => File.Exists(Path.Combine(folder, "expected.jsonl"))
            && File.Exists(Path.Combine(folder, "recipe.yaml"))).Select(folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal)];
        foreach (var name in s_first.Where(names.Contains).Concat(run.IsRehearsal ? [] : names.Except(s_first)))
        {
            if (!run.HasTimeFor(6))
            {
                run.Figure(name, null, "", "no time was left");
                continue;
            }
            using var output = new Output();
            if (Train(run, Path.Combine(runs, name), output.Path, name) is not { } elsewhere)
                continue;
            if (elsewhere.Length > 0)
            {
                run.Figure(name, null, "", elsewhere);
                continue;
            }
            var (steps, off, where) = Compare(Path.Combine(runs, name, "expected.jsonl"), output.Path);
            run.Check(name, where is null, off, "of what the reference logged", where ?? $"{steps} steps");
        }
    }

    /// <summary>The same run twice.</summary>
    public static void Repeat(StageRun run)
    {
        if (Runs(run) is not { } runs)
            return;
        foreach (var name in (ReadOnlySpan<string>)["sft_chat", "dpo_chat"])
        {
            using var first = new Output();
            using var second = new Output();
            foreach (var output in (Output[])[first, second])
                if (Train(run, Path.Combine(runs, name), output.Path, name, "--deterministic=true") is not "")
                    return;
            run.Check($"{name} twice", Weights(first.Path) == Weights(second.Path), note: "the same bits with deterministic: true");
        }
    }

    /// <summary>A run whose process is killed behind its first checkpoint, and that goes on; beside one that nobody disturbed.</summary>
    public static void Resume(StageRun run)
    {
        const string Name = "sft_chat";
        if (Runs(run) is not { } runs)
            return;
        string[] keys = ["--deterministic=true", "--save_strategy=steps", "--save_steps=2"];
        using var whole = new Output();
        using var cut = new Output();
        if (Train(run, Path.Combine(runs, Name), whole.Path, Name, keys) is not "")
            return;
        using (var child = GpuCommand.Again(["run", Path.Combine(runs, Name), cut.Path, .. run.IsRehearsal ? (string[])["--dry"] : [], .. keys]))
        {
            while (!child.HasExited && !Directory.Exists(Path.Combine(cut.Path, "checkpoint-2")))
                Thread.Sleep(1);
            run.Check("killed behind a checkpoint", !child.HasExited, note: child.HasExited ? child.StandardError.ReadToEnd().Trim() : "");
            child.Kill();
            child.WaitForExit();
        }
        if (Train(run, Path.Combine(runs, Name), cut.Path, Name, keys) is "")
            run.Check("went on to the same bits", Weights(cut.Path) == Weights(whole.Path));
    }

    /// <summary><c>gpu run FOLDER OUT [--dry] [--key=value]…</c>: one of these runs, for <see cref="Resume"/> to kill.</summary>
    public static int Run(string folder, string output, string[] options)
    {
        if (options.Contains("--dry"))
            StandInDevice.Use();
        Train(Load(folder, output, [.. options.Where(word => word != "--dry")]), RunObservers.None);
        return 0;
    }

    private static string? Runs(StageRun run)
    {
        if (Repository.Shared is { } shared && Directory.Exists(Path.Combine(shared, "golden", "runs")))
            return Path.Combine(shared, "golden", "runs");
        run.Figure("golden/runs", null, "", "not here: copy it to shared/golden/runs in the repository, or name its folder with HANDBOOK_SHARED");
        return null;
    }

    /// <summary>Trains; empty where that was on the GPU, where it was not the reason, and null where it failed, which was told.</summary>
    private static string? Train(StageRun run, string folder, string output, string name, params string[] keys)
    {
        var heard = new Heard();
        try
        {
            Train(Load(folder, output, keys), heard);
        }
        catch (Exception failure) when (failure is TorchException or InputException or NotSupportedException or InvalidOperationException)
        {
            run.Check(name, false, note: $"{failure.GetType().Name}: {failure.Message.ReplaceLineEndings(" ")}");
            return null;
        }
        return heard.Lines.Exists(line => line.StartsWith($"computes on {run.Device},", StringComparison.Ordinal)) ? ""
            : heard.Lines.FirstOrDefault(line => line.Contains("is not used", StringComparison.Ordinal)) ?? "computed on the CPU";
    }

    private static void Train(Recipe recipe, IRunObserver observer)
    {
        var before = Directory.GetCurrentDirectory();
        Directory.SetCurrentDirectory(Path.GetDirectoryName(Path.GetFullPath(recipe.Path))!);
        try
        {
            TrainingRun.Run(recipe, observer);
        }
        finally
        {
            Directory.SetCurrentDirectory(before);
        }
    }

    private static Recipe Load(string folder, string output, string[] keys)
    {
        using var about = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "run.json")));
        var method = Recipe.MethodNamed(about.RootElement.GetProperty("method").GetString()!)!.Value;
        var before = Directory.GetCurrentDirectory();
        Directory.SetCurrentDirectory(folder);
        try
        {
            var read = Recipe.Load(new FileInfo(Path.Combine(folder, "recipe.yaml")), [$"--output_dir={output}", .. keys], method);
            return read.TryGet(out var recipe, out var problems) ? recipe : throw new InputException(problems.ToString());
        }
        finally
        {
            Directory.SetCurrentDirectory(before);
        }
    }

    /// <summary>Steps, the largest difference, and where one is too large; null where none is.</summary>
    private static (int Steps, double Off, string? Where) Compare(string expected, string output)
    {
        JsonElement[] wanted = [.. File.ReadLines(expected).Where(line => line.Length > 0).Select(line => JsonDocument.Parse(line).RootElement)];
        var logged = MetricsFile.ReadAll(output);
        if (logged.Count != wanted.Length)
            return (logged.Count, 1, $"{logged.Count} steps where the reference has {wanted.Length}");
        var (most, where) = (0.0, default(string));
        foreach (var (step, (theirs, ours)) in wanted.Zip(logged).Index())
            foreach (var value in theirs.EnumerateObject().Where(value => value.Value.ValueKind == JsonValueKind.Number
                && (s_compared.Contains(value.Name) || value.Name.StartsWith("rewards/", StringComparison.Ordinal)
                    || value.Name.StartsWith("logps/", StringComparison.Ordinal))))
            {
                var (want, found) = (value.Value.GetDouble(), ours.Number(value.Name) ?? double.NaN);
                var off = Math.Abs(found - want);
                most = Math.Max(most, off / Math.Max(Math.Abs(want), 0.05));
                if (!(off <= Math.Max(Least, Math.Abs(want) * Share)))
                    where ??= FormattableString.Invariant($"step {step + 1}: {value.Name} is {found:R}, the reference has {want:R}");
            }
        return (logged.Count, most, where);
    }

    private static string Weights(string folder) => string.Join('\n', Directory.GetFiles(folder, "*.safetensors").Order(StringComparer.Ordinal)
        .Select(file => Path.GetFileName(file) + Convert.ToHexString(SHA256.HashData(File.ReadAllBytes(file)))));

    private sealed class Heard : IRunObserver
    {
        public List<string> Lines { get; } = [];

        public void Said(string text) => Lines.Add(text);

        public void Noted(string text) => Lines.Add(text);
    }

    /// <summary>A folder for one run, beside what is built.</summary>
    private sealed class Output : IDisposable
    {
        public string Path { get; } = Directory.CreateTempSubdirectory("handbook-gpu-").FullName;

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }
}
