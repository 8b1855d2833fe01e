using Handbook.Base;
using Handbook.Text.Templates;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>How text is cut into words before pairs are counted.</summary>
public enum SplitPattern
{
    /// <summary>GPT-2: letters, digits, other characters and white space apart.</summary>
    Gpt2,
    /// <summary>Llama 3: contractions in any case, at most three digits together.</summary>
    Llama3,
    /// <summary>Qwen 2: as Llama 3, one digit at a time.</summary>
    Qwen2,
}

/// <summary>What a new byte-level tokenizer should be.</summary>
public sealed record BpeTrainerOptions
{
    /// <summary>Number of tokens in all: special ones, 256 bytes, and merges.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>A pair must occur so often to become a token.</summary>
    public int MinFrequency { get; init; } = 2;

    /// <summary>How text is cut before pairs are counted: no token reaches over a cut.</summary>
    public SplitPattern Pattern { get; init; } = SplitPattern.Gpt2;

    /// <summary>Special tokens in the order of their ids, from 0; those named below are added where they are missing.</summary>
    public IReadOnlyList<string> SpecialTokens { get; init; } = [];

    /// <summary>The token put before every text; null for none.</summary>
    public string? BosToken { get; init; }

    /// <summary>The token that ends a text; null for none.</summary>
    public string? EosToken { get; init; }

    /// <summary>The token that fills short rows; null for none.</summary>
    public string? PadToken { get; init; }

    /// <summary>Chat template that is saved with the tokenizer; null for none.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>The longest input of the model; null does not say.</summary>
    public int? ModelMaxLength { get; init; }

    /// <summary>All special tokens in the order of their ids.</summary>
    internal string[] AllSpecialTokens => [.. SpecialTokens.Concat(new[] { BosToken, EosToken, PadToken }.OfType<string>()).Distinct()];

    internal void Validate()
    {
        var special = AllSpecialTokens;
        if (special.Contains(""))
            throw new InputException("a special token is empty", "it could not be found in any text", "give it a name such as \"<|end|>\"");
        if (VocabularySize < 256 + special.Length)
            throw new InputException($"vocabulary size {VocabularySize} is too small",
                $"256 bytes and {special.Length} special tokens need {256 + special.Length} ids before the first merge",
                $"use at least {256 + special.Length}; 4096 suits small models");
        if (MinFrequency < 1)
            throw new InputException($"min frequency is {MinFrequency}, but must be at least 1",
                fix: "use 2: a pair seen once teaches nothing");
    }
}
