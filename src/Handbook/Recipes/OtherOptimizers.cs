namespace Handbook.Recipes;

/// <summary>The optimisers of the Python handbook that this version does not have.</summary>
internal static class OtherOptimizers
{
    public static IReadOnlySet<string> Known { get; } = new HashSet<string>
    {
        "adamw_anyprecision", "adamw_torch_4bit", "ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit",
        "galore_adamw_8bit", "galore_adafactor", "galore_adamw_layerwise", "galore_adamw_8bit_layerwise", "galore_adafactor_layerwise",
        "apollo_adamw_layerwise", "lomo", "adalomo", "grokadamw", "schedule_free_radam", "schedule_free_sgd", "stable_adamw",
    };
}
