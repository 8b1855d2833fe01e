using Handbook.Base;

namespace Handbook.Text.Tokenizers.Training;

/// <summary>What a new tokenizer of any kind should be.</summary>
public abstract record TrainerOptions
{
    /// <summary>Number of tokens in all, special ones included.</summary>
    public required int VocabularySize { get; init; }

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

    /// <summary>Named tokens: role and token, in the order of their ids where <see cref="SpecialTokens"/> lacks them.</summary>
    internal virtual IEnumerable<(string Role, string? Token)> Names =>
        [("bos_token", BosToken), ("eos_token", EosToken), ("pad_token", PadToken)];

    /// <summary>Learns from texts a tokenizer that is so.</summary>
    /// <exception cref="InputException">The options cannot be met.</exception>
    public abstract Tokenizer Train(IEnumerable<string> texts);

    /// <summary>All special tokens in the order of their ids.</summary>
    internal string[] AllSpecialTokens =>
        [.. SpecialTokens.Concat(Names.Select(name => name.Token).OfType<string>()).Distinct()];

    /// <param name="symbols">What the first symbols are, for the message.</param>
    /// <param name="count">How many of them need ids besides the special tokens.</param>
    internal void Validate(string symbols, int count)
    {
        var special = AllSpecialTokens;
        if (special.Contains(""))
            throw new InputException("a special token is empty", "it could not be found in any text", "give it a name such as \"<|end|>\"");
        if (VocabularySize < count + special.Length)
            throw new InputException($"vocabulary size {VocabularySize} is too small",
                $"{count} {symbols} and {special.Length} special tokens need {count + special.Length} ids before anything is learned",
                $"use at least {count + special.Length}; 4096 suits small models");
    }
}
