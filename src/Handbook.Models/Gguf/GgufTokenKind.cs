namespace Handbook.Models.Gguf;

/// <summary>What a token is, by its number in <c>tokenizer.ggml.token_type</c>.</summary>
internal enum GgufTokenKind
{
    Normal = 1,
    Unknown = 2,

    /// <summary>A special token, which texts do not show.</summary>
    Control = 3,

    /// <summary>A token that is cut out of texts before the model sees them, and is shown.</summary>
    UserDefined = 4,

    /// <summary>A row of the embedding without a token.</summary>
    Unused = 5,

    /// <summary>A byte of text that no other token covers.</summary>
    Byte = 6,
}
