using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Base.Keys;
using Handbook.Models;
using Handbook.Training.Methods.Dpo;
using Handbook.Training.Plans;

namespace Handbook.Recipes;

/// <summary>What a good recipe is told all the same: older names, older defaults, settings that mean less here than they seem to.</summary>
internal static class RecipeNotes
{
    private static readonly string[] s_older = ["evaluation_strategy", "datasets_mixer", "no_cuda", "push_to_hub_model_id",
        "max_target_length"];
    private static readonly string[] s_mixerOnly = ["dataset_splits", "dataset_configs", "preprocessing_num_workers"];
    private static readonly string[] s_mixtureOnly = ["dataset_train_split", "dataset_test_split", "dataset_num_proc"];

    private static readonly (string Older, string Newer)[] s_olderLosses =
    [
        ("kto_pair", "the same idea for answers judged one by one is `handbook kto`"),
        ("aot_pair", "it is called aot_unpaired now"),
    ];

    public static void Explain(Recipe recipe, RecipeEntries entries, Diagnostics report)
    {
        var mixer = recipe.Dialect == RecipeDialect.Mixer;
        foreach (var entry in entries.All.Where(entry => entry.FromFile && entry.Spelled != entry.Key.Name))
            if (s_older.Contains(entry.Spelled) || !mixer && entry.Spelled == "max_seq_length")
                report.Note(entry.KeySpan, $"{entry.Spelled} is the older name of {entry.Key.Name}");

        if (entries.All.FirstOrDefault(entry => entry.FromFile && (mixer ? s_mixtureOnly : s_mixerOnly).Contains(entry.Spelled)
            && KeyEffects.Unmet(recipe, entry.Key.Name) is null) is { } foreign)
            report.Note(foreign.KeySpan, $"{foreign.Spelled} belongs to the {(mixer ? "newer" : "older")} way of writing recipes; " +
                (mixer ? "dataset_mixer decides, and the older defaults hold" : "without dataset_mixer the newer defaults hold"));

        if (mixer && entries["packing"] is null && recipe.Definition.ReadsTexts)
            report.Note(entries["dataset_mixer"]!.KeySpan,
                "packing is on, as recipes with dataset_mixer always packed; `packing: false` turns it off");
        if (!mixer && entries["bf16"] is null && entries["fp16"] is null)
            report.Note(null, "bf16 is not set, so everything is computed in float32; "
                + "`bf16: true` saves memory, and time on GPUs and on processors with fast bfloat16 (`handbook info`)");
        if (entries["loss_type"] is { } losses)
            foreach (var (older, newer) in s_olderLosses.Where(loss => recipe.Preference.LossType?.Contains(loss.Older) == true))
                report.Note(losses.KeySpan, $"{older} is a loss of older releases; {newer}");
        if (entries["rpo_alpha"] is { } rpo && recipe.Preference.RpoAlpha is { } alpha
            && !recipe.Preference.LossesOr("sigmoid").Contains("sft"))
            report.Note(rpo.KeySpan, $"rpo_alpha: {YamlWriter.Flow(alpha)} is written {DpoChecks.RpoAsLoss(recipe.Preference)} in "
                + "newer releases");
        if (entries["reference_free"] is { } free && recipe.Preference.ReferenceFree)
            report.Note(free.KeySpan, "reference_free takes the reference's log-probabilities as 0; handbook cpo trains without a "
                + "reference as its paper means it");
        if (entries["model_revision"] is { } revision && recipe.Model is
            {
                ModelRevision: not (null or "" or HubCache.Main),
                ModelNameOrPath: { } named
            }
            && !recipe.Model.IsElsewhere())
            report.Note(revision.KeySpan, $"model_revision has no effect here: {named} is a folder on this machine");
        if (entries["base_model_revision"] is { } below && recipe.Model is { BaseModelRevision: { Length: > 0 }, ModelNameOrPath: { } model }
            && ModelFolder.TryFind(model) is { } folder && !ModelFolder.IsAdapter(folder))
            report.Note(below.KeySpan, $"base_model_revision has no effect here: {model} is no adapter");
        if (recipe.Data.Packing && recipe.Data.MaxLength is { } block
            && recipe.Data.MaxTokens is { } bin && bin < block)
            report.Warning("max_tokens", $"is {bin}, less than one block of max_length {block}",
                why: "a block is never cut, so it is computed alone", fix: $"set max_tokens: {block} or more");
    }
}
