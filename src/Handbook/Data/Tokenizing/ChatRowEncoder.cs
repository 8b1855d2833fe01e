using Handbook.Text;

namespace Handbook.Data;

/// <summary>A conversation as tokens.</summary>
/// <param name="AssistantMask">1 for tokens of the assistant; as long as <paramref name="Ids"/>; empty where it was not asked for.</param>
/// <param name="Characters">Length of the rendered text in Unicode code points.</param>
public readonly record struct EncodedRow(int[] Ids, byte[] AssistantMask, int Characters);

/// <summary>Renders conversations with the chat template and tokenises them.</summary>
public abstract class ChatRowEncoder
{
    /// <summary>Everything about the template that changes tokens.</summary>
    public abstract string Fingerprint { get; }

    /// <summary>Whether the template renders calls of tools.</summary>
    public abstract bool RendersToolCalls { get; }

    public abstract EncodedRow Encode(Conversation conversation, RowTokenizerOptions options, bool generationPrompt);
}
