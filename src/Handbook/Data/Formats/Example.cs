using System.Text.Json;
using Handbook.Text;

namespace Handbook.Data;

/// <summary>What a row holds, whatever layout it came in.</summary>
public abstract record Example;

/// <summary>Plain text.</summary>
public sealed record TextExample(string Text) : Example;

/// <summary>A text and how it goes on.</summary>
public sealed record PromptExample(string Prompt, string Completion) : Example;

/// <summary>A conversation.</summary>
public sealed record ChatExample(Conversation Conversation) : Example;

/// <summary>The beginning of a conversation, and the turns that complete it.</summary>
/// <param name="Completion">A list of turns.</param>
public sealed record ChatPromptExample(Conversation Prompt, JsonElement Completion) : Example
{
    /// <summary>Both as one conversation.</summary>
    public Conversation Whole => Prompt with { Messages = JsonSerializer.SerializeToElement(Prompt.Messages.EnumerateArray().Concat(Completion.EnumerateArray())) };
}

/// <summary>Tokens that were made elsewhere.</summary>
/// <param name="Loss">1 where a token is to be predicted.</param>
public sealed record TokensExample(int[] Ids, byte[] Loss) : Example;

/// <summary>Two answers of which the first is preferred; the values as they stand in the row.</summary>
/// <param name="Prompt">null where the prompt is only the common beginning of the answers.</param>
public sealed record PreferenceExample(JsonElement? Prompt, JsonElement Chosen, JsonElement Rejected) : Example;
