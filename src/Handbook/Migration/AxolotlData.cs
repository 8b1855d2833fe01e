using System.Globalization;
using Handbook.Recipes;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Migration;

/// <summary>The data sets of Axolotl: each with a type that says what its columns are called and how they were written into a
/// prompt.</summary>
internal static class AxolotlData
{
    private const string Alpaca = "its prompts had Alpaca's own headings there; here the chat template renders them";

    private static readonly string[] s_read =
    [
        "path", "name", "split", "type", "data_files", "ds_type", "shards", "field", "field_messages", "field_chosen", "field_rejected",
        "field_system", "field_tools", "field_human", "field_model", "roles_to_train", "text_column", "conversation",
            "message_property_mappings",
        "message_field_role", "message_field_content", "roles", "trust_remote_code", "train_on_eos", "train_on_eot", "chat_template",
    ];

    // the columns of each type that are called otherwise here: "ours=theirs,…"; nothing where they have our names
    private static readonly Dictionary<string, string> s_columns = new()
    {
        ["alpaca"] = "",
        ["alpaca_instruct"] = "",
        ["alpaca_chat"] = "",
        ["alpaca_w_system"] = "",
        ["alpaca_chat.load_qa"] = "prompt=question,completion=answer",
        ["gpteacher"] = "output=response",
        ["oasst"] = "instruction=INSTRUCTION,output=RESPONSE",
        ["summarizetldr"] = "prompt=article,completion=summary",
        ["sharegpt"] = "",
        ["chat_template"] = "",
        ["messages"] = "",
        ["completion"] = "",
        ["pretrain"] = "",
        ["intel"] = "prompt=question",
        ["argilla"] = "prompt=instruction,chosen=chosen_response,rejected=rejected_response",
        ["argilla_chat"] = "",
        ["icr"] = "prompt=input",
        ["prompt_pairs"] = "",
        ["ultra"] = "",
        ["default"] = "",
        ["passthrough"] = "",
        ["kto.argilla"] = "prompt=instruction",
        ["kto.intel"] = "prompt=question",
        ["kto.argilla_chat"] = "",
        ["kto.prompt_pairs"] = "",
        ["kto.ultra"] = "",
    };

    /// <summary>Whether every data set is plain text.</summary>
    public static bool IsText(MigrationDraft draft) => Entries(draft["datasets"]).ToArray() is { Length: > 0 } entries
        && entries.All(entry => entry.Text("type") is { } type && type.Split('.', ':')[0] is "completion" or "pretrain");

    public static void Apply(MigrationDraft draft)
    {
        if ((draft["pretraining_dataset"] ?? draft["datasets"]) is not { } setting)
            return;
        var held = draft["val_set_size"]?.Number is > 0 and var size ? size : (double?)null;
        List<DatasetEntry> entries = [];
        List<string> comments = [];
        foreach (var entry in Entries(setting))
            entries.AddRange(Read(draft, entry, comments));
        if (setting.Text is { } path)
            entries.Add(new() { Id = path });
        if (draft["test_datasets"] is { } test)
        {
            if (entries is [var only] && Entries(test).ToArray() is [var other] && other.Text("path") == only.Id)
            {
                Single(draft, only, other.Text("split") ?? "test");
                return;
            }
            draft.Leave(test, "held-out rows come from the same mixture (dataset_mixture.test_split_size), or from a split of one data set");
        }
        draft.Set("dataset_mixture", new DatasetMixture
        {
            Datasets = entries,
            Seed = (int)(draft["seed"]?.Number ?? 42),
            TestSplitSize = held,
        }, comments.Count > 0 ? string.Join("; ", comments.Distinct()) : null);
        Masks(draft, entries.Count);
    }

    private static void Single(MigrationDraft draft, DatasetEntry entry, string held)
    {
        draft.Set("dataset_name", entry.Id);
        if (entry.Config is not null)
            draft.Set("dataset_config", entry.Config);
        draft.Set("dataset_train_split", entry.Split);
        draft.Set("dataset_test_split", held);
        if (entry.ColumnMapping is not null)
            draft.Set("column_mapping", entry.ColumnMapping);
        Masks(draft, 1);
    }

    private static IEnumerable<ForeignMap> Entries(ForeignKey? setting) => setting?.Value switch
    {
        ListNode list => list.Items.OfType<MapNode>().Select(item => new ForeignMap(item)),
        MapNode map => [new ForeignMap(map)],
        _ => [],
    };

    private static IEnumerable<DatasetEntry> Read(MigrationDraft draft, ForeignMap entry, List<string> comments)
    {
        var path = entry.Text("path") ?? "";
        var files = entry["data_files"]?.Texts ?? [];
        var named = path is "json" or "csv" or "parquet" or "text" or "arrow" && files.Count > 0 ? files : [path];
        if (named[0] == path && files.Count > 0)
            draft.Leave(entry["data_files"]!, "a data set is read by its splits; name the file itself to read it alone");
        var columns = Columns(draft, entry, comments);
        entry.LeaveOthers(draft, s_read);
        foreach (var name in (string[])["conversation", "chat_template", "train_on_eos", "train_on_eot"])
            if (entry[name] is { Text: not ("tokenizer_default" or "turn") } setting)
                draft.Leave(setting, name.StartsWith("train", StringComparison.Ordinal)
                    ? "the end token of every turn that is learnt is learnt"
                    : "one template renders all rows: the tokenizer's, or chat_template of the recipe");
        if (entry["roles"] is { } roles)
            draft.Leave(roles, "human, user, gpt, assistant, system and tool are known; others are refused by their row");
        if (entry["roles_to_train"] is { } train && !train.Texts.SequenceEqual(["assistant"]) && !train.Texts.SequenceEqual(["gpt"]))
            draft.Leave(train, "assistant_only_loss takes the assistant's turns, and without it all are learnt");
        return named.Select(id => new DatasetEntry
        {
            Id = id,
            Config = entry.Text("name"),
            Split = entry.Text("split") ?? "train",
            Weight = entry["shards"]?.Number is > 1 and var shards ? 1 / shards : 1,
            ColumnMapping = columns,
        });
    }

    private static Dictionary<string, string>? Columns(MigrationDraft draft, ForeignMap entry, List<string> comments)
    {
        var columns = new Dictionary<string, string>();
        if (entry["type"] is { Value: MapNode own })
            Own(draft, new(own), columns);
        else if (entry.Text("type") is { Length: > 0 } named)
            Named(draft, entry, named.Split(':')[0], columns, comments);
        Name("messages", "field_messages", "messages");
        Name("chosen", "field_chosen", "chosen");
        Name("rejected", "field_rejected", "rejected");
        Name("system", "field_system", "system");
        Name("tools", "field_tools", "tools");
        Name("text", entry["field"] is not null ? "field" : "text_column", "text");
        if (columns.GetValueOrDefault("messages") == "conversations")
            columns.Remove("messages");         // read under its own name
        return columns.Count > 0 ? columns : null;

        void Name(string ours, string setting, string usual)
        {
            if (entry.Text(setting) is { } theirs && theirs != usual)
                columns[ours] = theirs;
        }
    }

    private static void Named(MigrationDraft draft, ForeignMap entry, string type, Dictionary<string, string> columns,
        List<string> comments)
    {
        // chatml.intel, llama3.argilla: the template's name, then the layout's
        var parts = type.Split('.');
        var layout = parts[0] is "chatml" or "llama3" or "mistral" or "zephyr" or "gemma" or "phi_3" && parts.Length > 1 ? parts[^1]
            : parts[0] is "chat_template" or "user_defined" && parts.Length > 1 && draft.Method != TrainingMethod.Sft ? parts[^1] : type;
        var known = s_columns.GetValueOrDefault(draft.Method == TrainingMethod.Kto ? $"kto.{layout}" : layout)
            ?? s_columns.GetValueOrDefault(layout) ?? s_columns.GetValueOrDefault(parts[0]);
        if (known is null)
        {
            draft.Leave(entry["type"]!, "the columns of this type are not known here; column_mapping says which are the prompt and the answer");
            return;
        }
        foreach (var pair in known.Split(',', StringSplitOptions.RemoveEmptyEntries))
            columns[pair.Split('=')[0]] = pair.Split('=')[1];
        if (type.StartsWith("alpaca", StringComparison.Ordinal) || parts[0] is "gpteacher" or "oasst" or "summarizetldr")
            comments.Add($"{type}: {Alpaca}");
        else if (layout != type && parts[0] is not ("chat_template" or "user_defined"))
            comments.Add($"{type}: the tokenizer's template renders its rows, not {parts[0]}'s by name");
    }

    // a type of one's own: columns, and perhaps formats for what is written around them
    private static void Own(MigrationDraft draft, ForeignMap own, Dictionary<string, string> columns)
    {
        (string Field, string Ours)[] fields = draft.Method == TrainingMethod.Sft
            ? [("field_instruction", "instruction"), ("field_input", "input"), ("field_output", "output"), ("field_system", "system")]
            : [("field_prompt", "prompt"), ("field_chosen", "chosen"), ("field_rejected", "rejected"), ("field_completion", "completion"),
                ("field_label", "label"), ("field_system", "system")];
        foreach (var (field, ours) in fields)
            if (own.Text(field) is { } theirs && theirs != ours)
                columns[ours] = theirs;
        foreach (var name in (string[])["format", "no_input_format", "system_prompt", "system_format", "prompt_format", "chosen_format",
            "rejected_format", "completion_format"])
            if (own[name] is { } format)
                draft.Leave(format, "the chat template says what stands around a text");
        own.LeaveOthers(draft, [.. fields.Select(field => field.Field), "format", "no_input_format", "system_prompt", "system_format",
            "prompt_format", "chosen_format", "rejected_format", "completion_format"]);
    }

    private static void Masks(MigrationDraft draft, int sets)
    {
        if (draft.Method != TrainingMethod.Sft)
            return;
        var isOn = draft["train_on_inputs"] is { IsOn: true };
        var types = Entries(draft["datasets"]).Select(entry => entry.Text("type")?.Split('.', ':')[0] ?? "").ToArray();
        var chats = types.Count(type => type is "chat_template" or "sharegpt" or "messages");
        if (isOn)
            draft.Set("completion_only_loss", false);
        else if (chats == types.Length)
            draft.Set("assistant_only_loss", true, "train_on_inputs: false");
        else
            draft.Set("completion_only_loss", true, string.Create(CultureInfo.InvariantCulture,
                $"train_on_inputs: false{(chats > 0 ? $"; of {sets} sets those with conversations learn from every turn" : "")}"));
    }
}
