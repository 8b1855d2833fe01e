using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Base.Files;
using Handbook.Models.Families;

namespace Handbook.Models.Adapters;

/// <summary><c>adapter_config.json</c> of PEFT: read from any release, written with the keys of 0.20.</summary>
internal static class AdapterConfigFile
{
    /// <summary>Its name in a folder.</summary>
    public const string Name = "adapter_config.json";

    /// <summary>Keys that change what is computed and that are not built, with the values under which they do not.</summary>
    private static readonly (string Key, string What)[] s_refused =
    [
        ("layer_replication", "layers that are used several times"),
        ("use_qalora", "adapters over groups of inputs"), ("use_bdlora", "block-diagonal adapters"),
        ("alora_invocation_tokens", "adapters that begin behind certain tokens"), ("arrow_config", "adapters chosen by token"),
        ("velora_config", "compressed activations"), ("monteclora_config", "sampled adapters"),
    ];

    /// <summary>Every key that PEFT has written for LoRA.</summary>
    private static readonly HashSet<string> s_known =
    [
        .. Empty().Select(pair => pair.Key), .. s_refused.Select(pair => pair.Key), "base_model_name_or_path", "revision", "r", "lora_alpha",
        "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern",
        "modules_to_save", "trainable_token_indices", "use_rslora", "use_dora", "lora_bias", "ensure_weight_tying", "task_type",
        "fan_in_fan_out", "init_lora_weights", "inference_mode", "peft_type", "bias", "merge_weights", "enable_lora", "runtime_config",
    ];

    /// <summary>The config of an adapter's folder.</summary>
    /// <exception cref="InputException">The file is broken, or asks for something that is not built.</exception>
    public static AdapterConfig Read(string folder)
    {
        var file = Path.Combine(folder, Name);
        var json = PublishedJson.ReadIfThere(file) ?? throw new InputException($"{file} does not exist",
            why: "it says which layers have an adapter, and of which rank", fix: "name a folder that PEFT or this program wrote");
        var reader = new ConfigReader(json, file);
        var config = Read(json, reader);
        reader.ThrowIfAnyProblem();
        return config;
    }

    /// <summary>Keys with a value that no release up to 0.20 writes: a later one may compute something else by them.</summary>
    private static ValueList<string> Unknown(JsonObject json) => [.. from pair in json
        where pair.Value is { } value && !IsNothing(value) && !s_known.Contains(pair.Key)
        select pair.Key];

    private static AdapterConfig Read(JsonObject json, ConfigReader reader)
    {
        if (reader.Text("peft_type") is { } type && type != "LORA")
            reader.Problem($"peft_type is {type}, and only LORA is read");
        if (reader.Text("task_type") is { } task && task is not ("CAUSAL_LM" or "SEQ_CLS"))
            reader.Problem($"task_type is {task}, an adapter of {(task switch
            {
                "TOKEN_CLS" => "a model that labels tokens",
                "SEQ_2_SEQ_LM" => "an encoder with a decoder",
                "QUESTION_ANS" => "a model that finds answers in texts",
                "FEATURE_EXTRACTION" => "a model without a head",
                _ => "nothing that is known",
            })}, and only CAUSAL_LM (predicts tokens) and SEQ_CLS (scores texts) are read");
        foreach (var (key, what) in s_refused)
            if (json[key] is { } value && !IsNothing(value))
                reader.Problem($"{key} asks for {what}, which is not built");
        return new()
        {
            Json = json,
            UnknownKeys = Unknown(json),
            Rank = reader.SizeOr(8, "r"),
            Alpha = reader.PositiveNumber(8, "lora_alpha"),
            Dropout = reader.Dropout(0, "lora_dropout"),
            Targets = NamesOf("target_modules", json, reader),
            TargetParameters = Texts("target_parameters", json["target_parameters"], reader),
            Excluded = NamesOf("exclude_modules", json, reader),
            Layers = Numbers("layers_to_transform", json["layers_to_transform"], reader),
            LayersPattern = Texts("layers_pattern", json["layers_pattern"], reader),
            RankPattern = Patterns("rank_pattern", json, reader, whole: true),
            AlphaPattern = Patterns("alpha_pattern", json, reader, whole: false),
            ModulesToSave = Texts("modules_to_save", json["modules_to_save"], reader),
            TrainedTokens = Tokens("trainable_token_indices", json, reader),
            Bias = ReadBias(reader),
            UseRslora = reader.Flag(false, "use_rslora"),
            UseDora = reader.Flag(false, "use_dora"),
            LoraBias = reader.Flag(false, "lora_bias"),
            TieWeights = reader.Flag(false, "ensure_weight_tying"),
            TaskType = reader.Text("task_type") ?? "CAUSAL_LM",
            BaseModel = AtRevision(reader.Text("base_model_name_or_path"), reader.Text("revision")),
            Revision = reader.Text("revision"),
            Init = ReadInit(json["init_lora_weights"], reader),
        };
    }

    /// <summary>The model's name with the revision behind it, where it is one of the hub and not on this machine by itself.</summary>
    private static string? AtRevision(string? name, string? revision) => name is { Length: > 0 } && HubCache.IsName(name)
        && HubCache.Split(name).Revision is null && revision is not (null or "" or HubCache.Main) && HubCache.IsRevision(revision)
        && !ModelFolder.IsLocal(name) ? $"{name}@{revision}" : name;

    private static AdapterBias ReadBias(ConfigReader reader)
    {
        var word = reader.Text("bias") ?? "none";
        foreach (var bias in Enum.GetValues<AdapterBias>())
            if (Word(bias) == word)
                return bias;
        reader.Problem($"bias is {word}, but must be none, all or lora_only");
        return AdapterBias.None;
    }

    /// <summary>A key as messages name it: that of a file, or that of a recipe, where two have another name.</summary>
    /// <param name="file">The file; null for a recipe.</param>
    public static string Key(string? file, string key) => file is not null ? $"{file}: {key}"
        : key is "target_modules" or "target_parameters" or "modules_to_save" ? "lora_" + key : key;

    /// <summary>PEFT's word for it.</summary>
    public static string Word(AdapterBias bias) => bias switch
    {
        AdapterBias.All => "all",
        AdapterBias.LoraOnly => "lora_only",
        _ => "none",
    };

    /// <summary>What changed the weights below when it began cannot be read: nobody knows the changed weights.</summary>
    private static AdapterInit ReadInit(JsonNode? value, ConfigReader reader)
    {
        if (value is JsonValue text && text.TryGetValue<string>(out var name) && (name.StartsWith("pissa", StringComparison.Ordinal)
            || name is "olora" or "loftq" or "corda" or "lora_ga"))
            reader.Problem($"init_lora_weights is {name}: the adapter belongs to weights that were changed when it began, and they are not "
                + "in this folder; save it with path_initial_model_for_weight_conversion in PEFT");
        return AdapterInit.Default;
    }

    /// <summary>The file of an adapter, with the keys in PEFT's layout.</summary>
    /// <param name="baseModel">The model that it was trained on.</param>
    public static void Write(string folder, AdapterConfig config, Family family, string baseModel)
    {
        var json = config.Json?.DeepClone().AsObject() ?? Empty();
        // PEFT has a revision apart from the name
        var (name, revision) = HubCache.IsName(baseModel) && !ModelFolder.IsLocal(baseModel) ? HubCache.Split(baseModel) : (baseModel,
            null);
        json["base_model_name_or_path"] = name;
        json["revision"] = revision ?? config.Revision;
        json["r"] = config.Rank;
        json["lora_alpha"] = Number(config.Alpha);
        json["lora_dropout"] = config.Dropout;
        json["target_modules"] = Node(config.Targets ?? ModuleNames.Of(family.AdapterTargets ?? []));
        json["target_parameters"] = config.TargetParameters.Count == 0 ? null
            : Array(config.TargetParameters.Select(name => (JsonNode)name));
        json["exclude_modules"] = config.Excluded is null ? null : Node(config.Excluded);
        json["layers_to_transform"] = config.Layers.Count == 0 ? null : Array(config.Layers.Select(layer => (JsonNode)layer));
        json["layers_pattern"] = config.LayersPattern.Count == 0 ? null : Array(config.LayersPattern.Select(name => (JsonNode)name));
        json["rank_pattern"] = Node(config.RankPattern);
        json["alpha_pattern"] = Node(config.AlphaPattern);
        json["modules_to_save"] = config.ModulesToSave.Count == 0 ? null : Array(config.ModulesToSave.Select(name => (JsonNode)name));
        json["trainable_token_indices"] = Node(config.TrainedTokens);
        json["use_rslora"] = config.UseRslora;
        json["use_dora"] = config.UseDora;
        json["lora_bias"] = config.LoraBias;
        json["ensure_weight_tying"] = config.TieWeights;
        json["task_type"] = config.TaskType;
        json["fan_in_fan_out"] = family.StoresTransposed;
        json["init_lora_weights"] = true;
        json["inference_mode"] = true;
        json["peft_type"] = "LORA";
        json["bias"] = Word(config.Bias);
        PublishedJson.Write(Path.Combine(folder, Name), json);
    }

    /// <summary>The keys of PEFT 0.20 that say nothing.</summary>
    private static JsonObject Empty() => new()
    {
        ["alora_invocation_tokens"] = null,
        ["arrow_config"] = null,
        ["auto_mapping"] = null,
        ["corda_config"] = null,
        ["eva_config"] = null,
        ["layer_replication"] = null,
        ["loftq_config"] = new JsonObject(),
        ["lora_ga_config"] = null,
        ["megatron_config"] = null,
        ["megatron_core"] = "megatron.core",
        ["monteclora_config"] = null,
        ["peft_version"] = "0.20.0",
        ["qalora_group_size"] = 16,
        ["use_bdlora"] = null,
        ["use_qalora"] = false,
        ["velora_config"] = null,
    };

    private static bool IsNothing(JsonNode value) => value switch
    {
        JsonArray list => list.Count == 0,
        JsonObject map => map.Count == 0,
        JsonValue one => one.TryGetValue<bool>(out var flag) && !flag,
        _ => false,
    };

    private static JsonNode Number(double value) => value == Math.Floor(value) && Math.Abs(value) < 1e9 ? (long)value : value;

    private static JsonNode Node(ModuleNames names) => names.IsAllLinear ? ModuleNames.AllLinearWord
        : names.Pattern is { } pattern ? pattern : Array(names.Names.Select(name => (JsonNode)name));

    private static JsonObject Node(IReadOnlyDictionary<string, double> patterns) =>
        new(patterns.Select(pair => KeyValuePair.Create<string, JsonNode?>(pair.Key, Number(pair.Value))));

    private static JsonObject? Node(IReadOnlyDictionary<string, ValueList<int>> tokens) => tokens.Count == 0 ? null
        : new JsonObject(tokens.Select(pair => KeyValuePair.Create<string, JsonNode?>(pair.Key,
            Array(pair.Value.Select(id => (JsonNode)id)))));

    private static JsonArray Array(IEnumerable<JsonNode> items) => [.. items];

    private static ModuleNames? NamesOf(string key, JsonObject json, ConfigReader reader)
    {
        var names = Texts(key, json[key], reader);
        return json[key] is null ? null : json[key] is JsonArray ? ModuleNames.Of(names) : ModuleNames.Of(names.Count > 0 ? names[0] : "");
    }

    /// <summary>One text, or a list of them.</summary>
    private static ValueList<string> Texts(string key, JsonNode? node, ConfigReader reader) =>
        Items<string>(key, node, reader, "a name, or a list of names", text => text.Length > 0);

    /// <summary>One number, or a list of them.</summary>
    private static ValueList<int> Numbers(string key, JsonNode? node, ConfigReader reader) =>
        Items<int>(key, node, reader, "a number, or a list of numbers, from 0", number => number >= 0);

    private static ValueList<T> Items<T>(string key, JsonNode? node, ConfigReader reader, string what, Func<T, bool> fits)
    {
        var items = new List<T>();
        foreach (var item in node is JsonArray list ? list : node is null ? [] : (IEnumerable<JsonNode?>)[node])
            if (item is JsonValue value && value.TryGetValue<T>(out var one) && fits(one))
                items.Add(one);
            else
                reader.Problem($"{key} has {item?.ToJsonString() ?? "null"}, but must be {what}");
        return [.. items];
    }

    private static Dictionary<string, ValueList<int>> Tokens(string key, JsonObject json, ConfigReader reader) => json[key] switch
    {
        JsonObject map => map.ToDictionary(pair => pair.Key, pair => Numbers(key, pair.Value, reader)),
        { } list => new() { ["embed_tokens"] = Numbers(key, list, reader) },
        null => [],
    };

    private static Dictionary<string, double> Patterns(string key, JsonObject json, ConfigReader reader, bool whole)
    {
        var result = new Dictionary<string, double>();
        if (json[key] is { } node and not JsonObject)
            reader.Problem($"{key} is {node.ToJsonString()}, but must give patterns numbers");
        foreach (var (pattern, value) in json[key] as JsonObject ?? [])
            if (ModuleNames.Problem(pattern) is { } problem)
                reader.Problem($"{key} has \"{pattern}\", which is not a regular expression: {problem}");
            else if (value is JsonValue one && one.TryGetValue<double>(out var number) && number > 0
                && (!whole || number == Math.Floor(number) && number <= int.MaxValue))
                result[pattern] = number;
            else
                reader.Problem($"{key} gives {pattern} the value {value?.ToJsonString() ?? "null"}, but must give it a "
                    + (whole ? "whole number, 1 or more" : "number above 0"));
        return result;
    }
}
