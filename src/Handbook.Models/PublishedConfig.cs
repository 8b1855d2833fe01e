using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Models.Families;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>A model's <c>config.json</c>: the published keys as they stand, the family they belong to and the
/// decoder they describe.</summary>
public sealed class PublishedConfig
{
    // Some ten times those of the largest published models; lists of tensors are made from it.
    private const int MostExperts = 1 << 18;

    private PublishedConfig(JsonObject json, Family family, DecoderConfig decoder) => (Json, Family, Decoder) = (json, family, decoder);

    /// <summary>Every key as it was read, known to us or not; of the text model where the file describes more.</summary>
    public JsonObject Json { get; }

    /// <summary>The family that <c>model_type</c> names.</summary>
    internal Family Family { get; }

    /// <summary>The <c>model_type</c> of the model that sees or hears and whose text model this is; null where it is a model by
    /// itself.</summary>
    internal string? PartOf { get; private set; }

    /// <summary>Keys that say nothing to us.</summary>
    internal IReadOnlyList<string> Unknown { get; private init; } = [];

    /// <summary>Sizes that the file leaves out, and what the family's class says of them.</summary>
    internal IReadOnlyList<(string Key, int Value)> Assumed { get; private init; } = [];

    /// <summary>The network that the file describes.</summary>
    public DecoderConfig Decoder { get; }

    /// <param name="path">A <c>config.json</c> or the folder that holds it.</param>
    /// <exception cref="InputException">The file is missing, broken, contradicts itself, or describes a
    /// family that is not built.</exception>
    public static PublishedConfig Load(string path)
    {
        var file = FileOf(path);
        return Parse(Bytes(file), file);
    }

    internal static string FileOf(string path) => Directory.Exists(path) ? Path.Combine(path, "config.json") : path;

    internal static byte[] Bytes(string file)
    {
        try
        {
            return File.ReadAllBytes(file);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw new InputException($"{file} does not exist", why: "it describes the model's architecture",
                fix: "name a folder with config.json and model.safetensors", inner: e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new InputException($"{file} cannot be read: {e.Message}", inner: e);
        }
    }

    /// <param name="utf8">The file's bytes.</param>
    /// <param name="file">Its name, for messages.</param>
    public static PublishedConfig Parse(ReadOnlySpan<byte> utf8, string file)
    {
        var json = ParseObject(utf8, file);
        var part = TextPart.Of(json);
        json = part?.Json ?? json;
        var reader = new ConfigReader(json, file);
        var modelType = reader.Text("model_type");
        reader.ThrowIfAnyProblem();
        if (modelType is null)
            throw new InputException($"{file}: model_type is missing", why: "it says which architecture the weights belong to",
                fix: $"add it; supported are {string.Join(", ", Family.All.Select(f => f.ModelType))}");
        var family = Family.For(modelType, file);
        var decoder = family.Describe(reader) with { Head = HeadOf(json), Labels = LabelsOf(json) ?? 1 };
        if (decoder.Labels < 1)
            reader.Problem("id2label names no label");
        if (decoder.Experts is { } experts && (long)decoder.Layers * experts.Count > MostExperts)
            reader.Mismatch($"{decoder.Layers} layers of {experts.Count} experts are more than any model has");
        var unknown = UnreadKeys.Judge(reader, family);
        reader.ThrowIfAnyProblem();
        return new(json, family, decoder) { PartOf = part?.Whole, Unknown = unknown, Assumed = reader.Assumed };
    }

    /// <summary>The same model with a changed file.</summary>
    private PublishedConfig Again(JsonObject json)
    {
        var changed = Parse(PublishedJson.ToBytes(json), "config.json");
        changed.PartOf = PartOf;
        return changed;
    }

    /// <summary>How many labels a classifier has; null where the model is none.</summary>
    public int? Labels => LabelsOf(Json);

    /// <summary>The names of a classifier's labels, by number; the Python library's own where the file has none.</summary>
    public IReadOnlyList<string> LabelNames => [.. Enumerable.Range(0, Labels ?? 0).Select(label =>
        Json["id2label"]?[$"{label}"] is JsonValue name && name.TryGetValue<string>(out var text) ? text : $"LABEL_{label}")];

    /// <summary>A classifier of one label is a reward model.</summary>
    private static ModelHead HeadOf(JsonObject json) => LabelsOf(json) is null ? ModelHead.Language : ModelHead.Score;

    private static int? LabelsOf(JsonObject json)
    {
        if (json["architectures"] is not JsonArray names || !names.Any(name =>
            name is JsonValue value && value.TryGetValue<string>(out var text) && text.EndsWith("ForSequenceClassification")))
            return null;
        // The Python library writes the labels alone, and not even these where there are two.
        return json["id2label"] is JsonObject labels ? labels.Count
            : json["num_labels"] is JsonValue count && count.TryGetValue<int>(out var stated) ? stated : 2;
    }

    /// <summary>The same network with a score in the place of its head: the config of a reward model.</summary>
    public PublishedConfig WithScoreHead() => Decoder is { Head: ModelHead.Score, Labels: 1 } ? this : With(
    [
        ("architectures", new JsonArray(Family.ScoreArchitecture)),
        ("num_labels", 1),
        ("id2label", new JsonObject { ["0"] = "LABEL_0" }),
        ("label2id", new JsonObject { ["LABEL_0"] = 0 }),
        // of a loss that the library would take instead
        .. Json.ContainsKey("problem_type") ? new (string, JsonNode?)[] { ("problem_type", null) } : [],
    ]);

    /// <summary>The same config with some keys changed; a null value writes <c>null</c>. The rest stays as it was,
    /// known to us or not.</summary>
    /// <exception cref="InputException">The changed config contradicts itself.</exception>
    public PublishedConfig With(params ReadOnlySpan<(string Key, JsonNode? Value)> changes)
    {
        var json = Json.DeepClone().AsObject();
        foreach (var (key, value) in changes)
            json[key] = value?.DeepClone();
        return Again(json);
    }

    /// <summary>The same config for weights that are numbers: nothing says that they are quantised.</summary>
    internal PublishedConfig WithoutQuantisation()
    {
        var json = Json.DeepClone().AsObject();
        json.Remove("quantization_config");
        json.Remove("compression_config");
        return Again(json);
    }

    /// <summary>The same config for weights of another element type, under the key the file already uses.</summary>
    public PublishedConfig With(DType dtype)
    {
        // Every release reads torch_dtype; only newer ones know dtype.
        var key = Json.ContainsKey("dtype") ? "dtype" : "torch_dtype";
        return With((key, dtype switch
        {
            DType.Float32 => "float32",
            DType.BFloat16 => "bfloat16",
            DType.Float16 => "float16",
            DType.Float64 => "float64",
            _ => throw new ArgumentOutOfRangeException(nameof(dtype), dtype, "weights are saved as float32, bfloat16, float16 or float64"),
        }));
    }

    /// <summary>The same config with other special ids.</summary>
    public PublishedConfig With(int? bosId, ValueList<int> eosIds, int? padId)
    {
        var json = Json.DeepClone().AsObject();
        SetId(json, "bos_token_id", bosId);
        SetIds(json, "eos_token_id", eosIds);
        SetId(json, "pad_token_id", padId);
        return Again(json);
    }

    /// <summary>Writes <c>config.json</c> so that the Python library opens it: every key, the class to load it
    /// with, the cache on.</summary>
    public void Save(string folder)
    {
        var json = Json.DeepClone().AsObject();
        json["architectures"] ??= new JsonArray(Family.Architecture);
        json["use_cache"] = true; // training turns it off; whoever loads the model wants it
        PublishedJson.Write(Path.Combine(folder, "config.json"), json);
    }

    internal static void SetId(JsonObject json, string key, int? id) => json[key] = id;

    /// <summary>One id stands alone, several in a list.</summary>
    internal static void SetIds(JsonObject json, string key, ValueList<int> ids) => json[key] = ids.Count switch
    {
        0 => null,
        1 => ids[0],
        _ => new JsonArray([.. ids.Select(id => JsonValue.Create(id))]),
    };

    internal static JsonObject ParseObject(ReadOnlySpan<byte> utf8, string file)
    {
        try
        {
            var start = utf8.StartsWith("\uFEFF"u8) ? 3 : 0;
            if (JsonNode.Parse(utf8[start..], documentOptions: new() { AllowDuplicateProperties = false }) is JsonObject json)
            {
                // Texts are decoded when they are asked for: ask now, where the file is known.
                foreach (var text in Texts(json))
                    _ = text.GetValue<string>();
                return json;
            }
        }
        catch (JsonException e)
        {
            throw new InputException($"{file}:{e.LineNumber + 1}:{e.BytePositionInLine + 1}: not valid JSON: {JsonMistake.Of(e)}",
                fix: "fetch the file again, or repair that line", inner: e);
        }
        catch (InvalidOperationException e)
        {
            throw new InputException($"{file}: holds a text that is not valid Unicode", fix: "fetch the file again", inner: e);
        }
        throw new InputException($"{file}: must hold a JSON object", fix: "fetch the file again");
    }

    private static IEnumerable<JsonValue> Texts(JsonNode? node) => node switch
    {
        JsonObject json => json.SelectMany(p => Texts(p.Value)),
        JsonArray list => list.SelectMany(Texts),
        JsonValue value when value.GetValueKind() == JsonValueKind.String => [value],
        _ => [],
    };
}
