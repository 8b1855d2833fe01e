using System.Text.Json;
using Handbook.Text.Templates;

namespace Handbook.Data.Formats;

/// <summary>What a row holds, whatever layout it came in.</summary>
public abstract record Example
{
    /// <summary>What a user should know about how the row is read: the same words for every such row, so that rows can be counted by
    /// them.</summary>
    public IReadOnlyList<string> Remarks { get; init; } = [];
}

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
    public Conversation Whole => Prompt.With(Completion);
}

/// <summary>Tokens that were made elsewhere.</summary>
/// <param name="Loss">1 where a token is to be predicted.</param>
/// <param name="LossWithPrompts">The same where prompts are learnt as well: whatever <c>completion_mask</c> says.</param>
public sealed record TokensExample(int[] Ids, byte[] Loss, byte[] LossWithPrompts) : Example;

/// <summary>A text with a good and a bad way to go on; either is null where the row has it not.</summary>
/// <param name="Margin">By how much the good one is better, where the row says so.</param>
public sealed record AnswersExample(string Prompt, string? Chosen, string? Rejected, double Margin = 0) : Example;

/// <summary>A row that gives several examples: a ranked list of answers, taken two by two.</summary>
public sealed record SeveralExamples(IReadOnlyList<Example> Examples) : Example;

/// <summary>The beginning of a conversation with good and bad turns to follow; either list is null where the row has it not.</summary>
/// <param name="Margin">By how much the good one is better, where the row says so.</param>
public sealed record ChatAnswersExample(Conversation Prompt, JsonElement? Chosen, JsonElement? Rejected, double Margin = 0) : Example;
