using System.Text;
using Handbook.Models.Adapters;
using Handbook.Training.Metrics;

namespace Handbook.Runs;

/// <summary>What the card says of an adapter: what it is, what it lies on, and how it is used.</summary>
internal sealed record CardAdapter
{
    /// <summary>Kind, rank, and the share of numbers that were trained, in a sentence.</summary>
    public required string Description { get; init; }

    /// <summary>α and dropout.</summary>
    public required AdapterConfig Config { get; init; }

    /// <summary>The ends of the names of the layers that have it.</summary>
    public required IReadOnlyList<string> Targets { get; init; }

    /// <summary>What it was trained on, with hashes, and how that was kept.</summary>
    public required AdapterChain TrainedOn { get; init; }

    /// <summary>The tags that a hub finds adapters by.</summary>
    /// <param name="isLocal">Whether a name is a path of the machine the run was on.</param>
    public IEnumerable<string> Tags(Func<string, bool> isLocal) =>
        ["lora", .. isLocal(TrainedOn.Links[^1].Name) ? (string[])[] : [$"base_model:adapter:{TrainedOn.Links[^1].Name}"]];

    /// <summary>The section of the card.</summary>
    public void Append(StringBuilder text)
    {
        text.Append($"## Adapter\n\n{Description}. Layers: {string.Join(", ", Targets)}; α {PythonJson.Number(Config.Alpha)}, "
            + $"dropout {PythonJson.Number(Config.Dropout)}.\n\nIt lies on these weights, lowest first, and is a difference from them alone:\n\n");
        text.Append("| model | SHA-256 of weights and config |\n| --- | --- |\n");
        foreach (var link in TrainedOn.Links)
            text.Append($"| {link.Name} | `{link.Sha256}` |\n");
        text.Append($"\n{Quantised()}\n\n");
    }

    /// <summary>Lines of Python that load it over what it lies on.</summary>
    /// <param name="place">Where the adapter is.</param>
    /// <param name="model">The class of the whole model.</param>
    /// <param name="more">Arguments for it; begins with a comma, or is empty.</param>
    /// <remarks>Adapters between are merged as they are loaded: PEFT puts an adapter over a plain model.</remarks>
    public string Python(string place, string model, string more = "")
    {
        var text = new StringBuilder($"model = {model}.from_pretrained({PythonJson.Write(TrainedOn.Links[0].Name)}, dtype=\"auto\"{more})\n");
        foreach (var link in TrainedOn.Links.Skip(1))
            text.Append($"model = PeftModel.from_pretrained(model, {PythonJson.Write(link.Name)}).merge_and_unload()\n");
        return text.Append($"model = PeftModel.from_pretrained(model, {PythonJson.Write(place)})\n").ToString();
    }

    private string Quantised() => TrainedOn.Quantised is not { } format ? "The weights below were kept as numbers while it was trained."
        : $"While it was trained, the linear weights of the layers below were kept as codes: {format} "
        + (format.StartsWith("int8", StringComparison.Ordinal) ? "(`load_in_8bit=True`" : $"(`load_in_4bit=True, bnb_4bit_quant_type=\""
            + $"{format.Split(',')[0]}\", bnb_4bit_use_double_quant={(format.Contains("double", StringComparison.Ordinal) ? "True" : "False")}`")
        + " in Python). Over the unrounded weights its answers are others, by as much as the rounding matters to this model.";
}
