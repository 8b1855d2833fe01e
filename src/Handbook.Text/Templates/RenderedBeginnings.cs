namespace Handbook.Text.Templates;

/// <summary>The renders of a conversation's first messages: what a model has read when a turn begins, and when it has ended.</summary>
internal sealed class RenderedBeginnings(ChatTemplate template, Conversation conversation, RenderOptions options)
{
    private readonly Dictionary<(int Count, bool Opened), string?> _texts = [];
    private readonly Dictionary<(int Count, bool Opened), List<MessagePiece>> _pieces = [];

    private RenderOptions Closed => options with { AddGenerationPrompt = false, ContinueFinalMessage = false };

    /// <summary>The render of the first messages; null where the template refuses it.</summary>
    /// <param name="opened">Whether it ends with the opening of an answer.</param>
    public string? Of(int count, bool opened) => _texts.TryGetValue((count, opened), out var known) ? known
        : _texts[(count, opened)] = TryRender(Messages(count), Closed with { AddGenerationPrompt = opened });

    /// <summary>What the messages say in such a render.</summary>
    public List<MessagePiece> Pieces(int count, bool opened)
    {
        if (_pieces.TryGetValue((count, opened), out var known))
            return known;
        var marks = new MessageMarks(() => Messages(count), messages => TryRender(messages, Closed with { AddGenerationPrompt = opened }));
        return _pieces[(count, opened)] = Of(count, opened) is { } text ? marks.Find(text) : [];
    }

    /// <summary>The render of the first messages with one more; null where the template refuses it.</summary>
    public string? With(int count, string role, string content)
    {
        var messages = Messages(count);
        var words = new PyDict();
        words.Set("role", role);
        words.Set("content", content);
        messages.Add(words);
        return TryRender(messages, Closed);
    }

    /// <summary>What the template adds where it asks for an answer.</summary>
    public string Opening(int turn) => Of(turn, opened: true) is { } opened && Of(turn, opened: false) is { } closed
        && opened.StartsWith(closed, StringComparison.Ordinal) ? opened[closed.Length..] : "";

    /// <summary>Whether asking for an answer adds to the render, or only takes off what ends a chat.</summary>
    public bool HasOpening(int turn) => Of(turn, opened: true) is { } opened
        && (Of(turn, opened: false) is not { } closed || !closed.StartsWith(opened, StringComparison.Ordinal));

    /// <summary>Length of a beginning's render that stays when a user goes on; null where that changes the words before.</summary>
    public int? ClosingLength(int count)
    {
        if (Of(count, opened: false) is not { } closed || With(count, "user", "x") is not { } continued)
            return null;
        var shared = closed.AsSpan().CommonPrefixLength(continued);
        return Pieces(count, opened: false) is [.., var last] && last.End > shared ? null : shared;
    }

    /// <summary>The render of changed messages; null where the template refuses them, as not every template
    /// accepts every beginning.</summary>
    public string? TryRender(List<object?> messages, RenderOptions how)
    {
        try
        {
            return template.Render(messages, conversation, how).Text;
        }
        catch (TemplateException)
        {
            return null;
        }
    }

    private List<object?> Messages(int count)
    {
        var messages = template.Messages(conversation, options);
        messages.RemoveRange(Math.Min(count, messages.Count), Math.Max(0, messages.Count - count));
        return messages;
    }
}
