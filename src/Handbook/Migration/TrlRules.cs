using Handbook.Recipes;
using Handbook.Training.Plans;

namespace Handbook.Migration;

/// <summary>The settings of TRL's trainers and scripts. Nearly all are keys of recipes; these are not.</summary>
internal static class TrlRules
{
    private static readonly MigrationRules s_rules = new MigrationRules()
        .Reports().On("datasets", Datasets)
        .Read("test_split_size")
        .None("not needed: rows are read from disk as they are needed", "streaming")
        .None("not needed: a model that is named is read from its folder, whichever processor computes", "device_map")
        .None("answers are sampled in this process, with the weights that are trained", "use_vllm", "vllm_server_host");

    public static void Apply(MigrationDraft draft, IReadOnlyList<ForeignKey> settings)
    {
        s_rules.Apply(draft, settings.Where(setting => setting.Name is not ("config" or "config_file")));
        if (draft["bf16"] is null && draft["fp16"] is null)
            draft.Default("bf16", true, "TRL computes in bfloat16 where nothing is said");
    }

    // `datasets` with path, name, split and columns is dataset_mixture under other names
    private static void Datasets(MigrationDraft draft, ForeignKey setting)
    {
        if (setting.Value is not ListNode list)
        {
            draft.Leave(setting, "not a list of data sets");
            return;
        }
        var entries = new List<DatasetEntry>();
        foreach (var item in list.Items.OfType<MapNode>())
        {
            var entry = new ForeignMap(item);
            entries.Add(new()
            {
                Id = entry.Text("path") ?? "",
                Config = entry.Text("name"),
                Split = entry.Text("split") ?? "train",
                Columns = entry["columns"] is { } columns ? columns.Texts : null,
            });
            entry.LeaveOthers(draft, "path", "name", "split", "columns");
        }
        draft.Set("dataset_mixture", new DatasetMixture { Datasets = entries, TestSplitSize = draft["test_split_size"]?.Number });
    }
}
