namespace Handbook.Text.Templates;

/// <summary>What a base model needs for conversations in ChatML, as the reference's <c>setup_chat_format</c> sets it up.</summary>
internal static class ChatFormat
{
    private const string Begin = "<|im_start|>", End = "<|im_end|>";

    /// <summary>The special tokens.</summary>
    public static IReadOnlyList<string> Tokens { get; } = [Begin, End];

    /// <summary>What they are: an answer ends with the second, which fills rows, too.</summary>
    public static IReadOnlyDictionary<string, string> Roles { get; } =
        new Dictionary<string, string> { ["bos_token"] = Begin, ["eos_token"] = End, ["pad_token"] = End };
}
