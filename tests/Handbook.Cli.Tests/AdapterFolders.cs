using System.Text.Json.Nodes;
using Handbook.Models.Files;

namespace Handbook.Cli.Tests;

/// <summary>A small model, and adapters that the training command made: <c>a</c> and <c>b</c> on <c>model</c>, <c>c</c> on
/// <c>a</c>.</summary>
public sealed class AdapterFolders : IDisposable
{
    private const string Recipe = """
        model_name_or_path: model
        dataset_name: rows
        use_peft: true
        lora_r: 4
        lora_target_modules: all-linear
        learning_rate: 0.01
        max_steps: 4
        per_device_train_batch_size: 4
        report_to: none
        """;

    private int _count;

    public AdapterFolders()
    {
        SmallModel.Make(Handbook);
        Handbook.Write("rows/train.jsonl", string.Concat(Enumerable.Range(0, 8).Select(i =>
            $$"""{"text": "the moon and the sun {{i}} and one two"}""" + "\n")));
        Handbook.Write("recipe.yaml", Recipe);
        SmallModel.Succeed(Handbook.Run("cpt", "recipe.yaml", "--output_dir=a"));
        SmallModel.Succeed(Handbook.Run("cpt", "recipe.yaml", "--output_dir=b", "--seed=9"));
        SmallModel.Succeed(Handbook.Run("cpt", "recipe.yaml", "--output_dir=c", "--model_name_or_path=a"));
    }

    internal HandbookProcess Handbook { get; } = new();

    /// <summary>A name that no other test has.</summary>
    public string New(string what) => $"{what}{Interlocked.Increment(ref _count)}";

    /// <summary>A path below the working folder.</summary>
    public string At(params string[] parts) => Path.Combine([Handbook.Folder, .. parts]);

    /// <summary>A copy of a folder, to be spoiled.</summary>
    public string Copy(string name)
    {
        var copy = New(name + "-copy");
        Directory.CreateDirectory(At(copy));
        foreach (var file in Directory.EnumerateFiles(At(name)))
            File.Copy(file, At(copy, Path.GetFileName(file)));
        return copy;
    }

    /// <summary>A copy of an adapter with other keys in its config.</summary>
    public string WithKey(string name, string key, JsonNode value)
    {
        var copy = Copy(name);
        var file = At(copy, "adapter_config.json");
        var json = JsonNode.Parse(File.ReadAllText(file))!.AsObject();
        json[key] = value;
        File.WriteAllText(file, json.ToJsonString());
        return copy;
    }

    /// <summary>A copy of an adapter with other tensors.</summary>
    /// <param name="change">Gives the tensor to save; null leaves it out.</param>
    /// <param name="metadata">Whether the header keeps what the adapter was trained on.</param>
    public string WithTensors(string name, Func<TensorToSave, TensorToSave?> change, bool metadata = true)
    {
        var copy = Copy(name);
        using var files = WeightFiles.Open(At(name, "adapter_model.safetensors"));
        WeightFilesWriter.Save(At(copy),
            [.. files.Names.Select(tensor => change(TensorToSave.From(files.Read(tensor)))).OfType<TensorToSave>()],
            new() { Name = "adapter_model", Metadata = metadata ? files.Metadata : new Dictionary<string, string> { ["format"] = "pt" } });
        return copy;
    }

    public void Dispose() => Handbook.Dispose();
}
