using System.Text;
using Handbook.Base;
using Handbook.Models.Adapters;
using Handbook.Torch;
using Handbook.Training;
using Handbook.Training.Metrics;

namespace Handbook.Runs;

/// <summary>The card of a merged model, <c>README.md</c>: what was merged from what, and how far it is from the model with the
/// adapter.</summary>
internal sealed record MergeCard
{
    /// <summary>The folder of the merged model, for commands to copy.</summary>
    public required string Folder { get; init; }

    /// <summary>The base, and the adapters that were merged into it, lowest first.</summary>
    public required AdapterChain MadeOf { get; init; }

    /// <summary>What the adapters were merged into; null where there was no choice.</summary>
    public string? Into { get; init; }

    public required DType DType { get; init; }

    /// <summary>Layers that are not the base's.</summary>
    public required int Changed { get; init; }

    public required bool IsRewardModel { get; init; }

    public required MergeDrift Drift { get; init; }

    public string ToMarkdown()
    {
        var (name, based) = (RealPath.NameOf(Folder), MadeOf.Links[0].Name);
        var text = new StringBuilder("---\n");
        if (!Path.Exists(based))
            text.Append($"base_model: {ModelCard.Yaml(based)}\n");
        text.Append("library_name: transformers\npipeline_tag: " + (IsRewardModel ? "text-classification" : "text-generation")
            + $"\nmodel_name: {ModelCard.Yaml(name)}\ntags:\n- alignment-handbook\n- merge\n---\n\n# {name}\n\n");
        text.Append($"This model is {based} with {string.Join(" and ", MadeOf.Links.Skip(1).Select(link => link.Name))} merged into its "
            + "weights; it needs no adapter.\n\n## What it was made of\n\n| model | SHA-256 of weights and config |\n| --- | --- |\n");
        foreach (var link in MadeOf.Links)
            text.Append($"| {link.Name} | `{link.Sha256}` |\n");
        text.Append($"\n{(Into is null ? "" : $"Merged into {Into}. ")}{Changed} layers differ from the base's; weights are "
            + $"{DType.ToString().ToLowerInvariant()}. From the model with the adapter, as it was trained, "
            + $"{(IsRewardModel ? "scores" : "log-probabilities")} differ by up to {MergeRun.Number(Drift.Largest)} (mean "
            + $"{MergeRun.Number(Drift.Mean)}, {Drift.Count} compared).\n\n");
        var (shell, place) = (ModelCard.Shell(Folder), PythonJson.Write(Folder));
        text.Append("## Quick start\n\n```\n"
            + (IsRewardModel ? $"./handbook score {shell} DATA -o scores.jsonl" : $"./handbook chat {shell}")
            + "\n```\n\nor in Python:\n\n```python\n" + (IsRewardModel
                ? "from transformers import AutoModelForSequenceClassification\n\n"
                    + "model = AutoModelForSequenceClassification.from_pretrained("
                    + $"{place})\n"
                : $"from transformers import pipeline\n\ngenerator = pipeline(\"text-generation\", model={place})\n") + "```\n\n");
        return text.Append($"### Framework versions\n\n- .NET {Environment.Version}\n"
            + $"- The Alignment Handbook for .NET {RunInfo.Version}\n").ToString();
    }
}
