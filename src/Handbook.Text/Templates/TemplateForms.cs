using System.Text.Json;

namespace Handbook.Text.Templates;

/// <summary>The forms in which a template takes what a message holds: found by rendering small conversations in each form.</summary>
/// <remarks>
/// Rows keep a content as a text or as a list of parts, and the arguments of a call as an object or as JSON text (the wire format of chat
/// endpoints). Most templates take one form of each; another is refused, left out, printed as Python writes it or encoded twice.
/// </remarks>
internal sealed class TemplateForms
{
    private const string First = "quillwort", Second = "marram";
    private readonly ChatTemplate _template;
    private readonly RenderOptions _options;

    private TemplateForms(ChatTemplate template, RenderOptions options)
    {
        (_template, _options) = (template,
            options with { AddGenerationPrompt = false, ContinueFinalMessage = false, InsertEmptySystemTurn = false });
        var text = Shows(Chat(Quoted(First), Quoted(Second)), null);
        TakesParts = Shows(Chat(Part(First), Part(Second)), "'text'");
        TakesText = text || !TakesParts;
        var asObject = Shows(Call($$"""{"place": "{{First}}", "time": "{{Second}}"}"""), "'place'");
        TakesArgumentTexts = !asObject && RendersAsText();
        TakesArgumentObjects = !TakesArgumentTexts;
    }

    /// <summary>Whether a content that is a text is rendered.</summary>
    public bool TakesText { get; }

    /// <summary>Whether a content that is a list of text parts is rendered as their texts.</summary>
    public bool TakesParts { get; }

    /// <summary>Whether arguments of calls are objects to the template.</summary>
    public bool TakesArgumentObjects { get; }

    /// <summary>Whether arguments of calls must be JSON text.</summary>
    public bool TakesArgumentTexts { get; }

    /// <summary>The forms that a template takes.</summary>
    /// <param name="options">Special tokens and time of the renders.</param>
    public static TemplateForms Of(ChatTemplate template, RenderOptions options) => new(template, options);

    private bool RendersAsText() =>
        Shows(Call(JsonSerializer.Serialize($$"""{"place": "{{First}}", "time": "{{Second}}"}""")), "\\\"place");

    /// <summary>Whether both words stand in the render, and what would tell a wrong form does not.</summary>
    private bool Shows(string messages, string? wrong)
    {
        try
        {
            var conversation = new Conversation { Messages = JsonElement.Parse(messages), Tools = null };
            var text = _template.Render(_template.Messages(conversation, _options), conversation, _options).Text;
            return text.Contains(First, StringComparison.Ordinal) && text.Contains(Second, StringComparison.Ordinal)
                && (wrong is null || !text.Contains(wrong, StringComparison.Ordinal));
        }
        catch (TemplateException)
        {
            return false;
        }
    }

    private static string Chat(string asked, string said) =>
        $$"""[{"role": "user", "content": {{asked}}}, {"role": "assistant", "content": {{said}}}]""";

    private static string Call(string arguments) => $$"""
        [{"role": "user", "content": "x"},
         {"role": "assistant", "content": "", "tool_calls": [{"id": "abcdefghi", "type": "function", "function": {"name": "f", "arguments": {{arguments}} } }]}]
        """;

    private static string Quoted(string word) => $"\"{word}\"";

    private static string Part(string word) => $$"""[{"type": "text", "text": "{{word}}"}]""";
}
