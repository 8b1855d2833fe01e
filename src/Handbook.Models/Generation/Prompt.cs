using System.Text.Json;
using Handbook.Text.Templates;

namespace Handbook.Models.Generation;

/// <summary>One prompt: a text, or the messages of a conversation.</summary>
public sealed record Prompt
{
    /// <summary>Null where the prompt is a conversation.</summary>
    public string? Text { get; init; }

    /// <summary>A JSON list of messages; null where the prompt is a text.</summary>
    public JsonElement? Messages { get; init; }

    /// <summary>What the chat template is given beside the messages; null for nothing.</summary>
    public TemplateInputs? Inputs { get; init; }

    /// <summary>The answer that is right; null where none is known.</summary>
    public string? Expected { get; init; }

    /// <summary>The row that the prompt was read from, without the prompt; null where it is of no row.</summary>
    public JsonElement? Row { get; init; }

    /// <summary>Where the prompt stands, for messages.</summary>
    public string Place { get; init; } = "the prompt";
}
