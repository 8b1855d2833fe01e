using Handbook.Base;
using Handbook.Models;
using Handbook.Recipes;
using Handbook.Training;

namespace Handbook.Runs;

/// <summary>One model on the way to the one that a run trains.</summary>
/// <param name="Name">As the next one names it.</param>
/// <param name="How">What made it, in a word or two; null where nobody says.</param>
internal sealed record CardAncestor(string Name, string? How);

/// <summary>What a model's folder says of its licence and of the model that it was made from: by the head of its card, or by the
/// <c>run.json</c> of the run that made it.</summary>
internal sealed record BaseCard
{
    private const int Deepest = 16;

    /// <summary>The licence's name on the hub, such as <c>apache-2.0</c>; null where nobody says.</summary>
    public string? License { get; private init; }

    /// <summary>The name and the link of a licence that the hub has no name for.</summary>
    public (string? Name, string? Link) OtherLicense { get; private init; }

    /// <summary>The models that it was made from, lowest first, itself last.</summary>
    public IReadOnlyList<CardAncestor> Chain { get; private init; } = [];

    /// <summary>Reads what is there; what is not stays unknown.</summary>
    /// <param name="name">A model, as a recipe names it.</param>
    public static BaseCard Of(string name)
    {
        var (chain, seen) = (new List<CardAncestor>(), new HashSet<string>());
        var licence = default((string? Id, string? Name, string? Link));
        for (var next = name; next is not null && seen.Add(next) && chain.Count < Deepest;)
        {
            var folder = ModelFolder.TryFind(next);
            var head = folder is null ? null : Head(Path.Combine(folder, "README.md"));
            // The nearest card that speaks of a licence counts: whoever made that model knew what it was made from.
            if (licence.Id is null && Text(head, "license") is { } id)
                licence = (id, Text(head, "license_name"), Text(head, "license_link"));
            var run = folder is null ? null : RunHistory.Read(folder);
            chain.Insert(0, new(next, run?.Method));
            next = run?.Lineage?.Weights?.LastOrDefault(part => part.Key == "model_name_or_path")?.Name ?? Text(head, "base_model");
        }
        return new() { License = licence.Id, OtherLicense = (licence.Name, licence.Link), Chain = chain };
    }

    /// <summary>The lines between <c>---</c> that begin a card.</summary>
    private static MapNode? Head(string path)
    {
        if (!File.Exists(path))
            return null;
        using var lines = File.ReadLines(path).GetEnumerator();
        if (!lines.MoveNext() || lines.Current.TrimEnd() != "---")
            return null;
        var text = new List<string>();
        while (lines.MoveNext() && lines.Current.TrimEnd() != "---" && text.Count < 10_000)
            text.Add(lines.Current);
        return YamlReader.Read(string.Join('\n', text), null, new Diagnostics(path)) as MapNode;
    }

    private static string? Text(MapNode? head, string key) => head?[key] switch
    {
        ScalarNode { IsNull: false } scalar => scalar.Text,
        ListNode { Items: [ScalarNode { IsNull: false } first, ..] } => first.Text,
        _ => null,
    };
}
