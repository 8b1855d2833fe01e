using System.Text.Json;
using Handbook.Data.Mixing;
using Handbook.Recipes;
using Handbook.Testing;
using Handbook.Training.Methods;

namespace Handbook.Cli.Tests.Recipes;

/// <summary>What recipes name, made small: a model of the same family, and data sets with the same configurations, splits and columns,
/// each found by
/// its published name.</summary>
internal sealed class StandIns(HandbookProcess handbook)
{
    private const string Width = "\"hidden_size\": 32, \"intermediate_size\": 64, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, ";

    // the beginning of a model's name; the config of its family; the shape that it is planned from
    private static readonly (string Name, string Config, string Shape)[] s_families =
    [
        ("gpt2", "{\"model_type\": \"gpt2\", \"n_embd\": 32, \"n_layer\": 2, \"n_head\": 4, \"n_positions\": 1024", "gpt2"),
        ("zephyr-7b-gemma", "{\"model_type\": \"gemma\", " + Width + "\"num_key_value_heads\": 4, \"head_dim\": 8", "gemma-7b"),
        ("gemma", "{\"model_type\": \"gemma\", " + Width + "\"num_key_value_heads\": 4, \"head_dim\": 8", "gemma-7b"),
        ("starc", "{\"model_type\": \"starcoder2\", " + Width + "\"num_key_value_heads\": 2, \"sliding_window\": 256", "starcoder2-15b"),
        ("Mixtral", "{\"model_type\": \"mixtral\", " + Width
            + "\"num_key_value_heads\": 2, \"num_local_experts\": 4, \"num_experts_per_tok\": 2",
            "mixtral-8x22b"),
        ("SmolLM3", "{\"model_type\": \"smollm3\", " + Width + "\"num_key_value_heads\": 2", "smollm3-3b"),
        ("SmolLM2-1.7B", "{\"model_type\": \"llama\", " + Width + "\"num_key_value_heads\": 4", "smollm2-1.7b"),
        ("SmolLM2", "{\"model_type\": \"llama\", " + Width + "\"num_key_value_heads\": 2", "smollm2-360m"),
        ("SmolLM", "{\"model_type\": \"llama\", " + Width + "\"num_key_value_heads\": 2", "smollm-360m"),
        ("tiny", "{\"model_type\": \"llama\", " + Width + "\"num_key_value_heads\": 2", "tiny"),
        ("", "{\"model_type\": \"mistral\", " + Width + "\"num_key_value_heads\": 2, \"sliding_window\": 256", "mistral-7b"),
    ];

    private readonly Random _random = new(1);
    private readonly HashSet<(string Set, string Config, string Split, string File)> _files = [];

    /// <summary>Names the folders of models and data for the commands.</summary>
    public Dictionary<string, string> Environment { get; } = new()
    {
        ["HANDBOOK_MODELS"] = Path.Combine(handbook.Folder, "models"),
        ["HANDBOOK_DATA"] = Path.Combine(handbook.Folder, "sets"),
    };

    /// <summary>The file with the shape of the model that a recipe is published for.</summary>
    public string Shape(Recipe recipe) => Family(recipe.Model.ModelNameOrPath!).Shape is var shape && shape == "tiny"
        ? Path.Combine(handbook.Folder, "made", shape, "config.json") : Path.Combine(SharedFiles.Repository, "docs", "shapes",
            $"{shape}.json");

    /// <summary>Makes what a recipe names and is not there yet.</summary>
    public void Make(Recipe recipe)
    {
        Model(recipe.Model.ModelNameOrPath!);
        if (recipe.Model.TokenizerNameOrPath is { } tokenizer)
            Link(tokenizer, "tokenizer");
        if (recipe.Data.ChatTemplatePath is { } template)
            Link(template, "tokenizer");
        foreach (var set in recipe.Mixture.Datasets)
            foreach (var split in Splits(recipe, set))
                Rows(set, split, recipe);
    }

    /// <summary>What a recipe is changed by on the command line, so that it ends soon and its small data suffice.</summary>
    public static IEnumerable<string> Short(Recipe recipe)
    {
        yield return "--fresh";             // two recipes may write to one folder
        foreach (var key in ShortRun.Keys(recipe.Definition, 2, recipe.Scoring.RewardFuncs?.Contains("reward_model") != true))
            yield return key;
        if (!recipe.Definition.IsPipeline)
            yield return "--logging_steps=1";
        if (recipe.Data.DatasetMixture?.TestSplitSize is >= 1)
            yield return "--dataset_mixture.test_split_size=4";
    }

    private static (string Name, string Config, string Shape) Family(string name)
    {
        var last = name[(name.LastIndexOf('/') + 1)..];
        return s_families.First(family => last.Contains(family.Name, StringComparison.OrdinalIgnoreCase));
    }

    private static IEnumerable<string> Splits(Recipe recipe, DatasetSpec set) => recipe.Mixture.Dialect switch
    {
        MixtureDialect.Mixer => recipe.Mixture.Splits,
        MixtureDialect.Mixture => [set.Split],
        _ => [recipe.Mixture.TrainSplit, recipe.Mixture.TestSplit],
    };

    private void Model(string name)
    {
        if (Directory.Exists(Path.Combine(handbook.Folder, name)))      // what an earlier stage wrote
            return;
        Tokenizer();
        var family = Family(name);
        var made = Path.Combine("made", family.Shape);
        if (!Directory.Exists(Path.Combine(handbook.Folder, made)))
        {
            handbook.Write($"{family.Shape}.json", family.Config + ", \"initializer_range\": 0.2}");
            SmallModel.Succeed(handbook.Run("init", "--config", $"{family.Shape}.json", "--tokenizer", "tokenizer", "--output", made,
                "--seed", "3"));
        }
        // A published adapter is the one that the stage before writes.
        var adapter = Path.Combine("data", name[(name.LastIndexOf('/') + 1)..]);
        Link(name, name.EndsWith("-qlora", StringComparison.Ordinal) && Directory.Exists(Path.Combine(handbook.Folder, adapter)) ? adapter
            : made);
    }

    private void Link(string name, string target)
    {
        var path = Path.Combine(Environment["HANDBOOK_MODELS"], name);
        if (Path.Exists(path))
            return;
        Tokenizer();
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        Directory.CreateSymbolicLink(path, Path.Combine(handbook.Folder, target));
    }

    private void Tokenizer()
    {
        if (Directory.Exists(Path.Combine(handbook.Folder, "tokenizer")))
            return;
        handbook.Write("chat.jinja", SmallModel.Template);
        handbook.Write("corpus.txt", string.Join('\n', Enumerable.Range(0, 50).Select(_ => Words(20))));
        SmallModel.Succeed(handbook.Run("tokenizer", "train", "corpus.txt", "--vocab-size", "320", "--output", "tokenizer", "--eos-token",
            "</s>",
            "--bos-token", "<s>", "--special-token", "<|im_start|>", "--special-token", "<|im_end|>", "--chat-template", "chat.jinja"));
    }

    private void Rows(DatasetSpec set, string split, Recipe recipe)
    {
        var config = set.Config ?? "default";
        var name = config == "default" ? $"{split}.jsonl" : $"{config}/{split}.jsonl";
        var file = Path.Combine(handbook.Folder, "sets", set.Id, name);
        // One set may serve several methods, each with columns of its own.
        var rows = File.Exists(file) ? File.ReadAllLines(file) : [];
        var wanted = Columns(recipe);
        if (rows.Length > 0 && wanted.All(column => rows[0].Contains($"\"{column}\"", StringComparison.Ordinal)))
            return;
        // the older way packs, and needs one whole block: a row has about 140 tokens
        var block = recipe.Data.Packing ? recipe.Data.MaxLength ?? 0 : 0;
        var count = Math.Max(split.Contains("test", StringComparison.Ordinal) ? 24 : 40, Math.Min(block, 8192) / 100);
        handbook.Write(Path.Combine("sets", set.Id, name), string.Concat(Enumerable.Range(0, count).Select(_ =>
            JsonSerializer.Serialize(Row(wanted)) + "\n")));
        _files.Add((set.Id, config, split, name));
        // as published sets have it: the card says which files are which split of which configuration
        handbook.Write(Path.Combine("sets", set.Id, "README.md"), "---\nconfigs:\n"
            + string.Concat(_files.Where(known => known.Set == set.Id)
            .GroupBy(known => known.Config).Select(group => $"- config_name: {group.Key}\n  data_files:\n"
                + string.Concat(group.Select(known => $"  - split: {known.Split}\n    path: {known.File}\n")))) + "---\n");
    }

    /// <summary>The columns that published sets of a method have.</summary>
    private static string[] Columns(Recipe recipe)
    {
        if (recipe.Data.ColumnMapping is { } mapping)
            return [.. mapping.Values, "answer"];
        string[] own = recipe.Method switch
        {
            TrainingMethod.Cpt => ["text"],
            TrainingMethod.Sft => ["messages"],
            TrainingMethod.Grpo or TrainingMethod.RejectionSample => ["prompt", "chosen", "rejected", "answer"],
            _ => ["prompt", "chosen", "rejected"],
        };
        return recipe.Mixture.Datasets.Any(set => set.Columns?.Contains("chat_template_kwargs") == true) ? [.. own, "chat_template_kwargs"]
            : own;
    }

    private Dictionary<string, object> Row(string[] columns)
    {
        var question = Words(8);
        object[] Turns() => [new { role = "user", content = question }, new { role = "assistant", content = Words(90) }];
        return columns.ToDictionary(column => column, column => (object)(column switch
        {
            "text" => Words(120),
            "messages" or "chosen" or "rejected" => Turns(),
            "answer" => $"{Words(6)} #### {_random.Next(100)}",
            "chat_template_kwargs" => new { enable_thinking = _random.Next(2) == 0 },
            _ => question,
        }));
    }

    private string Words(int count)
    {
        string[] all = [.. "the sun moon river bread stone house green old and sings over under near quick water 1 2 7".Split(' ')];
        return string.Join(' ', Enumerable.Range(0, count).Select(_ => all[_random.Next(all.Length)]));
    }
}
