using System.Text.Json;
using Handbook.Models.Constraints;
using Handbook.Text.Tokenizers;

namespace Handbook.Serving;

/// <summary>A tool that a model may call.</summary>
/// <param name="Name">What it is called.</param>
/// <param name="Parameters">JSON schema of its arguments; null for any object.</param>
/// <param name="IsStrict">Whether every call is held to the schema, also one that the model makes of its own.</param>
internal sealed record Tool(string Name, JsonElement? Parameters, bool IsStrict = false);

/// <summary>A call of a tool.</summary>
/// <param name="Id">What its answer refers to.</param>
/// <param name="Arguments">JSON text.</param>
internal sealed record ToolCall(string Id, string Name, string Arguments);

/// <summary>The form in which a model writes calls of tools; its chat template shows it.</summary>
internal sealed class ToolForm
{
    /// <summary>With what Llama 3 may begin a call.</summary>
    public const string PythonTag = "<|python_tag|>";

    /// <summary><c>&lt;tool_call&gt;{"name": …, "arguments": …}&lt;/tool_call&gt;</c>: Hermes, Qwen and many others.</summary>
    public static ToolForm Hermes { get; } = new("<tool_call>", "</tool_call>", "arguments");

    /// <summary><c>[TOOL_CALLS][{"name": …, "arguments": …}, …]</c>, or <c>[TOOL_CALLS]name[ARGS]{…}</c>: Mistral.</summary>
    public static ToolForm Mistral { get; } = new("[TOOL_CALLS]", null, "arguments");

    /// <summary>The whole answer is <c>{"name": …, "parameters": …}</c>: Llama 3.</summary>
    public static ToolForm Llama { get; } = new("{", null, "parameters");

    private ToolForm(string begin, string? end, string arguments) => (Begin, End, Arguments) = (begin, end, arguments);

    /// <summary>With what a call begins.</summary>
    public string Begin { get; }

    /// <summary>With what it ends; null where only the answer's end does.</summary>
    public string? End { get; }

    /// <summary>What the arguments are called.</summary>
    public string Arguments { get; }

    /// <summary>Whether the marks are special tokens of the models that write them.</summary>
    public bool HasSpecialMarker => this != Hermes;

    /// <summary>Special tokens that stand for themselves in a call.</summary>
    public static IReadOnlyList<string> Markers { get; } = [Hermes.Begin, Hermes.End!, Mistral.Begin, "[ARGS]", "[CALL_ID]", PythonTag];

    /// <summary>What may stand before a call in Llama's form.</summary>
    public static char[] Space { get; } = [' ', '\n', '\r', '\t'];

    /// <summary>The form that a chat template shows; null where it shows none that is known.</summary>
    public static ToolForm? Of(Tokenizer tokenizer)
    {
        var template = string.Concat(tokenizer.ChatTemplates.Values);
        return template.Contains(Hermes.Begin, StringComparison.Ordinal) ? Hermes
            : template.Contains(Mistral.Begin, StringComparison.Ordinal) ? Mistral
            : template.Contains("\"parameters\"", StringComparison.Ordinal) && (template.Contains(PythonTag, StringComparison.Ordinal)
                || template.Contains("ipython", StringComparison.Ordinal)) ? Llama : null;
    }

    /// <summary>Exactly one call of one of some tools.</summary>
    /// <param name="tools">Each with the place of its parameters, for messages.</param>
    /// <exception cref="Base.InputException">A tool's parameters are no schema, or have a part that is not built.</exception>
    public Grammar OneOf(IReadOnlyList<(Tool Tool, string Path)> tools)
    {
        var call = Grammar.Or([.. tools.Select(tool => Call(tool, Arguments))]);
        return this == Hermes ? Grammar.Of(Grammar.Text("<tool_call>\n"), call, Grammar.Text("\n</tool_call>"))
            : this == Mistral ? Grammar.Of(Grammar.Text("[TOOL_CALLS]["), call, Grammar.Text("]")) : call;
    }

    /// <summary>Any text, and calls whose arguments are of their tool's schema.</summary>
    /// <inheritdoc cref="OneOf"/>
    public Grammar Within(IReadOnlyList<(Tool Tool, string Path)> tools)
    {
        var call = Grammar.Or([.. tools.Select(tool => Call(tool, Arguments))]);
        if (this == Hermes)
            return Grammar.Until(Begin, more => Grammar.Of(Grammar.Text("\n"), call, Grammar.Text("\n</tool_call>"), more));
        if (this == Mistral)
        {
            var named = Grammar.Or([.. tools.Select(tool => Grammar.Of(Grammar.Text(tool.Tool.Name), Grammar.Maybe(Grammar.Text("[ARGS]")),
                Values(tool)))]);
            return Grammar.Until(Begin, _ => Grammar.Or(
                Grammar.Of(Grammar.Maybe(Grammar.Text(" ")), Grammar.Text("["), call,
                    Grammar.Times(Grammar.Of(Grammar.Text(", "), call), 0, null), Grammar.Text("]")),
                Grammar.Of(named, Grammar.Times(Grammar.Of(Grammar.Text(Begin), named), 0, null))));
        }
        // The answer is calls from its first letter on, or none.
        var calls = Grammar.Of(call, Grammar.Times(Grammar.Of(Grammar.Text("; "), call), 0, null));
        var any = Grammar.Times(new Grammar.Bytes(UInt256.All), 0, null);
        return Grammar.Of(Grammar.Times(Grammar.Any([.. Space.Select(space => $"{space}{space}")]), 0, null), Grammar.Or([
            Grammar.Empty, calls, Grammar.Of(Grammar.Text(PythonTag), Grammar.Maybe(Grammar.Text("\n")), calls),
            Grammar.Of(new Grammar.Bytes(But([.. Space, '{', PythonTag[0]])), any),
            .. Enumerable.Range(1, PythonTag.Length - 1).Select(i => Grammar.Of(Grammar.Text(PythonTag[..i]),
                Grammar.Maybe(Grammar.Of(new Grammar.Bytes(But(PythonTag[i])), any))))]));

        static UInt256 But(params ReadOnlySpan<char> letters)
        {
            var set = UInt256.All;
            foreach (var letter in letters)
                set = set.Without((byte)letter);
            return set;
        }
    }

    private static Grammar Call((Tool Tool, string Path) one, string arguments) => Grammar.Of(Grammar.Text("{\"name\": "),
        JsonGrammar.Name(one.Tool.Name), Grammar.Text($", \"{arguments}\": "), Values(one), Grammar.Text("}"));

    private static Grammar Values((Tool Tool, string Path) one) =>
        one.Tool.Parameters is { } schema ? SchemaGrammar.Of(schema, one.Path) : JsonGrammar.Object;

    /// <summary>The calls in what stands between the marks; empty where it is none.</summary>
    public IReadOnlyList<ToolCall> Parse(string text)
    {
        text = text.Trim();
        if (this == Mistral && text.Length > 0 && text[0] is not ('[' or '{'))
            return Named(text);
        if (text.StartsWith(PythonTag, StringComparison.Ordinal))
            text = text[PythonTag.Length..].TrimStart();
        var calls = new List<ToolCall>();
        try
        {
            // One value behind another, with semicolons between them where a model writes several.
            for (var bytes = System.Text.Encoding.UTF8.GetBytes(text).AsSpan(); bytes.Length > 0;)
            {
                var reader = new Utf8JsonReader(bytes, isFinalBlock: true, new JsonReaderState(new() { AllowMultipleValues = true }));
                reader.Read();
                using var value = JsonDocument.ParseValue(ref reader);
                var root = value.RootElement;
                foreach (var call in root.ValueKind == JsonValueKind.Array ? [.. root.EnumerateArray()] : (JsonElement[])[root])
                    if (Of(call) is { } one)
                        calls.Add(one);
                    else
                        return [];
                bytes = bytes[(int)reader.BytesConsumed..].TrimStart("; \n\r\t"u8);
            }
        }
        catch (JsonException)
        {
            return [];
        }
        return calls;
    }

    private ToolCall? Of(JsonElement call)
    {
        if (call.ValueKind != JsonValueKind.Object || !call.TryGetProperty("name", out var name) || name.ValueKind != JsonValueKind.String)
            return null;
        if (!call.TryGetProperty("arguments", out var arguments) && !call.TryGetProperty("parameters", out arguments))
            return null;
        // Some models write the object, others its text.
        return arguments.ValueKind == JsonValueKind.Object ? Make(name.GetString()!, arguments.GetRawText())
            : arguments.ValueKind == JsonValueKind.String ? Make(name.GetString()!, arguments.GetString()!) : null;
    }

    /// <summary><c>name[ARGS]{…}</c>, or <c>name{…}</c>, with the mark between several.</summary>
    private List<ToolCall> Named(string text)
    {
        var calls = new List<ToolCall>();
        foreach (var one in text.Split(Begin, StringSplitOptions.RemoveEmptyEntries))
        {
            var brace = one.IndexOf('{', StringComparison.Ordinal);
            if (brace < 1)
                return [];
            var name = one[..brace].Split("[")[0].Trim();
            try
            {
                using var arguments = JsonDocument.Parse(one[brace..]);
                calls.Add(Make(name, arguments.RootElement.GetRawText()));
            }
            catch (JsonException)
            {
                return [];
            }
        }
        return calls;
    }

    // Mistral's templates want exactly nine letters and digits.
    private ToolCall Make(string name, string arguments) =>
        new(this == Mistral ? Guid.NewGuid().ToString("N")[..9] : $"call_{Guid.NewGuid():N}", name, arguments);
}
