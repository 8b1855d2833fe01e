using Handbook.Recipes;
using Handbook.Training.Methods;
using Handbook.Training.Plans;

namespace Handbook.Migration;

/// <summary>The data sets of Axolotl: each with a type that says what its columns are called and how they were written into a
/// prompt.</summary>
internal static class AxolotlData
{
    private const string Alpaca = "its prompts had Alpaca's own headings there; here the chat template renders them";

    private const string Ends = "the end token of every turn that is learnt is learnt";
    private const string Turns = "turns of role and content, or of from and value, are read as they are";

    private static readonly string[] s_read =
    [
        "path", "name", "split", "type", "data_files", "shards", "field", "field_messages", "field_chosen", "field_rejected",
        "field_system", "field_tools", "text_column", "ds_type", "trust_remote_code", "roles_to_train", "conversation", "chat_template",
        "message_property_mappings", "message_field_role", "message_field_content", "roles", "train_on_eos", "train_on_eot",
    ];

    /// <summary>The types whose columns are known.</summary>
    internal static IEnumerable<string> Types => s_columns.Keys;

    // the columns of each type that are called otherwise here: "ours=theirs,…"; nothing where they have our names
    private static readonly Dictionary<string, string> s_columns = new()
    {
        ["alpaca"] = "",
        ["alpaca_instruct"] = "",
        ["alpaca_chat"] = "",
        ["alpaca_w_system"] = "",
        ["alpaca_chat.load_qa"] = "instruction=question,output=answer",
        ["alpaca_chat.load_camel_ai"] = "instruction=message_1,output=message_2",
        ["alpaca_w_system.load_open_orca"] = "instruction=question,output=response,system=system_prompt",
        ["gpteacher"] = "output=response",
        ["oasst"] = "instruction=INSTRUCTION,output=RESPONSE",
        ["summarizetldr"] = "instruction=article,output=summary",
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
        ["kto.argilla_chat"] = "messages=completion",
        ["kto.prompt_pairs"] = "",
        ["kto.ultra"] = "",
    };

    /// <summary>Whether every data set is plain text.</summary>
    public static bool IsText(MigrationDraft draft) => Entries(draft["datasets"]).ToArray() is { Length: > 0 } entries
        && entries.All(IsText);

    private static bool IsText(ForeignMap entry) =>
        entry.Text("type") is { } type && type.Split('.', ':')[0] is "completion" or "pretrain";

    public static void Apply(MigrationDraft draft)
    {
        if ((draft["pretraining_dataset"] ?? draft["datasets"]) is not { } setting)
            return;
        var held = draft.Number("val_set_size") is > 0 and var size ? size : (double?)null;
        draft.Tell(held is null ? null : draft["val_set_size"]);
        List<DatasetEntry> entries = [];
        List<string> comments = [];
        if (setting is { Name: "pretraining_dataset", Text: { } path })
            entries.Add(new() { Id = path });
        else
            foreach (var entry in ForeignMap.Each(draft, setting))
                entries.AddRange(Read(draft, entry, comments));
        if (draft["test_datasets"] is { } test)
        {
            if (entries is [var only] && Entries(test).ToArray() is [var other] && other.Text("path") == only.Id)
            {
                Single(draft, setting, only, other.Text("split") ?? "test");
                draft.Tell(test);
                other.LeaveOthers(draft, "path", "split", "type");
                return;
            }
            draft.Leave(test, "held-out rows come from the same mixture (dataset_mixture.test_split_size), or from a split of one data set");
        }
        draft.Set("dataset_mixture", new DatasetMixture
        {
            Datasets = entries,
            Seed = (int)(draft.Number("seed") ?? 42),
            TestSplitSize = held,
        }, comments.Count > 0 ? string.Join("; ", comments.Distinct()) : null, setting);
        Masks(draft);
    }

    private static void Single(MigrationDraft draft, ForeignKey setting, DatasetEntry entry, string held)
    {
        draft.Set("dataset_name", entry.Id, from: setting);
        if (entry.Config is not null)
            draft.Set("dataset_config", entry.Config);
        draft.Set("dataset_train_split", entry.Split);
        draft.Set("dataset_test_split", held);
        if (entry.ColumnMapping is not null)
            draft.Set("column_mapping", entry.ColumnMapping);
        Masks(draft);
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
        Turned(draft, entry);
        foreach (var (name, why) in ((string, string)[])[("ds_type", "not needed: a file's own name says how it is read"),
            ("trust_remote_code", "not needed: no code of a data set is ever run")])
            if (entry[name] is { } known)
                draft.Leave(known, why);
        var shards = draft.Number(entry["shards"]);
        if (entry["shards"] is { Number: <= 1 } whole)
            draft.Leave(whole, "not needed: all rows are taken");
        return named.Select(id => new DatasetEntry
        {
            Id = id,
            Config = entry.Text("name"),
            Split = entry.Text("split") ?? "train",
            Weight = shards > 1 ? 1 / shards.Value : 1,
            ColumnMapping = columns,
        });
    }

    /// <summary>Tells what was said of the turns of conversations.</summary>
    private static void Turned(MigrationDraft draft, ForeignMap entry)
    {
        foreach (var setting in entry.Among(["conversation", "chat_template"]))
            draft.Leave(setting, setting.Text == "tokenizer_default" ? "not needed: the tokenizer's own template renders all rows"
                : "one template renders all rows: the tokenizer's, or chat_template of the recipe");
        foreach (var setting in entry.Among(["train_on_eos", "train_on_eot"]))
            draft.Leave(setting, setting.Text == "turn" ? $"not needed: {Ends}" : Ends);
        if (entry["roles"] is { } roles)
            draft.Leave(roles, "human, user, gpt, assistant, system and tool are known; others are refused by their row");
        if (entry["roles_to_train"] is { } train && !IsAssistants(draft, train))
            draft.Leave(train, draft.Method != TrainingMethod.Sft ? "not needed: the answers alone are learnt"
                : IsLearnt(draft) ? "train_on_inputs: true takes all turns"
                : "assistant_only_loss takes the assistant's turns, and without it all are learnt");
        string? role = entry.Text("message_field_role"), content = entry.Text("message_field_content");
        if (entry["message_property_mappings"] is { Value: MapNode map })
            (role, content) = (new ForeignMap(map).Text("role") ?? role, new ForeignMap(map).Text("content") ?? content);
        var isRead = (role ?? "role", content ?? "content") is ("role", "content") or ("from", "value")
            || (role, content) is ("from", null) or (null, "value");
        foreach (var setting in entry.Among(["message_property_mappings", "message_field_role", "message_field_content"]))
            draft.Leave(setting, isRead ? $"not needed: {Turns}" : $"{Turns}; rows with other names in them are refused: rename these "
                + "there");
    }

    // the one choice of turns that a key of ours makes: assistant_only_loss, whose comment says it
    private static bool IsAssistants(MigrationDraft draft, ForeignKey train) => draft.Method == TrainingMethod.Sft && !IsLearnt(draft)
        && train.Texts is ["assistant"] or ["gpt"];

    private static bool IsLearnt(MigrationDraft draft) => draft["train_on_inputs"] is { IsOn: true };

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

    /// <summary>What is learnt of a row. One key says it for all sets, so it must suit the layouts of all.</summary>
    private static void Masks(MigrationDraft draft)
    {
        var (inputs, isOn, sets) = (draft["train_on_inputs"], draft.Flag("train_on_inputs") == true, Entries(draft["datasets"]).ToArray());
        if (draft.Method != TrainingMethod.Sft)
            return;
        if (isOn)
        {
            draft.Set("completion_only_loss", false, from: inputs);
            return;
        }
        // rows of tokens have no type; their labels say what is learnt
        var whole = sets.Where(entry => IsText(entry) || entry["type"] is null).ToArray();
        if (whole.Length == 0)
            draft.Set("assistant_only_loss", true, sets.Any(entry => entry["roles_to_train"] is { } train && IsAssistants(draft, train))
                ? "train_on_inputs: false, roles_to_train: [assistant]" : "train_on_inputs: false", inputs);
        else if (whole.Length == sets.Length)
            draft.Tell(inputs);
        foreach (var entry in whole.Length < sets.Length ? whole : [])
            draft.Leave(entry["type"] ?? entry["path"] ?? inputs!, "rows without turns stand beside conversations, so that "
                + "assistant_only_loss cannot be said for all: every turn of those is learnt; two recipes, one after the other, learn the answers alone");
    }
}
