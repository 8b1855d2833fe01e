using System.Text.Json;
using Handbook.Base;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Migration;

/// <summary>The data sets of LLaMA-Factory: names that <c>dataset_info.json</c> explains.</summary>
internal static class LlamaFactoryData
{
    private const string Index = "dataset_info.json";

    private static readonly string[] s_read = ["file_name", "hf_hub_url", "ms_hub_url", "subset", "split", "num_samples", "formatting",
        "ranking", "columns", "tags"];

    // theirs, ours
    private static readonly (string Theirs, string Ours, string Usual)[] s_alpaca =
        [("prompt", "instruction", "instruction"), ("query", "input", "input"), ("response", "output", "output"), ("history", "history",
            "history"),
            ("system", "system", "system"), ("tools", "tools", "tools")];

    private static readonly (string Theirs, string Ours, string Usual)[] s_pairs =
        [("prompt", "instruction", "instruction"), ("query", "input", "input"), ("chosen", "chosen", "chosen"), ("rejected", "rejected",
            "rejected"),
            ("system", "system", "system"), ("history", "history", "history")];

    private static readonly (string Theirs, string Ours, string Usual)[] s_turns =
        [("messages", "messages", "messages"), ("chosen", "chosen", "chosen"), ("rejected", "rejected", "rejected"), ("system", "system",
            "system"),
            ("tools", "tools", "tools")];

    private static readonly (string Tag, string Usual, string Other)[] s_tags =
        [("role_tag", "from", "role"), ("content_tag", "value", "content"), ("user_tag", "human", "user"), ("assistant_tag", "gpt",
            "assistant"),
            ("observation_tag", "observation", "tool"), ("function_tag", "function_call", "function_call"), ("system_tag", "system",
                "system")];

    public static void Apply(MigrationDraft draft)
    {
        if (draft["dataset"] is not { } setting)
            return;
        var folder = draft["dataset_dir"]?.Text ?? "data";
        var index = folder == "ONLINE" ? null : Find(draft, folder);
        List<DatasetEntry> entries = [];
        foreach (var name in setting.Texts)
            if (index is not null && index.RootElement.TryGetProperty(name, out var info))
                entries.Add(Read(draft, setting, name, info, Path.GetDirectoryName(Place(draft, folder))!));
            else
            {
                entries.Add(new() { Id = name, Split = Slice(draft, "train") });
                if (folder != "ONLINE")
                    draft.Leave(setting.Line, $"dataset: {name}", index is null
                        ? $"{Path.Combine(folder, Index)} is not here, which says where its rows are and what its columns are called; id names them"
                        : $"{Index} has no such name; id names the file");
            }
        index?.Dispose();
        if (draft["eval_dataset"] is { } held)
            draft.Leave(held, "held-out rows come from the same mixture (dataset_mixture.test_split_size), or from a split of one data set");
        var size = draft.Number("val_size") is > 0 and var share ? share : (double?)null;
        draft.Set("dataset_mixture", new DatasetMixture
        {
            Datasets = entries,
            Seed = (int)(draft.Number("seed") ?? 42),
            TestSplitSize = size,
        }, from: setting);
        draft.Tell(size is null ? null : draft["val_size"]);
        draft.Tell(draft.Number("max_samples") is > 0 ? draft["max_samples"] : null);
        draft.Tell(draft["dataset_dir"]);
        if (size is not null && draft["eval_strategy"] is null && draft["evaluation_strategy"] is null && draft["do_eval"] is null)
            draft.Set("do_eval", true, "rows are held out");
        Masks(draft);
    }

    private static DatasetEntry Read(MigrationDraft draft, ForeignKey setting, string name, JsonElement info, string folder)
    {
        var isTurns = Text(info, "formatting") == "sharegpt";
        var isPairs = info.TryGetProperty("ranking", out var ranking) && ranking.ValueKind == JsonValueKind.True;
        var columns = new Dictionary<string, string>();
        var known = isTurns ? s_turns : isPairs ? s_pairs : s_alpaca;
        info.TryGetProperty("columns", out var named);
        foreach (var (theirs, ours, usual) in known)
            if (Text(named, theirs) is { } column && column != usual)
                columns[ours] = column;
        if (Text(named, "kto_tag") is { } label && label != "label")
            columns["label"] = label;
        // texts have one column
        if (draft.Method == TrainingMethod.Cpt)
        {
            columns.Clear();
            if ((Text(named, "prompt") ?? "instruction") is var text and not "text")
                columns["text"] = text;
        }
        if (columns.GetValueOrDefault("messages") == "conversations")
            columns.Remove("messages");         // read under its own name
        if (isTurns && info.TryGetProperty("tags", out var tags))
            foreach (var (tag, usual, other) in s_tags)
                if (Text(tags, tag) is { } said && said != usual && said != other)
                    draft.Leave(setting.Line, $"{name}: {tag}: {said}",
                        "human, user, gpt, assistant, system and tool are known; others are refused by their row");
        foreach (var picture in (string[])["images", "videos", "audios"])
            if (Text(named, picture) is { } column)
                draft.Leave(setting.Line, $"{name}: {picture}: {column}", "text alone is trained here");
        foreach (var other in info.EnumerateObject().Where(field => !s_read.Contains(field.Name)))
            draft.Leave(setting.Line, $"{name}: {other.Name}: {other.Value}", "data sets have no such setting here");
        if (named.ValueKind == JsonValueKind.Object && draft.Method != TrainingMethod.Cpt)
            foreach (var other in named.EnumerateObject().Where(field => field.Name is not ("kto_tag" or "images" or "videos" or "audios")
                && !known.Any(column => column.Theirs == field.Name)))
                draft.Leave(setting.Line, $"{name}: {other.Name}: {other.Value}", "rows of this layout have no such column here");
        var split = Text(info, "split") ?? "train";
        var id = Text(info, "hf_hub_url") ?? (Text(info, "file_name") is { } file ? Path.Combine(folder, file) : null)
            ?? Text(info, "ms_hub_url") ?? name;
        return new()
        {
            Id = id,
            Config = Text(info, "subset"),
            Split = info.TryGetProperty("num_samples", out var most) && most.TryGetInt32(out var count) ? $"{split}[:{count}]"
                : Slice(draft, split),
            ColumnMapping = columns.Count > 0 ? columns : null,
        };
    }

    private static string Slice(MigrationDraft draft, string split) =>
        draft.Number("max_samples") is > 0 and var most ? $"{split}[:{(int)most}]" : split;

    private static void Masks(MigrationDraft draft)
    {
        if (draft.Method != TrainingMethod.Sft)
            return;
        if (draft.Flag("train_on_prompt") == true)
            draft.Set("completion_only_loss", false, from: draft["train_on_prompt"]);
        else
            draft.Set("assistant_only_loss", true, "train_on_prompt: false: answers alone are learnt", draft["train_on_prompt"]);
    }

    private static string Place(MigrationDraft draft, string folder) =>
        new[] { folder, Path.Combine(draft.Folder, folder), draft.Folder }.Select(place => Path.Combine(place, Index))
            .FirstOrDefault(File.Exists) ?? Path.Combine(folder, Index);

    private static JsonDocument? Find(MigrationDraft draft, string folder)
    {
        var path = Place(draft, folder);
        try
        {
            return File.Exists(path) ? JsonDocument.Parse(File.ReadAllText(path), new()
            {
                AllowTrailingCommas = true,
                CommentHandling = JsonCommentHandling.Skip
            })
                : null;
        }
        catch (JsonException problem)
        {
            throw new InputException($"{path}:{problem.LineNumber + 1}:{problem.BytePositionInLine + 1} is not JSON: {JsonMistake.Of(problem)}", fix: "correct it, or remove it");
        }
    }

    private static string? Text(JsonElement map, string name) => map.ValueKind == JsonValueKind.Object
        && map.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
}
