using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Handbook.Cli.Tests;

/// <summary>Under ZeRO-3 the frozen weights below an adapter are pages of files, of which processes of a host have one copy together.</summary>
public sealed partial class FrozenWeightsTests : IDisposable
{
    private const double Frozen = 4 * (4 * (4 * 512 * 512 + 3 * 512 * 1408));        // bytes of the matrices of four layers, in float32

    private readonly HandbookProcess _handbook = new();

    public FrozenWeightsTests()
    {
        SmallModel.Make(_handbook);
        _handbook.Write("large.json", """
            {"model_type": "llama", "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "num_attention_heads": 8,
             "max_position_embeddings": 64, "tie_word_embeddings": true}
            """);
        SmallModel.Succeed(_handbook.Run("init", "--config", "large.json", "--tokenizer", "tok", "--output", "large"));
        _handbook.Write("rows/train.jsonl", string.Concat(Enumerable.Range(0, 40).Select(i => $$"""{"text": "one two {{i}} the sun"}""" + "\n")));
        _handbook.Write("recipe.yaml", """
            model_name_or_path: large
            dataset_name: rows
            use_peft: true
            lora_r: 2
            lora_target_modules: all-linear
            zero_stage: 3
            max_steps: 100000
            logging_steps: 1
            save_strategy: "no"
            report_to: none
            """);
    }

    public void Dispose() => _handbook.Dispose();

    [Theory, Trait("speed", "slow")]
    [InlineData(2, "", 1), InlineData(4, "", 1)]
    [InlineData(2, "--load_in_4bit=true", 0.1406), InlineData(4, "--load_in_4bit=true", 0.1406)]     // 4.5 bits of 32
    [InlineData(2, "--bf16=true", 0.5)]         // of another type than the file: written down once
    public void Processes_of_a_host_have_one_copy(int processes, string key, double share)
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the system does not say what memory processes share");
        using var job = _handbook.Start(["launch", "--nproc-per-node", $"{processes}", "cpt", "recipe.yaml", "--output_dir=run",
            .. key.Length > 0 ? (string[])[key] : []], new Dictionary<string, string> { ["OMP_NUM_THREADS"] = "1" });
        var said = "";
        void Hear(object _, DataReceivedEventArgs line) => said += line.Data + "\n";
        job.OutputDataReceived += Hear;
        job.ErrorDataReceived += Hear;
        job.BeginOutputReadLine();
        job.BeginErrorReadLine();
        try
        {
            var log = Path.Combine(_handbook.Folder, "run", "metrics.jsonl");
            for (var waited = Stopwatch.StartNew(); !File.Exists(log) || File.ReadAllLines(log).Length < 3; Thread.Sleep(50))
                Assert.True(!job.HasExited && waited.Elapsed < TimeSpan.FromMinutes(2), said);
            var ranks = Enumerable.Range(0, processes).Select(rank =>
            {
                using var process = _handbook.Rank(rank)!;
                return Weights(process.Id);
            }).ToArray();
            foreach (var (resident, part, dirty) in ranks)
            {
                TestContext.Current.TestOutputHelper?.WriteLine($"{processes} processes {key}: {resident / 1e6:0.0} MB mapped, {part / 1e6:0.0} MB its part");
                Assert.InRange(resident, 0.95 * share * Frozen, 1.1 * share * Frozen + 3e6);        // and the table of tokens
                Assert.InRange(part, 0.95 * resident / processes, 1.05 * resident / processes);
                Assert.Equal(0, dirty);
            }
        }
        finally
        {
            job.Kill(entireProcessTree: true);
            job.WaitForExit();
        }
        Assert.Matches(@"frozen weights are not cut: [\d.]+ MB of them are pages of files, of which each host has one copy for all its processes, "
            + @"[\d.]+ [kM]B each process has itself", said);
    }

    // Of mapped files of weights: what is resident, this process's part of it by those that share it, and what it has changed.
    private (double Resident, double Part, double Dirty) Weights(int process)
    {
        var (resident, part, dirty, counts) = (0.0, 0.0, 0.0, false);
        foreach (var line in File.ReadLines($"/proc/{process}/smaps"))
            if (Mapping().IsMatch(line))
                counts = line.Contains(_handbook.Folder, StringComparison.Ordinal) && line.EndsWith(".safetensors", StringComparison.Ordinal);
            else if (counts && line.Split(':') is [var name, var text])
            {
                var bytes = 1024 * (Digits().Match(text) is { Success: true } digits ? double.Parse(digits.Value, CultureInfo.InvariantCulture) : 0);
                (resident, part, dirty) = name switch
                {
                    "Rss" => (resident + bytes, part, dirty),
                    "Pss" => (resident, part + bytes, dirty),
                    "Private_Dirty" => (resident, part, dirty + bytes),
                    _ => (resident, part, dirty),
                };
            }
        return (resident, part, dirty);
    }

    [GeneratedRegex("^[0-9a-f]+-[0-9a-f]+ ")]
    private static partial Regex Mapping();

    [GeneratedRegex(@"\d+")]
    private static partial Regex Digits();
}
