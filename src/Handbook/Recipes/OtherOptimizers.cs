namespace Handbook.Recipes;

/// <summary>The optimisers of the Python handbook that this version does not have.</summary>
internal static class OtherOptimizers
{
    public static IReadOnlySet<string> Known { get; } = new HashSet<string>
    {
        "rmsprop", "rmsprop_bnb", "rmsprop_bnb_8bit", "rmsprop_bnb_32bit", "sgd", "adagrad", "adafactor", "adamw_anyprecision", "adamw_torch_4bit",
        "adamw_torch_8bit", "adamw_bnb_8bit", "adamw_8bit", "paged_adamw_8bit", "ademamix", "ademamix_8bit", "paged_ademamix_32bit", "paged_ademamix_8bit",
        "lion_8bit", "lion_32bit", "paged_lion_32bit", "paged_lion_8bit", "galore_adamw", "galore_adamw_8bit", "galore_adafactor", "lomo", "adalomo",
        "grokadamw", "schedule_free_radam", "schedule_free_adamw", "schedule_free_sgd", "apollo_adamw", "stable_adamw", "adamw_torch_xla", "adamw_torch_npu_fused", "adamw_apex_fused",
    };
}
