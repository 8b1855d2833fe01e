using System.Buffers;
using System.Text.Encodings.Web;
using System.Text.Json;

namespace Handbook.Text.Templates;

/// <summary>A conversation and what else the template may look at.</summary>
public sealed record Conversation
{
    /// <summary>The messages: a JSON list of objects, in most templates with role and content.</summary>
    public required JsonElement Messages { get; init; }

    /// <summary>JSON schemas of the tools the model may call; null for none.</summary>
    public JsonElement? Tools { get; init; }

    /// <summary>Documents to answer from; null for none.</summary>
    public JsonElement? Documents { get; init; }

    /// <summary>More variables for the template, e.g. <c>enable_thinking</c>; null for none.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Variables { get; init; }

    /// <summary>What stands beside the turns; null for nothing.</summary>
    public TemplateInputs? Inputs => Tools is null && Documents is null && Variables is null ? null : new(Tools, Documents, Variables);

    /// <summary>Whether there are tools to call.</summary>
    internal bool HasTools => Tools is { ValueKind: JsonValueKind.Array } tools
        ? tools.GetArrayLength() > 0 : Tools is { ValueKind: not (JsonValueKind.Null or JsonValueKind.Undefined) };

    /// <summary>The conversation with more turns behind its own.</summary>
    /// <param name="turns">A JSON list of messages.</param>
    public Conversation With(JsonElement turns) => this with { Messages = List(Messages.EnumerateArray().Concat(turns.EnumerateArray())) };

    /// <summary>A JSON list of values, nested however deep they are.</summary>
    internal static JsonElement List(IEnumerable<JsonElement> items) => Write(json =>
    {
        json.WriteStartArray();
        foreach (var item in items)
            item.WriteTo(json);
        json.WriteEndArray();
    });

    /// <summary>JSON that is written and read back; arguments of tools nest deeper than serializers allow by default.</summary>
    internal static JsonElement Write(Action<Utf8JsonWriter> write)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var json = new Utf8JsonWriter(buffer, new() { MaxDepth = Deepest, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
            write(json);
        return JsonDocument.Parse(buffer.WrittenMemory, new() { MaxDepth = Deepest }).RootElement;
    }

    // Rows may nest 512 levels; a list around them adds a few.
    private const int Deepest = 1024;
}

/// <summary>How to render a conversation.</summary>
public sealed record RenderOptions
{
    /// <summary>End with the opening of an assistant turn, so that the model answers.</summary>
    public bool AddGenerationPrompt { get; init; }

    /// <summary>Leave the final message open, so that the model goes on writing it.</summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>Begin with an empty system turn where there is none and the template has a place for one, as the handbook's
    /// <c>auto_insert_empty_system_msg</c> does.</summary>
    public bool InsertEmptySystemTurn { get; init; }

    /// <summary>The tokenizer's special tokens by variable name: <c>bos_token</c> → <c>&lt;s&gt;</c>.</summary>
    public IReadOnlyDictionary<string, string> SpecialTokens { get; init; } = new Dictionary<string, string>();

    /// <summary>What <c>strftime_now</c> calls now; null for the clock.</summary>
    public DateTime? Now { get; init; }
}

/// <summary>A rendered conversation.</summary>
/// <param name="Text">What the model sees.</param>
/// <param name="Spans">The generation blocks in Unicode code points of the text, end exclusive.</param>
public sealed record RenderedChat(string Text, IReadOnlyList<(int Start, int End)> Spans)
{
    /// <summary>Whether a generation block stands in a macro, call or set block, where the reference's spans miss it.</summary>
    internal bool HasMisplacedSpans { get; init; }
}
