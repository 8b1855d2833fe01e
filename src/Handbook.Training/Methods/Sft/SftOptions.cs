namespace Handbook.Training.Methods.Sft;

/// <summary>The keys of supervised fine-tuning; each property is one key, in snake_case.</summary>
public sealed record SftOptions
{
    /// <summary>Train on the assistant's turns alone: by the template's <c>{% generation %}</c> blocks, or by the spans of the rendered
    /// turns.</summary>
    [Key(IsUsual = true)]
    public bool AssistantOnlyLoss { get; init; }

    /// <summary>Train on completions and not on prompts; null does so exactly for rows with a <c>prompt</c>, and for tokenised ones with a
    /// <c>completion_mask</c>.</summary>
    public bool? CompletionOnlyLoss { get; init; }

    /// <summary>With <c>dataset_mixer</c>: give conversations without a system turn an empty one, where the template knows system
    /// turns.</summary>
    [Key(Elsewhere = "it belongs to conversations")]
    public bool AutoInsertEmptySystemMsg { get; init; } = true;
}
