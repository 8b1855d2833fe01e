using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Models.Files;

namespace Handbook.Models.Adapters;

/// <summary>Tables of the base, embedding and head, that an adapter's folder holds beside the adapter: its model had them resized before it
/// was trained, or gave them adapters of their own. They stand in the place of the base's.</summary>
/// <remarks>PEFT's <c>save_embedding_layers</c>: it writes them of its own accord where <c>target_modules</c> names <c>embed_tokens</c> or
/// <c>lm_head</c>, and where the model has another vocabulary than its base.</remarks>
internal sealed class SavedTables
{
    /// <summary>How a wrapped layer calls what it wraps, and a plain one itself, last.</summary>
    private static readonly string[] s_places = [".base_layer", ".original_module", ".token_adapter.base_layer", ""];

    /// <summary>The words of PEFT's targets for which tables are saved.</summary>
    private static readonly string[] s_words = ["embed_tokens", "lm_head"];

    private SavedTables(string file, IReadOnlyDictionary<string, string> names, int? vocabulary) =>
        (File, Names, Vocabulary) = (file, names, vocabulary);

    /// <summary>The adapter's tensors.</summary>
    public string File { get; }

    /// <summary>Names in <see cref="File"/> by the published names of the base's tables; empty for none.</summary>
    public IReadOnlyDictionary<string, string> Names { get; }

    /// <summary>Rows of the tables; null where there are none.</summary>
    public int? Vocabulary { get; }

    /// <summary>The tables of an adapter's folder.</summary>
    /// <param name="below">The config of the model below it.</param>
    /// <exception cref="InputException">They cannot be tables of this model.</exception>
    public static SavedTables Of(string folder, PublishedConfig below)
    {
        var config = AdapterConfigFile.Read(folder);
        using var files = WeightFiles.Open(AdapterFolder.FileOf(folder));
        var today = AdapterFolder.Names(files);
        var (embedding, head, decoder) = (below.Family.EmbeddingName, below.Family.HeadName, below.Decoder);
        var isTied = decoder is { TiedHead: true, Head: ModelHead.Language };
        var names = new Dictionary<string, string>();
        var rows = new Dictionary<string, int>();
        foreach (var published in decoder.Head == ModelHead.Score ? (string[])[embedding] : [embedding, head])
        {
            var module = AdapterModules.PathOf(published);
            var isWhole = AdapterModules.IsWhole(config, module, below.Family, decoder);
            if (Find(module, ".weight", today) is not { } name)
                continue;
            var shape = files.Info(today[name]).Shape;
            if (shape is not [> 0 and var count, var width] || width != decoder.TableSize)
                throw Senseless($"tensor \"{today[name]}\" has shape {shape}, and the model's tables are {decoder.TableSize} wide");
            rows[today[name]] = (int)count;
            // What is trained whole is the adapter's; it is the base's only where that has no table of this size. A tied head has none.
            if (!isWhole || name != AdapterLayout.Prefix + published || count != decoder.VocabularySize && !(isTied && published == head))
                names[published] = today[name];
            if (published == head && (isWhole ? count != decoder.VocabularySize : config.Bias == AdapterBias.None)
                && Find(module, ".bias", today) is { } bias)
                names[module + ".bias"] = today[bias];
        }
        if (rows.Values.Distinct().Count() > 1)
            throw Senseless("tensors " + string.Join(" and ", rows.Select(pair => $"\"{pair.Key}\" ({pair.Value} rows)"))
                + " differ in their rows");
        if (rows.Count == 1 && rows.Values.First() is var only && only != decoder.VocabularySize
            && decoder.Head == ModelHead.Language && (!isTied || names.Count == 0))
            throw Senseless($"tensor \"{rows.Keys.First()}\" has {only} rows, but the model's other table has "
                + $"{decoder.VocabularySize} and is not here");
        if (decoder.TiedHead && names.GetValueOrDefault(head) is { } tied)
        {
            if (names.GetValueOrDefault(embedding) is { } other && !IsSame(files.Read(tied), files.Read(other)))
                throw Senseless($"tensors \"{tied}\" and \"{other}\" differ, but the model's head is its embedding");
            names.TryAdd(embedding, tied);
            names.Remove(head);
        }
        return new(files.Path, names, rows.Count == 0 ? null : rows.Values.First());

        InputException Senseless(string what) =>
            new($"{files.Path}: {what}", why: "a table of the base is saved with an adapter whose model "
            + "had its vocabulary resized; these are no tables of that model",
            fix: "name the model that it was trained on, or save the adapter again in PEFT with save_embedding_layers=True");
    }

    /// <summary>The same config with as many tokens as the tables have.</summary>
    public PublishedConfig Resize(PublishedConfig below) =>
        Vocabulary is { } rows && rows != below.Decoder.VocabularySize ? below.With(("vocab_size", rows)) : below;

    /// <summary>All names, as of today, that a table of the base may have in an adapter's file.</summary>
    public static IEnumerable<string> Known(Family family)
    {
        // The last one holds rows of the table once more.
        string[] ends = [.. s_places.SelectMany(place => (string[])[place + ".weight", place + ".bias"]),
            ".token_adapter.trainable_tokens_original"];
        return ((string[])[family.EmbeddingName, family.HeadName])
            .SelectMany(published => ends.Select(end => AdapterLayout.Prefix + AdapterModules.PathOf(published) + end));
    }

    /// <summary>The tables that PEFT saves with an adapter: parameters of the base, under their names in the adapter's file.</summary>
    /// <param name="isResized">Whether the vocabulary is another than that of the model that the adapter names as its base.</param>
    public static IEnumerable<(ParameterSpec Base, ParameterSpec Own)> ToSave(AdapterLayout layout, bool isResized)
    {
        var (config, modules) = (layout.Config, layout.Modules);
        var named = config.TrainedTokens.Count == 0 && (config.Targets is { Pattern: { } pattern }
            ? ((string[])[modules.Embedding, modules.Head]).Any(path => s_words.Any(word => ModuleNames.EndsWith(path, word))
                && ModuleNames.Of(pattern).Match(path))
            : config.Targets?.Names.Any(s_words.Contains) == true);
        if (!named && !isResized)
            yield break;
        foreach (var module in (string[])[modules.Embedding, modules.Head])
        {
            var wrapped = layout.Layers.Any(layer => layer.Targets.Any(target => target.Module == module));
            if (named && !wrapped)
                continue;
            var whole = modules.IsWhole(config, module);
            var place = wrapped ? ".base_layer" : whole ? ".original_module"
                : layout.Tokens is not null && module == modules.Embedding ? ".token_adapter.base_layer" : "";
            foreach (var spec in modules.Specs.Where(spec => spec.Parts[0].Published == module + ".weight"
                || spec.Parts[0].Published == module + ".bias" && config.Bias == AdapterBias.None))
            {
                var end = spec.Kind == ParameterKind.Bias ? ".bias" : ".weight";
                yield return (spec, spec with
                {
                    Parts = [.. spec.Parts.Select(part => part with { Published = AdapterLayout.Prefix + module + place + end })],
                });
            }
        }
    }

    private static string? Find(string module, string end, Dictionary<string, string> today) =>
        s_places.Select(place => AdapterLayout.Prefix + module + place + end).FirstOrDefault(today.ContainsKey);

    /// <summary>Whether two tensors are the same to the last bit.</summary>
    public static bool IsSame(TensorData one, TensorData other)
    {
        const int chunk = 1 << 24;
        if (one.Info.DType != other.Info.DType || !one.Info.Shape.Equals(other.Info.Shape))
            return false;
        for (var at = 0L; at < one.Info.ByteCount; at += chunk)
        {
            var length = (int)Math.Min(chunk, one.Info.ByteCount - at);
            if (!one.Slice(at, length).SequenceEqual(other.Slice(at, length)))
                return false;
        }
        return true;
    }
}
