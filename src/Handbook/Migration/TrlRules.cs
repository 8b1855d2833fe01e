using Handbook.Recipes;
using Handbook.Training.Plans;

namespace Handbook.Migration;

/// <summary>The settings of TRL's trainers and scripts. Nearly all are keys of recipes; these are not.</summary>
internal static class TrlRules
{
    private static readonly MigrationRules s_rules = new MigrationRules()
        .Reports().Rewards().On("datasets", Datasets)
        .Read("test_split_size")
        .None("settings are read from a file whose name ends in .yaml or .yml", "config")
        .None("said to the launcher: handbook launch --config_file", "config_file")
        .None("not needed: rows are read from disk as they are needed", "streaming")
        .None("not needed: a model that is named is read from its folder, whichever processor computes", "device_map")
        .None("answers are sampled in this process, with the weights that are trained", "use_vllm", "vllm_server_host");

    public static void Apply(MigrationDraft draft, IReadOnlyList<ForeignKey> settings)
    {
        s_rules.Apply(draft, settings);
        RewardRules.Model(draft);
        if (draft["bf16"] is null && draft["fp16"] is null)
            draft.Default("bf16", true, "TRL computes in bfloat16 where nothing is said");
    }

    // `datasets` with path, name, split and columns is dataset_mixture under other names
    private static void Datasets(MigrationDraft draft, ForeignKey setting)
    {
        var entries = new List<DatasetEntry>();
        foreach (var entry in ForeignMap.Each(draft, setting))
        {
            entries.Add(new()
            {
                Id = entry.Text("path") ?? "",
                Config = entry.Text("name"),
                Split = entry.Text("split") ?? "train",
                Columns = entry["columns"] is { } columns ? columns.Texts : null,
            });
            entry.LeaveOthers(draft, "path", "name", "split", "columns");
        }
        draft.Set("dataset_mixture", new DatasetMixture { Datasets = entries, TestSplitSize = draft.Number("test_split_size") });
        draft.Tell(draft["test_split_size"]);
    }
}
