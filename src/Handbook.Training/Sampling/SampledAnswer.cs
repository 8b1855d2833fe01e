using System.Text;
using System.Text.Json;
using Handbook.Text.Templates;

namespace Handbook.Training.Sampling;

/// <summary>An answer to be scored, with what it answers.</summary>
public sealed record SampledAnswer
{
    /// <summary>The prompt as a text; null where it is a conversation.</summary>
    public string? Text { get; init; }

    /// <summary>The prompt's turns, a JSON list; null where it is a text.</summary>
    public JsonElement? Messages { get; init; }

    /// <summary>What the chat template is given beside the turns; null for nothing.</summary>
    public TemplateInputs? Inputs { get; init; }

    /// <summary>What the model said.</summary>
    public required string Answer { get; init; }

    /// <summary>The right answer; null where none is known.</summary>
    public string? Reference { get; init; }

    /// <summary>Whether the answer ended by itself, not at its greatest length.</summary>
    public bool Finished { get; init; } = true;

    /// <summary>Where the prompt stands, for messages.</summary>
    public string Place { get; init; } = "the prompt";

    /// <summary>The prompt as a reader sees it: the text, or the turns one below the other; a single user turn stands alone.</summary>
    public string PromptText()
    {
        if (Messages is not { } messages)
            return Text ?? "";
        var turns = messages.EnumerateArray().Select(turn => (Role: turn.GetProperty("role").GetString()!, Content: ContentOf(turn)))
            .ToArray();
        return turns is [("user", var only)] ? only : string.Join("\n\n", turns.Select(turn => $"{turn.Role}: {turn.Content}"));
    }

    private static string ContentOf(JsonElement turn)
    {
        if (!turn.TryGetProperty("content", out var content) || content.ValueKind == JsonValueKind.Null)
            return "";
        if (content.ValueKind == JsonValueKind.String)
            return content.GetString()!;
        if (content.ValueKind != JsonValueKind.Array)
            return content.GetRawText();
        var text = new StringBuilder();
        foreach (var part in content.EnumerateArray())
            text.Append(part.ValueKind == JsonValueKind.Object && part.TryGetProperty("text", out var words) ? words.GetString()
                : part.GetRawText());
        return text.ToString();
    }
}

/// <summary>What a scorer thinks of an answer.</summary>
/// <param name="Value">The larger the better; rules give 0 or 1. NaN: it could not be scored, e.g. the judge gave no mark.</param>
/// <param name="Detail">Why, where it is worth keeping: a judge's words, a failed test's last lines.</param>
public readonly record struct AnswerRating(double Value, string? Detail = null);
