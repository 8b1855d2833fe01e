using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Runs;

/// <summary>One principle: how to ask for a critique, and how to ask for a better answer.</summary>
internal sealed record Principle(string Name, string Critique, string Revision);

/// <summary>Principles by which a model judges and revises its own answers. Bai et al. 2022, arXiv:2212.08073.</summary>
/// <param name="Principles">At least one.</param>
/// <param name="Exemplars">Turns that stand before every conversation, to show what is meant; may be empty.</param>
/// <param name="Text">The file as it is, for provenance.</param>
internal sealed record Constitution(IReadOnlyList<Principle> Principles, IReadOnlyList<JsonObject> Exemplars, string Text)
{
    /// <summary>Reads a constitution: YAML or JSON with <c>principles</c> (each <c>critique</c>, <c>revision</c> and perhaps <c>name</c>)
    /// and perhaps <c>exemplars</c> (lists of turns).</summary>
    /// <exception cref="InputException">The file is missing or not of that form; every problem is reported, with its line.</exception>
    public static Constitution Load(string path)
    {
        if (!File.Exists(path))
            throw new InputException($"there is no constitution {path}",
                fix: "name a YAML file with principles, such as recipes/constitutional-ai/constitution.yaml");
        var text = File.ReadAllText(path, new UTF8Encoding(false, throwOnInvalidBytes: false)).TrimStart('\uFEFF');
        var report = new Diagnostics(path);
        var root = YamlReader.Read(text, path, report);
        var (principles, exemplars) = (new List<Principle>(), new List<JsonObject>());
        // The names that are in use: ours, and those of the published data generator.
        if (root is MapNode map)
        {
            foreach (var entry in map.Entries.Where(entry =>
                entry.Key.Text is not ("principles" or "constitutions" or "exemplars" or "system_chat")))
                report.ErrorAt(entry.Key.Span, $"{entry.Key.Text} is no part of a constitution", fix: "it has principles and exemplars");
            foreach (var item in Items(map["principles"] ?? map["constitutions"], "principles", report))
                if (Read(item, principles.Count + 1, report) is { } principle)
                    principles.Add(principle);
            foreach (var item in Items(map["exemplars"] ?? map["system_chat"], "exemplars", report))
                exemplars.AddRange(Turns(item, report));
        }
        else if (!report.HasErrors)
            report.ErrorAt(root?.Span, "a constitution is a map",
                fix: "begin with `principles:`, and `- critique: …` with `revision: …` below it");
        if (principles.Count == 0 && !report.HasErrors)
            report.ErrorAt(null, "the constitution has no principle",
                fix: "add `principles:`, and `- critique: …` with `revision: …` below it");
        return report.HasErrors ? throw new InputException(string.Join('\n', report.ToString().TrimEnd().Split('\n')))
            : new(principles, exemplars, text);
    }

    private static IReadOnlyList<RecipeNode> Items(RecipeNode? node, string name, Diagnostics report)
    {
        if (node is ListNode list)
            return list.Items;
        if (node is not null and not ScalarNode { IsNull: true })
            report.ErrorAt(node.Span, $"{name} is not a list", fix: "begin each entry with `- `");
        return [];
    }

    private static Principle? Read(RecipeNode node, int number, Diagnostics report)
    {
        if (node is not MapNode map)
        {
            report.ErrorAt(node.Span, "a principle is a map with critique and revision",
                fix: "write `- critique: …`, and `revision: …` below it");
            return null;
        }
        foreach (var entry in map.Entries.Where(entry => entry.Key.Text is not ("name" or "critique" or "critic" or "revision")))
            report.ErrorAt(entry.Key.Span, $"{entry.Key.Text} is no part of a principle", fix: "it has name, critique and revision");
        var (critique, revision) = (Words("critique", map["critique"] ?? map["critic"]), Words("revision", map["revision"]));
        return critique is null || revision is null ? null
            : new(map["name"] is ScalarNode { IsNull: false } name ? name.Text : $"principle {number}", critique, revision);

        string? Words(string key, RecipeNode? value)
        {
            if (value is ScalarNode { IsNull: false } words && words.Text.Trim().Length > 0)
                return words.Text.Trim();
            report.ErrorAt((value ?? map).Span, $"the principle has no {key}", fix: $"add `{key}: …`, what the model is asked");
            return null;
        }
    }

    private static IEnumerable<JsonObject> Turns(RecipeNode node, Diagnostics report)
    {
        if (node is not ListNode list)
        {
            report.ErrorAt(node.Span, "an exemplar is a list of turns", fix: "write `- - role: user`, and `content: …` below role");
            yield break;
        }
        foreach (var item in list.Items)
            if (item is MapNode map && map["role"] is ScalarNode { Text: "user" or "assistant" or "system" } role
                && map["content"] is ScalarNode content)
                yield return new JsonObject { ["role"] = role.Text, ["content"] = content.Text.Trim() };
            else
                report.ErrorAt(item.Span, "a turn has a role (user, assistant or system) and a content",
                    fix: "write `role: user` and `content: …`");
    }
}
