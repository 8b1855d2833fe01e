using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Handbook.Cli.Tests;

/// <summary>How often a run reads what it starts from, told by the bytes that its process has read.</summary>
/// <remarks>
/// What the files of a run are made larger by, in places that have no effect, is read as often as these files are. Weights that are trained
/// are mapped and not read, so that what is read of them is their hash.
/// </remarks>
public sealed class StartReadsTests : IDisposable
{
    private const int Rows = 12_000, RowPadding = 1_000, WeightPadding = 16 << 20;

    private readonly HandbookProcess _handbook = new();
    private string _keys = "";

    public void Dispose() => _handbook.Dispose();

    [Theory, Trait("speed", "slow")]
    [InlineData("sft", """
        "messages": [USER, GOOD]
        """)]
    [InlineData("dpo", """
        "prompt": [USER], "chosen": [GOOD], "rejected": [BAD]
        """)]
    [InlineData("reward", """
        "prompt": [USER], "chosen": [GOOD], "rejected": [BAD]
        """)]
    [InlineData("grpo", """
        "prompt": [USER], "answer": "the moon"
        """)]
    public void A_run_hashes_its_weights_once_and_reads_its_rows_once_for_their_hash_and_once_for_their_tokens(string method, string row)
    {
        SmallModel.Make(_handbook);
        _keys = method == "grpo" ? "reward_funcs: exact_match\nnum_generations: 2\nmax_completion_length: 2\n" : "";
        Write("small", row, rowPadding: 0, weightPadding: 0);
        Write("rows", row, RowPadding, weightPadding: 0);
        Write("weights", row, rowPadding: 0, WeightPadding);
        var small = BytesRead(method, "small");
        // 2 and 1, and no whole reading more: beside them each run reads a few MB, more or less.
        Assert.InRange(Times("rows", Rows * (double)RowPadding), 1.5, 2.4);
        Assert.InRange(Times("weights", WeightPadding), 0.6, 1.4);
        small = BytesRead(method, "small");
        // All is known by then.
        Assert.InRange(Times("rows", Rows * (double)RowPadding), -0.4, 0.4);
        Assert.InRange(Times("weights", WeightPadding), -0.4, 0.4);

        double Times(string run, double padding) => (BytesRead(method, run) - small) / padding;
    }

    private long BytesRead(string method, string run)
    {
        var outcome = _handbook.RunOther("sh", "-c",
            $"dotnet exec '{HandbookProcess.ProgramFile}' {method} {run}.yaml --fresh=true >&2 && cat /proc/$$/io");
        SmallModel.Succeed(outcome);
        var line = outcome.Output.Split('\n').FirstOrDefault(line => line.StartsWith("rchar:", StringComparison.Ordinal));
        Assert.SkipWhen(line is null, "this system does not tell what a process has read");
        return long.Parse(line["rchar:".Length..], CultureInfo.InvariantCulture);
    }

    private void Write(string run, string row, int rowPadding, int weightPadding)
    {
        foreach (var (name, json) in (ReadOnlySpan<(string, string)>)[("USER", """{"role": "user", "content": "one two"}"""),
            ("GOOD", """{"role": "assistant", "content": "the sun"}"""), ("BAD", """{"role": "assistant", "content": "the moon"}""")])
            row = row.Replace(name, json, StringComparison.Ordinal);
        var text = string.Concat(Enumerable.Range(0, Rows)
            .Select(i => $"{{{row}, \"id\": {i}, \"padding\": \"{new string('x', rowPadding)}\"}}\n"));
        var data = _handbook.Write($"{run}-data/train.jsonl", text);
        var folder = Path.Combine(_handbook.Folder, $"{run}-model");
        Directory.CreateDirectory(folder);
        foreach (var file in Directory.EnumerateFiles(Path.Combine(_handbook.Folder, "model")))
            File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        var weights = Path.Combine(folder, "model.safetensors");
        Pad(weights, weightPadding);
        foreach (var file in Directory.EnumerateFiles(folder).Append(data))
            File.SetLastWriteTimeUtc(file, DateTime.UtcNow.AddMinutes(-1));
        _handbook.Write($"{run}.yaml", $"model_name_or_path: {run}-model\ndataset_name: {run}-data\nmax_steps: "
            + $"1\nper_device_train_batch_size: 2\nsave_strategy: \"no\"\noutput_dir: {run}-out\n{_keys}");
    }

    /// <summary>Adds a tensor that no model has.</summary>
    private static void Pad(string file, int bytes)
    {
        if (bytes == 0)
            return;
        var content = File.ReadAllBytes(file);
        var header = BitConverter.ToInt32(content);
        var tensors = JsonNode.Parse(Encoding.UTF8.GetString(content, 8, header))!.AsObject();
        var end = content.Length - 8 - header;
        tensors["padding"] = new JsonObject
        {
            ["dtype"] = "U8",
            ["shape"] = new JsonArray(bytes),
            ["data_offsets"] = new JsonArray(end, end + bytes)
        };
        var text = Encoding.UTF8.GetBytes(tensors.ToJsonString());
        Array.Resize(ref text, (text.Length + 7) / 8 * 8);
        text.AsSpan(text.AsSpan().LastIndexOf((byte)'}') + 1).Fill((byte)' ');
        File.WriteAllBytes(file, [.. BitConverter.GetBytes((long)text.Length), .. text, .. content.AsSpan(8 + header), .. new byte[bytes]]);
    }
}
