using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Handbook.Text.Tokenizers;
using Handbook.Torch;

namespace Handbook.Bench;

/// <summary>One figure beside a peer's, or beside a ceiling, measured in the same run.</summary>
internal sealed record BenchRow(string Name, double? Ours, double? Peer, double? Ratio, string Unit, string Note)
{
    /// <summary>The path of the processor that was taken; null in rows of old.</summary>
    public string? Cpu { get; init; }
}

/// <summary>Runs ours and the peer in turn, each in its own process, and keeps the median of the ratios pair by pair.</summary>
internal static class Comparison
{
    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    public static int Run(string[] options)
    {
        var quick = options.Contains("--quick");
        var only = Array.IndexOf(options, "--only") is >= 0 and var at && at + 1 < options.Length ? options[at + 1] : null;
        var root = Repository.Root;
        var shared = Environment.GetEnvironmentVariable("HANDBOOK_SHARED") is { Length: > 0 } named ? named
            : Path.Combine(root, "..", "shared");
        var rows = new List<BenchRow>();
        Console.Error.WriteLine($"processor: {Processor.Description}");
        foreach (var (shape, dtype) in (ReadOnlySpan<(string, string)>)[("15m", "f32"), ("15m", "bf16"), ("135m", "f32"), ("135m", "bf16")])
            Add(rows, only, $"sft-{shape}-{dtype}", name => Steps(root, name, shape, dtype, null, quick));
        var lengths = ChatLengths(shared);
        foreach (var dtype in (ReadOnlySpan<string>)["f32", "bf16"])
            Add(rows, only, $"sft-chat-lengths-{dtype}", name => lengths is null
                ? [NoData(name, "useful tokens/s")]
                : Steps(root, name, "15m", dtype, lengths, quick));
        var pairs = PairLengths(shared, quick ? 40 : 60);
        foreach (var (name, dtype) in (ReadOnlySpan<(string, string)>)[("dpo-hh-lengths", "f32"), ("dpo-hh-lengths-bf16", "bf16")])
            Add(rows, only, name, n => pairs is null ? [NoData(n, "pairs/s")] : Pairs(root, n, dtype, pairs, quick));
        Add(rows, only, "dpo-prefix-sharing", n => pairs is null ? [NoData(n, "pairs/s")] : [Sharing(n, pairs, quick)]);
        foreach (var (name, dtype) in (ReadOnlySpan<(string, string)>)[("sample-batch16", "f32"), ("sample-batch16-bf16", "bf16")])
            Add(rows, only, name, n => [Sampling(root, n, dtype, quick)]);
        Add(rows, only, "serve-16", name => ServeBench.Rows(name, quick));
        foreach (var shape in (ReadOnlySpan<string>)["15m", "135m"])
            Add(rows, only, $"product-{shape}-f32", name => [Products(name, shape)]);
        foreach (var (dtype, end) in (ReadOnlySpan<(string, string)>)[("f32", ""), ("bf16", "-bf16")])
            foreach (var kind in FamilyBench.Kinds)
                Add(rows, only, $"family-{kind}{end}", name => [FamilyBench.Row(name, kind, dtype == "bf16", quick)]);
        foreach (var shape in (ReadOnlySpan<string>)["15m", "135m"])
            Add(rows, only, $"ranks-2-{shape}", name => [RanksBench.Row(name, shape, quick)]);
        Add(rows, only, "overlap", name => [RanksBench.Overlap(name, quick)]);
        Add(rows, only, "lora-step", name => [AdapterRows.Step(name, quick)]);
        Add(rows, only, "qlora-step", name => [AdapterRows.Quantised(name, quick)]);
        Add(rows, only, "lora-peer", name => [AdapterRows.Peer(name, root, Python(), quick)]);
        Add(rows, only, "lora-memory", name => [AdapterRows.Memory(name, quick ? "135m" : "1.1b", "lora")]);
        Add(rows, only, "qlora-memory", name => [AdapterRows.Memory(name, quick ? "135m" : "1.1b", "qlora")]);
        if (Processor.Forced is null)           // what these measure does not depend on the path
        {
            Add(rows, only, "adam8bit-memory", name => [MemoryRows.Coded(name, quick)]);
            Add(rows, only, "paged-memory", name => [MemoryRows.Paged(name)]);
            foreach (var count in (ReadOnlySpan<int>)[2, 4])
                Add(rows, only, $"zero3-memory-{count}", name => [RanksBench.Memory(name, count)]);
            Add(rows, only, "help-seconds", name => Help(root, name));
            Add(rows, only, "tokenize", name => Tokenize(root, shared, name));
        }
        Print(rows);
        Directory.CreateDirectory(Path.Combine(root, "bench", "results"));
        var path = Path.Combine(root, "bench", "results", "latest.json");
        File.WriteAllText(path, JsonSerializer.Serialize(only is null ? rows : Merged(path, rows), Json) + "\n");
        Console.WriteLine($"written: {Path.GetRelativePath(root, path)}");
        return 0;
    }

    /// <summary>What --only measured takes the place of the same rows; those of an earlier run stay.</summary>
    private static List<BenchRow> Merged(string path, List<BenchRow> rows)
    {
        var merged = File.Exists(path) ? JsonSerializer.Deserialize<List<BenchRow>>(File.ReadAllText(path), Json)! : [];
        foreach (var row in rows)
            if (merged.FindIndex(old => old.Name == row.Name) is >= 0 and var at)
                merged[at] = row;
            else
                merged.Add(row);
        return merged;
    }

    private static BenchRow NoData(string name, string unit) =>
        new(name, null, null, null, unit, "not measured: no shared data (HANDBOOK_SHARED)");

    /// <summary>Measures a row; that of a forced path bears its name, beside that of the machine's own.</summary>
    private static void Add(List<BenchRow> rows, string? only, string name, Func<string, BenchRow[]> measure)
    {
        if (Processor.Forced is not null)
            name += "-" + Environment.GetEnvironmentVariable(Processor.Variable);
        if (only is not null && !name.Contains(only, StringComparison.Ordinal))
            return;
        Console.Error.WriteLine($"measuring {name} …");
        foreach (var row in measure(name))
        {
            rows.Add(row with { Cpu = Processor.Description });
            Console.Error.WriteLine($"  {Line(row)}");     // what is measured is seen although the rest takes long
        }
    }

    /// <summary>Whether bfloat16 is measured beside our own float32: without instructions for it PyTorch takes many times longer, and sums
    /// in bfloat16.</summary>
    private static bool BesideFloat32(string dtype) => dtype == "bf16" && !Processor.MultipliesBFloat16;

    private static BenchRow[] Steps(string root, string name, string shape, string dtype, string? lengths, bool quick)
    {
        var pairs = quick ? 1 : 3;
        var (ourSteps, peerSteps) = shape == "135m" ? (quick ? 3 : 5, quick ? 2 : 3) : (quick ? 6 : 12, quick ? 4 : 8);
        var ours = new List<(double Speed, double Share, double Wait, double Rate, double Peak)>();
        var peers = new List<(double Speed, double Peak)>();
        for (var i = 0; i < pairs; i++)
        {
            var mine = JsonOf(Environment.ProcessPath!, null,
                ["step", shape, dtype, ourSteps.ToString(CultureInfo.InvariantCulture), .. lengths is null ? (string[])[] : [lengths]]);
            ours.Add((mine!.Value.GetProperty("TokensPerSecond").GetDouble(), mine.Value.GetProperty("MatMulShare").GetDouble(),
                mine.Value.GetProperty("WaitShare").GetDouble(),
                mine.Value.GetProperty("MatMulGflops").GetDouble(), mine.Value.GetProperty("PeakBytes").GetDouble()));
            if (BesideFloat32(dtype))
            {
                string[] more = lengths is null ? [] : [lengths];
                var wide = JsonOf(Environment.ProcessPath!, null,
                    ["step", shape, "f32", ourSteps.ToString(CultureInfo.InvariantCulture), .. more])!.Value;
                peers.Add((wide.GetProperty("TokensPerSecond").GetDouble(), wide.GetProperty("PeakBytes").GetDouble()));
                continue;
            }
            if (Python() is not { } python)
                continue;
            var theirs = JsonOf(python, root, ["bench/peers/train_step.py", "--shape", shape, "--dtype", dtype, "--steps",
                peerSteps.ToString(CultureInfo.InvariantCulture), .. lengths is null ? (string[])[] : ["--lengths", lengths]]);
            if (theirs is { } peer)
                peers.Add((peer.GetProperty("useful_tokens_per_second").GetDouble(), peer.GetProperty("peak_rss").GetDouble()));
        }
        var share = Median(ours.Select(o => o.Share));
        double? ratio = peers.Count == ours.Count ? Median(ours.Zip(peers, (o, p) => o.Speed / p.Speed)) : null;
        var note = peers.Count == 0
            ? "no PyTorch to compare with"
            : $"{(BesideFloat32(dtype) ? "our own float32" : $"PyTorch eager {(lengths is null ? "without padding" : "padded to the longest row of its batch")}")}; "
                + $"peak memory {Median(ours.Select(o => o.Peak)) / 1e6:f0} against {Median(peers.Select(p => p.Peak)) / 1e6:f0} MB; "
                    + $"waiting for rows {Median(ours.Select(o => o.Wait)):p2}";
        return
        [
            new(name, Median(ours.Select(o => o.Speed)), peers.Count == 0 ? null : Median(peers.Select(p => p.Speed)), ratio,
                lengths is null ? "tokens/s" : "useful tokens/s", note),
            new($"matmul-share-{name}", share * Median(ours.Select(o => o.Rate)), Median(ours.Select(o => o.Rate)), share, "GFLOP/s",
                "matrix products of the whole step against a 2048-square product in the same process"),
        ];
    }

    /// <summary>The float32 products of a step beside the same ones as libtorch's BLAS shares them out.</summary>
    private static BenchRow Products(string name, string shape)
    {
        if (JsonOf(Environment.ProcessPath!, null, ["product", shape])?.Deserialize<ProductResult>() is not { } found)
            return new(name, null, null, null, "GFLOP/s", "a run failed");
        return new(name, found.Ours, found.Library, found.Ours / found.Library, "GFLOP/s", "products of a step beside those of libtorch's BLAS: "
            + string.Join(", ", found.Forms.Select(form => $"{form.Name} {form.Ours:f0} and {form.Library:f0}")));
    }

    /// <summary>An epoch of DPO over real lengths beside the padded, concatenated step with a live reference.</summary>
    private static BenchRow[] Pairs(string root, string name, string dtype, string pairs, bool quick)
    {
        var (ours, peers) = (new List<(double Speed, double Peak)>(), new List<(double Speed, double Peak)>());
        for (var i = 0; i < (quick ? 1 : 3); i++)
        {
            var mine = JsonOf(Environment.ProcessPath!, null, ["dpo", "15m", dtype, pairs])!.Value;
            ours.Add((mine.GetProperty("PairsPerSecond").GetDouble(), mine.GetProperty("PeakBytes").GetDouble()));
            if (BesideFloat32(dtype))
            {
                var wide = JsonOf(Environment.ProcessPath!, null, ["dpo", "15m", "f32", pairs])!.Value;
                peers.Add((wide.GetProperty("PairsPerSecond").GetDouble(), wide.GetProperty("PeakBytes").GetDouble()));
            }
            else if (Python() is { } python
                && JsonOf(python, root, ["bench/peers/dpo_step.py", "--shape", "15m", "--dtype", dtype, "--pairs", pairs]) is { } peer)
                peers.Add((peer.GetProperty("pairs_per_second").GetDouble(), peer.GetProperty("peak_rss").GetDouble()));
        }
        double? ratio = peers.Count == ours.Count ? Median(ours.Zip(peers, (o, p) => o.Speed / p.Speed)) : null;
        var note = peers.Count == 0 ? "no PyTorch to compare with"
            : $"an epoch, our reference pass counted in, "
                + $"beside {(BesideFloat32(dtype) ? "our own float32" : "PyTorch eager, padded and concatenated, with a live reference")}; peak memory {Median(ours.Select(o => o.Peak)) / 1e6:f0} against {Median(peers.Select(p => p.Peak)) / 1e6:f0} MB";
        return [new(name, Median(ours.Select(o => o.Speed)), peers.Count == 0 ? null : Median(peers.Select(p => p.Speed)), ratio, "pairs/s",
            note)];
    }

    /// <summary>Ours with one prompt for both answers beside ours with a prompt for each.</summary>
    private static BenchRow Sharing(string name, string pairs, bool quick)
    {
        var (shared, separate) = (new List<double>(), new List<double>());
        for (var i = 0; i < (quick ? 1 : 3); i++)
        {
            shared.Add(Speed([]));
            separate.Add(Speed(["separate"]));
        }
        return new(name, Median(shared), Median(separate), Median(shared.Zip(separate, (a, b) => a / b)), "pairs/s",
            "shared prompts beside separate ones, both ours, the same gradients");

        double Speed(string[] more) =>
            JsonOf(Environment.ProcessPath!, null, ["dpo", "15m", "f32", pairs, .. more])!.Value.GetProperty("PairsPerSecond").GetDouble();
    }

    private static BenchRow Sampling(string root, string name, string dtype, bool quick)
    {
        var (ours, peers) = (new List<double>(), new List<double>());
        for (var i = 0; i < (quick ? 1 : 3); i++)
        {
            ours.Add(JsonOf(Environment.ProcessPath!, null, ["sample", "15m", dtype])!.Value.GetProperty("TokensPerSecond").GetDouble());
            if (BesideFloat32(dtype))
                peers.Add(JsonOf(Environment.ProcessPath!, null, ["sample", "15m", "f32"])!.Value.GetProperty("TokensPerSecond")
                    .GetDouble());
            else if (Python() is { } python
                && JsonOf(python, root, ["bench/peers/sample.py", "--shape", "15m", "--dtype", dtype]) is { } peer)
                peers.Add(peer.GetProperty("tokens_per_second").GetDouble());
        }
        double? ratio = peers.Count == ours.Count ? Median(ours.Zip(peers, (o, p) => o / p)) : null;
        return new(name, Median(ours), peers.Count == 0 ? null : Median(peers), ratio, "tokens/s",
            $"16 rows, prompts of 64 tokens, 128 new ones each, "
            + $"beside {(BesideFloat32(dtype) ? "our own float32" : "a key-value cache in PyTorch eager")}");
    }

    /// <summary>Token counts of prompt, chosen and rejected answer of hh-rlhf pairs, spread over the whole set, under a 32000-token
    /// vocabulary.</summary>
    private static string? PairLengths(string shared, int count)
    {
        var data = Path.Combine(shared, "data", "hh-rlhf", "train.jsonl.gz");
        var folder = Path.Combine(shared, "tokenizers", "llama2");
        if (!File.Exists(data) || !Directory.Exists(folder))
            return null;
        const string turn = "\n\nAssistant:";
        var tokenizer = Tokenizer.Load(folder);
        using var reader = new StreamReader(new System.IO.Compression.GZipStream(File.OpenRead(data),
            System.IO.Compression.CompressionMode.Decompress));
        var lines = reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var lengths = new List<int[]>();
        for (var i = 0; i < lines.Length && lengths.Count < count; i += lines.Length / count)
        {
            using var row = JsonDocument.Parse(lines[i]);
            var (chosen, rejected) = (row.RootElement.GetProperty("chosen").GetString()!,
                row.RootElement.GetProperty("rejected").GetString()!);
            var common = chosen.AsSpan().CommonPrefixLength(rejected);
            var end = chosen.AsSpan(0, common).LastIndexOf(turn) + turn.Length;
            if (end < turn.Length || end >= chosen.Length || end >= rejected.Length)
                continue;
            lengths.Add([tokenizer.Encode(chosen[..end]).Length, tokenizer.Encode(chosen[end..], addSpecialTokens: false).Length + 1,
                tokenizer.Encode(rejected[end..], addSpecialTokens: false).Length + 1]);
        }
        var path = Path.Combine(Path.GetTempPath(), $"pair-lengths-{Environment.ProcessId}.json");
        File.WriteAllText(path, JsonSerializer.Serialize(lengths));
        return path;
    }

    /// <summary>How long <c>./handbook --help</c> takes once built; the ceiling is half a second.</summary>
    private static BenchRow[] Help(string root, string name)
    {
        var best = double.MaxValue;
        for (var i = 0; i < 6; i++)
        {
            var start = Stopwatch.GetTimestamp();
            if (Start(Path.Combine(root, "handbook"), root, ["--help"]) is null)
                return [new BenchRow(name, null, null, null, "s", "./handbook does not start")];
            if (i > 0)
                best = Math.Min(best, Stopwatch.GetElapsedTime(start).TotalSeconds);
        }
        return [new BenchRow(name, best, 0.5, best / 0.5, "s",
            "start to end of ./handbook --help, the best of five; beside the promise of half a second")];
    }

    private static BenchRow[] Tokenize(string root, string shared, string name)
    {
        var corpus = Path.Combine(shared, "tokenizers", "corpus", "mixed.jsonl.gz");
        if (!File.Exists(corpus))
            return [NoData(name, "MB/s per core")];
        var (rows, modules) = (new List<BenchRow>(), NodeModules(root));
        // What each kind of model promises: MB/s per core, and times the peer's.
        foreach (var (tokenizer, kind) in (ReadOnlySpan<(string, string)>)[("gpt2", "byte-level BPE"), ("smollm2", "byte-level BPE"),
            ("llama3", "byte-level BPE"), ("qwen2.5", "byte-level BPE"), ("llama2", "BPE with byte fallback"),
            ("mistral-v0.1", "BPE with byte fallback"), ("t5-small", "unigram"), ("albert", "unigram"), ("bert-base-uncased", "WordPiece")])
        {
            var folder = Path.Combine(shared, "tokenizers", tokenizer);
            var ours = JsonOf(Environment.ProcessPath!, null, ["tokenize", folder, corpus])!.Value;
            var file = File.Exists(Path.Combine(folder, "tokenizer.json")) ? "tokenizer.json" : "tokenizer.json.gz";
            var peer = modules is null ? null : JsonOf("node", root, ["bench/peers/tokenize.mjs", modules, Path.Combine(folder, file), corpus]);
            var note = $"{kind}; " + (peer is null ? "no peer installed" : "Hugging Face tokenizers (Rust) on one thread, ids equal");
            Add($"{name}-{tokenizer}", "MegabytesPerSecond", "megabytes_per_second", "MB/s per core", isRate: true);
            Add($"{name}-decode-{tokenizer}", "DecodedPerSecond", "decoded_per_second", "MB/s per core", isRate: true);
            Add($"{name}-load-{tokenizer}", "LoadMilliseconds", "load_milliseconds", "ms", isRate: false);

            void Add(string row, string own, string other, string unit, bool isRate)
            {
                var (value, beside) = (ours.GetProperty(own).GetDouble(), peer?.GetProperty(other).GetDouble());
                rows.Add(new BenchRow(row, value, beside, isRate ? value / beside : beside / value, unit, note));
            }
        }
        var slowest = rows.Where(r => r.Note.StartsWith("byte-level", StringComparison.Ordinal) && !r.Name.Contains("-decode-")
            && !r.Name.Contains("-load-")).MinBy(r => r.Ours)!;
        return [slowest with { Name = name, Note = $"the slowest of the byte-level ones, {slowest.Name}; {slowest.Note}" }, .. rows];
    }

    /// <summary>Token counts of the chosen texts of hh-rlhf under a 32000-token vocabulary; null without the shared data.</summary>
    private static string? ChatLengths(string shared)
    {
        var data = Path.Combine(shared, "data", "hh-rlhf", "train.jsonl.gz");
        var folder = Path.Combine(shared, "tokenizers", "llama2");
        if (!File.Exists(data) || !Directory.Exists(folder))
            return null;
        var tokenizer = Tokenizer.Load(folder);
        using var reader = new StreamReader(new System.IO.Compression.GZipStream(File.OpenRead(data),
            System.IO.Compression.CompressionMode.Decompress));
        var lengths = new List<int>();
        while (lengths.Count < 256 && reader.ReadLine() is { } line)
        {
            using var row = JsonDocument.Parse(line);
            lengths.Add(tokenizer.Encode(row.RootElement.GetProperty("chosen").GetString()!).Length);
        }
        var path = Path.Combine(Path.GetTempPath(), $"chat-lengths-{Environment.ProcessId}.json");
        File.WriteAllText(path, JsonSerializer.Serialize(lengths));
        return path;
    }

    private static string? NodeModules(string root)
    {
        var folder = Path.Combine(root, "build", "npm-bench");
        if (!File.Exists(Path.Combine(folder, "node_modules", "tokenizers", "package.json")))
        {
            Directory.CreateDirectory(folder);
            if (Start("npm", root, ["install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, "tokenizers@0.23.2"]) is null)
                return null;
        }
        return folder;
    }

    private static string? Python()
    {
        foreach (var python in (ReadOnlySpan<string>)["/usr/bin/python3", "python3"])
            if (Start(python, null, ["-c", "import torch"]) is not null)
                return python;
        return null;
    }

    internal static JsonElement? JsonOf(string program, string? folder, string[] arguments) =>
        Start(program, folder, arguments) is { } text
            && text.Split('\n', StringSplitOptions.RemoveEmptyEntries).LastOrDefault(l => l.StartsWith('{')) is { } line
            ? JsonDocument.Parse(line).RootElement.Clone()
            : null;

    /// <summary>What a program printed; null where it is absent or failed.</summary>
    private static string? Start(string program, string? folder, string[] arguments)
    {
        try
        {
            var start = new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
            if (folder is not null)
                start.WorkingDirectory = folder;
            using var process = Process.Start(start)!;
            process.ErrorDataReceived += (_, _) => { };
            process.BeginErrorReadLine();
            var output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0 ? output : null;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;        // not installed
        }
    }

    internal static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted.Length == 0 ? double.NaN : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private static void Print(List<BenchRow> rows)
    {
        Console.WriteLine($"processor: {Processor.Description}");
        Console.WriteLine($"{"name",-36}{"ours",12}{"peer",12}{"ratio",8}  unit");
        foreach (var row in rows)
            Console.WriteLine($"{Line(row)}\n    {row.Note}");
    }

    private static string Line(BenchRow row)
    {
        return $"{row.Name,-36}{Show(row.Ours),12}{Show(row.Peer),12}{row.Ratio?.ToString("f2") ?? "-",8}  {row.Unit}";

        static string Show(double? value) => value is null ? "-" : value >= 100 ? value.Value.ToString("f0") : value.Value.ToString("f2");
    }
}
