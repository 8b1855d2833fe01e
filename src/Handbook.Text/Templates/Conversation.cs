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
}

/// <summary>How to render a conversation.</summary>
public sealed record RenderOptions
{
    /// <summary>End with the opening of an assistant turn, so that the model answers.</summary>
    public bool AddGenerationPrompt { get; init; }

    /// <summary>Leave the final message open, so that the model goes on writing it.</summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>Begin with an empty system turn where there is none and the template has a place for one, as the handbook's <c>auto_insert_empty_system_msg</c> does.</summary>
    public bool InsertEmptySystemTurn { get; init; }

    /// <summary>The tokenizer's special tokens by variable name: <c>bos_token</c> → <c>&lt;s&gt;</c>.</summary>
    public IReadOnlyDictionary<string, string> SpecialTokens { get; init; } = new Dictionary<string, string>();

    /// <summary>What <c>strftime_now</c> calls now; null for the clock.</summary>
    public DateTime? Now { get; init; }
}

/// <summary>A rendered conversation.</summary>
/// <param name="Text">What the model sees.</param>
/// <param name="Spans">The generation blocks in Unicode code points of the text, end exclusive.</param>
public sealed record RenderedChat(string Text, IReadOnlyList<(int Start, int End)> Spans);
