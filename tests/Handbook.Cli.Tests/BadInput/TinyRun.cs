using Handbook.Text.Templates;
using Handbook.Text.Tokenizers.Training;

namespace Handbook.Cli.Tests.BadInput;

/// <summary>A folder with everything a run needs, all of it small and whole: <c>r.yaml</c>, <c>model/</c>, <c>rows.jsonl</c>. A test breaks
/// one thing.</summary>
internal sealed class TinyRun : IDisposable
{
    /// <summary>The recipe; its rows have a held-out part, it trains four steps.</summary>
    public const string Recipe = """
        model_name_or_path: model
        dataset_name: rows.jsonl
        bf16: false
        max_length: 64
        per_device_train_batch_size: 2
        max_steps: 4
        save_steps: 2
        report_to: none
        output_dir: out

        """;

    public const string Llama = """
        {"model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
         "num_key_value_heads": 1, "max_position_embeddings": 64, "vocab_size": 300}
        """;

    public const string Template = "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + eos_token "
        + "}}{% endfor %}";

    private static readonly Lazy<string> s_model = new(() => MakeModel(Llama));

    public TinyRun(string? config = null)
    {
        Copy(config is null ? s_model.Value : MakeModel(config), At("model"));
        Handbook.Write("r.yaml", Recipe);
        Handbook.Write("rows.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i =>
            $$"""{"messages": [{"role": "user", "content": "number {{i}}?"}, {"role": "assistant", "content": "it is {{i}}"}]}""" + "\n")));
    }

    public HandbookProcess Handbook { get; } = new();

    public string At(params string[] parts) => Path.Combine([Handbook.Folder, .. parts]);

    public string Read(string name) => File.ReadAllText(At(name));

    public void Write(string name, string text) => Handbook.Write(name, text);

    public void Replace(string name, string old, string @new)
    {
        Assert.Contains(old, Read(name));
        Write(name, Read(name).Replace(old, @new));
    }

    public Outcome Sft(params string[] overrides) => Handbook.Run(["sft", "r.yaml", .. overrides]);

    /// <summary>Runs and holds the outcome to the promise: exit code 2, the message's parts, no stack trace, nothing
    /// half-written.</summary>
    public Outcome Refuses(string[] overrides, params string[] message)
    {
        var outcome = Sft(overrides);
        Refused(outcome, message);
        return outcome;
    }

    public void Refused(Outcome outcome, params string[] message)
    {
        Assert.True(outcome.Code == 2, $"exit code {outcome.Code}\n{outcome.Error}");
        foreach (var part in message)
            Assert.True(outcome.Error.Contains(part, StringComparison.Ordinal), $"no \"{part}\" in:\n{outcome.Error}");
        Assert.Contains("  fix: ", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("Exception", outcome.Error, StringComparison.Ordinal);
        Assert.Equal([], HalfWritten());
    }

    // Checkpoints hold their manifest, a model its weights; nothing temporary is left anywhere.
    private IEnumerable<string> HalfWritten()
    {
        if (!Directory.Exists(At("out")))
            return [];
        var left = Directory.EnumerateFileSystemEntries(At("out"), "*", SearchOption.AllDirectories).ToArray();
        return
        [
            .. left.Where(path => Path.GetFileName(path).StartsWith('.')),
            .. left.Where(path => Path.GetFileName(path).StartsWith("checkpoint-", StringComparison.Ordinal)
                && !File.Exists(Path.Combine(path, "manifest.json"))),
            .. left.Where(path => Path.GetFileName(path) == "model.safetensors" && Path.GetDirectoryName(path) == At("out")
                && !File.Exists(At("out", "train_results.json"))),
        ];
    }

    private static string MakeModel(string config)
    {
        var folder = Directory.CreateTempSubdirectory("handbook-tiny-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(folder, recursive: true);
        File.WriteAllText(Path.Combine(folder, "config.json"), config);
        var options = new BpeTrainerOptions
        {
            VocabularySize = 290,
            SpecialTokens = ["<|user|>", "<|assistant|>"],
            EosToken = "</s>",
            ChatTemplate = Template
        };
        BpeTrainer.Train(Enumerable.Repeat("number it is the answer", 4), options).Save(Path.Combine(folder, "tok"));
        using var handbook = new HandbookProcess();
        var outcome = handbook.Run("init", "--config", Path.Combine(folder, "config.json"), "--tokenizer", Path.Combine(folder, "tok"),
            "--output", Path.Combine(folder, "model"));
        Assert.True(outcome.Code == 0, outcome.Error);
        return Path.Combine(folder, "model");
    }

    public static void Copy(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var file in Directory.GetFiles(from))
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
    }

    public void Dispose() => Handbook.Dispose();
}
