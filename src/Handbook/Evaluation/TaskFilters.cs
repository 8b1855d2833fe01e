using Handbook.Base;
using Handbook.Recipes;

namespace Handbook.Evaluation;

/// <summary>Reads <c>filter_list</c>.</summary>
internal sealed class TaskFilters(TaskValues keys, Diagnostics report)
{
    private static readonly Dictionary<string, FilterKind> s_kinds = new()
    {
        ["regex"] = FilterKind.Regex,
        ["take_first"] = FilterKind.TakeFirst,
        ["take_first_k"] = FilterKind.TakeFirstK,
        ["majority_vote"] = FilterKind.MajorityVote,
        ["remove_whitespace"] = FilterKind.RemoveWhitespace,
        ["lowercase"] = FilterKind.Lowercase,
        ["uppercase"] = FilterKind.Uppercase,
        ["map"] = FilterKind.Map,
    };

    public IReadOnlyList<FilterPipeline> Read(RecipeNode? node)
    {
        if (node is null or ScalarNode { IsNull: true })
            return [FilterPipeline.TakeFirst];
        var all = new List<FilterPipeline>();
        if (node is ListNode list)
            foreach (var item in list.Items)
                if (item is MapNode map && keys.Text(map, "name") is { } called && map["filter"] is ListNode steps)
                {
                    keys.Only(map, "filter_list", ["name", "filter"]);
                    if (all.Exists(other => other.Name == called))
                        report.ErrorAt(item.Span, $"two filters are called {called}", fix: "give each a name of its own");
                    all.Add(new(called, [.. steps.Items.Select(Step).OfType<AnswerFilter>()]));
                }
                else
                    report.ErrorAt(item.Span, "a filter has a name and a list of steps", fix: "write `- name: strict`, and `filter:` below name");
        else
            report.ErrorAt(node.Span, "filter_list is a list", fix: "begin each entry with `- name: …`");
        return all;
    }

    private AnswerFilter? Step(RecipeNode node)
    {
        if (node is not MapNode map || map["function"] is null)
        {
            report.ErrorAt(node.Span, "a step of a filter names its function", fix: "write `- function: take_first`");
            return null;
        }
        var before = report.Errors.Count;
        var kind = keys.OneOf(map, "function", s_kinds, FilterKind.TakeFirst);
        if (report.Errors.Count > before)
            return null;
        keys.Only(map, "filter", kind switch
        {
            FilterKind.Regex => ["function", "regex_pattern", "group_select", "fallback"],
            FilterKind.TakeFirstK => ["function", "k"],
            FilterKind.Map => ["function", "mapping_dict", "default_value"],
            _ => ["function"],
        });
        var pattern = kind == FilterKind.Regex
            ? keys.Pattern(map["regex_pattern"] as ScalarNode ?? new(map.Span, @"#### (\-?[0-9\.\,]+)", true), "regex_pattern") : null;
        return new(kind)
        {
            Pattern = pattern,
            Select = keys.Whole(map, "group_select", 0, least: -1),
            Fallback = keys.Text(map, kind == FilterKind.Map ? "default_value" : "fallback") ?? "[invalid]",
            Count = keys.Whole(map, "k", 1, least: 1),
            Map = (map["mapping_dict"] as MapNode)?.Entries.Where(entry => entry.Value is ScalarNode)
                .ToDictionary(entry => entry.Key.Text, entry => ((ScalarNode)entry.Value).Text) ?? [],
        };
    }
}
