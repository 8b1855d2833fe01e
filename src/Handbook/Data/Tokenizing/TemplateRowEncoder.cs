using System.Security.Cryptography;
using Handbook.Text;

namespace Handbook.Data;

/// <summary>Renders conversations with a chat template and tokenises the text; the assistant's tokens come from the template's marks or its turns.</summary>
public sealed class TemplateRowEncoder(Tokenizer tokenizer, ChatTemplate template) : ChatRowEncoder
{
    private readonly ChatEncoder _encoder = new(tokenizer, template);

    public override string Fingerprint { get; } = Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(template.Source)));

    public override bool RendersToolCalls { get; } = template.Source.Contains("tool_calls", StringComparison.Ordinal);

    public override EncodedRow Encode(Conversation conversation, RowTokenizerOptions options, bool generationPrompt)
    {
        var chat = _encoder.Encode(conversation, new ChatEncodeOptions
        {
            AddGenerationPrompt = generationPrompt,
            InsertEmptySystemTurn = options.InsertEmptySystemTurn,
            AddSpecialTokens = options.AddSpecialTokensToChats,
            WithAssistantMask = options.Loss == LossScope.Assistant && !generationPrompt,
        });
        return new EncodedRow(chat.Ids, chat.AssistantMask, CodePoints(chat.Text));
    }

    private static int CodePoints(string text)
    {
        var count = text.Length;
        foreach (var unit in text)
            count -= char.IsLowSurrogate(unit) ? 1 : 0;
        return count;
    }
}
