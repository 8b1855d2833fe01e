using System.Globalization;
using System.Text.Json;

namespace Handbook.Testing;

/// <summary>A run of <c>golden/optim</c>: an optimiser of the reference on fixed gradients, under a name such as <c>AdamW lr=1e-2
/// betas=(0.9,0.999) eps=1e-8</c>.</summary>
internal sealed class OptimizerRun : IDisposable
{
    private readonly JsonDocument _document;
    private readonly JsonElement _run;
    private readonly Dictionary<string, string> _options;

    private OptimizerRun(JsonDocument document, string name)
    {
        (_document, Name, Kind) = (document, name, name.Split(' ')[0]);
        _run = document.RootElement.GetProperty("runs").EnumerateArray().First(run => run.GetProperty("name").GetString() == name);
        _options = name.Split(' ').Skip(1).Select(part => part.Split('=')).ToDictionary(pair => pair[0], pair => pair[1]);
    }

    public string Name { get; }

    /// <summary>The optimiser as PyTorch calls it.</summary>
    public string Kind { get; }

    /// <summary>Parameters before the first step, by name.</summary>
    public JsonElement Initial => _run.GetProperty("initial");

    /// <summary>Of each step the gradients (<c>grad_…</c>) and the parameters after it.</summary>
    public IEnumerable<JsonElement> Steps => _run.GetProperty("steps").EnumerateArray();

    /// <summary>Every run by file and name; one without a name where the folder is not there.</summary>
    public static TheoryData<string, string> All()
    {
        var data = new TheoryData<string, string>();
        if (SharedFiles.Root is { } root && Directory.Exists(Path.Combine(root, "golden", "optim")))
            foreach (var file in Directory.GetFiles(Path.Combine(root, "golden", "optim"), "*.json").Order(StringComparer.Ordinal))
                foreach (var run in JsonDocument.Parse(File.ReadAllText(file)).RootElement.GetProperty("runs").EnumerateArray())
                    data.Add(Path.GetFileName(file), run.GetProperty("name").GetString()!);
        if (data.Count == 0)
            data.Add("(none)", "");
        return data;
    }

    /// <summary>Opens a run; skips the test where its file is not there.</summary>
    public static OptimizerRun Open(string file, string name) =>
        new(JsonDocument.Parse(File.ReadAllText(SharedFiles.Need("golden", "optim", file))), name);

    public bool Has(string key) => _options.ContainsKey(key);

    /// <summary>An option as it is written; null where the name does not have it.</summary>
    public string? Text(string key) => _options.GetValueOrDefault(key);

    public double Number(string key, double otherwise) =>
        Text(key) is { } text ? double.Parse(text, CultureInfo.InvariantCulture) : otherwise;

    public bool Flag(string key, bool otherwise) => Text(key) is { } text ? bool.Parse(text) : otherwise;

    public double Beta(int index, double otherwise) => Text("betas") is { } text
        ? double.Parse(text.Trim('(', ')').Split(',')[index], CultureInfo.InvariantCulture) : otherwise;

    /// <summary>The numbers of a value, row after row.</summary>
    public static float[] Numbers(JsonElement value) => value.ValueKind == JsonValueKind.Array
        ? [.. value.EnumerateArray().SelectMany(Numbers)] : [value.GetSingle()];

    public void Dispose() => _document.Dispose();
}
