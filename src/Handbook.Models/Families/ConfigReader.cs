using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Models.Families;

/// <summary>Typed access to the keys of a <c>config.json</c>. Problems are collected, so that one message names them all.</summary>
/// <remarks>A key is asked for by its name and the names older releases gave it; absent and <c>null</c> are the same.</remarks>
/// <param name="file">For messages.</param>
internal sealed class ConfigReader(JsonObject json, string file)
{
    // Beyond any real model; keeps products of sizes far from overflow and lists from being endless.
    private const int LargestSize = 1 << 26;
    private const int MostLayers = 10_000;

    private readonly List<string> _problems = [];
    private readonly HashSet<string> _standIns = [];
    private readonly HashSet<string> _read = [];
    private readonly List<(string Key, int Value)> _assumed = [];

    public string File => file;

    /// <summary>Whether the key has a value.</summary>
    public bool Has(string key) => Node(key) is not null;

    /// <summary>Whether the file has the key at all, be it null.</summary>
    public bool States(string key)
    {
        _read.Add(key);
        return json.ContainsKey(key);
    }

    /// <summary>The keys that nobody has asked for, be they absent or not.</summary>
    public IEnumerable<(string Key, JsonNode? Value)> Unread => json.Where(pair => !_read.Contains(pair.Key))
        .Select(pair => (pair.Key, pair.Value));

    /// <summary>Sizes that the file leaves out, and what the family's class says of them.</summary>
    public IReadOnlyList<(string Key, int Value)> Assumed => _assumed;

    public void Problem(string text) => _problems.Add(text);

    /// <summary>A problem among sizes that were read; it is not told where one of them was not, and another number stands in for
    /// it.</summary>
    /// <param name="text">What is wrong; it names the keys of the sizes.</param>
    public void Mismatch(string text)
    {
        if (!_standIns.Any(key => text.Contains(key, StringComparison.Ordinal)))
            _problems.Add(text);
    }

    /// <summary>Throws one message with every problem found so far.</summary>
    public void ThrowIfAnyProblem()
    {
        if (_problems.Count > 0)
            throw new InputException(string.Join("\n    ", _problems.Select(problem => $"{file}: {problem}")),
                fix: $"compare the file with the published {System.IO.Path.GetFileName(file)}, or fetch it again");
    }

    /// <summary>A size above zero, without which there is no network.</summary>
    /// <param name="assumed">What the family's class says where the file has none of the keys, as configs of a model's text part leave out
    /// what is the class's own; a null is missing all the same.</param>
    public int Size(int assumed, params ReadOnlySpan<string> keys)
    {
        if (Find(keys, out var key) is { } node)
            return Positive(node, key);
        foreach (var name in keys)
            if (States(name))
                return StandIn(name, $"{name} is missing");
        _assumed.Add((keys[0], assumed));
        return assumed;
    }

    /// <summary>A size that must be there and above zero.</summary>
    public int Size(string key) => Find([key], out var path) is { } node ? Positive(node, path) : StandIn(path, $"{path} is missing");

    public int SizeOr(int fallback, params ReadOnlySpan<string> keys) =>
        Find(keys, out var key) is { } node ? Positive(node, key) : fallback;

    /// <summary>Number of layers: a size, with a bound of its own because lists are made from it.</summary>
    /// <param name="assumed">See <see cref="Size(int, ReadOnlySpan{string})"/>.</param>
    public int LayerCount(int assumed, params ReadOnlySpan<string> keys)
    {
        var layers = Size(assumed, keys);
        return layers <= MostLayers ? layers : StandIn(keys[0], $"{keys[0]} is {layers}, more than {MostLayers}");
    }

    public int? Integer(string key) => Find([key], out _) is { } node ? Whole(node, key) : null;

    /// <summary>A token id; a negative one means absent, as older files wrote it.</summary>
    public int? TokenId(string key) => Integer(key) is { } id and >= 0 ? id : null;

    /// <summary>The row of <c>pad_token_id</c> in an embedding; a negative number counts from the end, as the published library has it.
    /// null where there is none.</summary>
    /// <param name="assumed">The token that the published library assumes where the file lacks the key; null for none.</param>
    /// <param name="vocabularySize">Rows of the embedding.</param>
    public int? PaddingRow(int? assumed, int vocabularySize) => (States("pad_token_id") ? Integer("pad_token_id") : assumed) switch
    {
        { } id when id >= 0 && id < vocabularySize => id,
        { } id when id < 0 && id >= -vocabularySize => id + vocabularySize,
        _ => null,
    };

    /// <summary>A token id that the published library assumes where the file lacks the key, if the vocabulary has it.</summary>
    public int? TokenId(string key, int assumed, int vocabularySize) =>
        States(key) ? TokenId(key) : assumed < vocabularySize ? assumed : null;

    /// <summary>One token id or a list of them.</summary>
    public ValueList<int> TokenIds(string key, ValueList<int> assumed, int vocabularySize)
    {
        if (!States(key))
            return [.. assumed.Where(id => id < vocabularySize)];
        if (Node(key) is not JsonArray list)
            return TokenId(key) is { } id ? [id] : [];
        var ids = new List<int>();
        foreach (var item in list)
            if (item is not null && Whole(item, key) is { } value and >= 0)
                ids.Add(value);
        return [.. ids];
    }

    public double Number(double fallback, params ReadOnlySpan<string> keys) => OptionalNumber(keys) ?? fallback;

    public double? OptionalNumber(params ReadOnlySpan<string> keys)
    {
        if (Find(keys, out var key) is not { } node)
            return null;
        if (node is JsonValue value && value.TryGetValue<double>(out var number) && double.IsFinite(number))
            return number;
        Problem($"{key} is {Show(node)}, but must be a number");
        return null;
    }

    /// <summary>A number above zero.</summary>
    public double PositiveNumber(double fallback, params ReadOnlySpan<string> keys)
    {
        var number = Number(fallback, keys);
        if (number > 0)
            return number;
        Problem($"{keys[0]} is {number.ToString(CultureInfo.InvariantCulture)}, but must be greater than 0");
        return fallback;
    }

    /// <summary>A probability below one.</summary>
    public double Dropout(double fallback, string key)
    {
        var p = Number(fallback, key);
        if (p is >= 0 and < 1)
            return p;
        Problem($"{key} is {p.ToString(CultureInfo.InvariantCulture)}, but must be at least 0 and below 1");
        return 0;
    }

    public bool Flag(bool fallback, string key)
    {
        if (Node(key) is not { } node)
            return fallback;
        if (node is JsonValue value && value.TryGetValue<bool>(out var flag))
            return flag;
        Problem($"{key} is {Show(node)}, but must be true or false");
        return fallback;
    }

    /// <summary>Whether the key has a number.</summary>
    public bool IsNumber(string key) => Node(key) is JsonValue value && value.GetValueKind() == JsonValueKind.Number;

    /// <summary>Whether the key has a text.</summary>
    public bool IsText(string key) => Node(key) is JsonValue value && value.GetValueKind() == JsonValueKind.String;

    public string? Text(string key)
    {
        if (Node(key) is not { } node)
            return null;
        if (node is JsonValue value && value.TryGetValue<string>(out var text))
            return text;
        Problem($"{key} is {Show(node)}, but must be a text");
        return null;
    }

    public ValueList<double>? Numbers(string key)
    {
        if (Node(key) is not { } node)
            return null;
        if (node is JsonArray list)
        {
            var numbers = new List<double>();
            foreach (var item in list)
                if (item is JsonValue value && value.TryGetValue<double>(out var number) && double.IsFinite(number))
                    numbers.Add(number);
            if (numbers.Count == list.Count)
                return [.. numbers];
        }
        Problem($"{key} must be a list of numbers");
        return null;
    }

    public ValueList<string>? Texts(string key)
    {
        if (Node(key) is not { } node)
            return null;
        if (node is JsonArray list)
        {
            var texts = list.Select(item => item is JsonValue value && value.TryGetValue<string>(out var text) ? text : null).ToArray();
            if (!texts.Contains(null))
                return [.. texts!];
        }
        Problem($"{key} must be a list of texts");
        return null;
    }

    /// <summary>A nested object, read with the same collection of problems; null where it is absent.</summary>
    public ConfigReader? Section(string key)
    {
        if (Node(key) is not { } node)
            return null;
        if (node is JsonObject section)
            return new(section, file, _problems, _standIns, key);
        Problem($"{key} is {Show(node)}, but must be an object");
        return null;
    }

    private ConfigReader(JsonObject json, string file, List<string> problems, HashSet<string> standIns, string path) : this(json, file)
    {
        (_problems, _standIns) = (problems, standIns);
        Path = path + ".";
    }

    /// <summary>Prefix of this object's keys in messages.</summary>
    public string Path { get; } = "";

    public Activation Activation(string key, string fallback)
    {
        var name = Text(key) ?? fallback;
        switch (name)
        {
            case "silu" or "swish":
                return Torch.Fused.Activation.Silu;
            case "gelu_new" or "gelu_pytorch_tanh" or "gelu_fast" or "gelu_accurate" or "gelu_python_tanh":
                return Torch.Fused.Activation.GeluTanh;
            case "gelu" or "gelu_python":
                return Torch.Fused.Activation.Gelu;
            case "quick_gelu":
                return Torch.Fused.Activation.QuickGelu;
            case "relu":
                return Torch.Fused.Activation.Relu;
            case "relu2":
                return Torch.Fused.Activation.ReluSquared;
            case "tanh":
                return Torch.Fused.Activation.Tanh;
            default:
                Problem($"{key} is \"{name}\", an unknown activation; known: silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, "
                    + "quick_gelu, relu, relu2, tanh");
                return Torch.Fused.Activation.Silu;
        }
    }

    /// <summary>The stated element type; <c>torch_dtype</c> in older files, with or without the prefix <c>torch.</c>.</summary>
    public DType? DType()
    {
        var key = Has("dtype") ? "dtype" : "torch_dtype";
        if (Text(key) is not { } text || text == "auto")
            return null;
        switch (text.StartsWith("torch.") ? text[6..] : text)
        {
            case "float32" or "float":
                return Torch.DType.Float32;
            case "bfloat16":
                return Torch.DType.BFloat16;
            case "float16" or "half":
                return Torch.DType.Float16;
            case "float64" or "double":
                return Torch.DType.Float64;
            default:
                Problem($"{key} is \"{text}\"; known: float32, bfloat16, float16, float64");
                return null;
        }
    }

    private JsonNode? Node(string key)
    {
        _read.Add(key);
        return json[key];
    }

    private JsonNode? Find(ReadOnlySpan<string> keys, out string key)
    {
        foreach (var name in keys)
            _read.Add(name);
        foreach (var name in keys)
            if (Node(name) is { } node)
            {
                key = Path + name;
                return node;
            }
        key = Path + keys[0];
        return null;
    }

    private int Positive(JsonNode node, string key)
    {
        if (AsWhole(node) is not { } value)
            return StandIn(key, NotWhole(node, key));
        return value is > 0 and <= LargestSize ? value
            : StandIn(key, value <= 0 ? $"{key} is {value}, but must be greater than 0" : $"{key} is {value}, more than any model has");
    }

    /// <summary>A size that could not be read: 1 stands in for it, so that the rest of the file is looked at.</summary>
    private int StandIn(string key, string problem)
    {
        _standIns.Add(key);
        Problem(problem);
        return 1;
    }

    private int? Whole(JsonNode node, string key)
    {
        if (AsWhole(node) is { } whole)
            return whole;
        Problem(NotWhole(node, key));
        return null;
    }

    // 1e3 and 512.0 are whole numbers too: some tools write sizes as floats.
    private static int? AsWhole(JsonNode node) => node is JsonValue value && value.TryGetValue<double>(out var number)
        && number == Math.Floor(number) && Math.Abs(number) <= int.MaxValue ? (int)number : null;

    private static string NotWhole(JsonNode node, string key) => $"{key} is {Show(node)}, but must be a whole number";

    internal static string Show(JsonNode node)
    {
        var text = node.ToJsonString(JsonSerializerOptions.Default);
        return text.Length <= 60 ? text : text[..57] + "…";
    }
}
