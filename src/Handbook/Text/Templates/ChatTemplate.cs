using System.Text.Json;
using Handbook.Text.Templates;

namespace Handbook.Text;

/// <summary>A chat template: turns a conversation into the one text a model was trained on.</summary>
/// <remarks>
/// The language is Jinja as published templates use it: an immutable sandbox, <c>trim_blocks</c> and <c>lstrip_blocks</c> on, no escaping,
/// break and continue, and <c>{% generation %}</c> blocks around what the assistant says. A template is parsed once and may render on many threads.
/// </remarks>
public sealed partial class ChatTemplate
{
    private const string ContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";
    private readonly ParsedTemplate _parsed;
    private readonly string _normalised;
    private readonly object?[] _globals;
    private readonly Dictionary<string, int> _names;

    private ChatTemplate(string source, string name, string normalised, ParsedTemplate parsed)
    {
        Source = source;
        Name = name;
        _normalised = normalised;
        _parsed = parsed;
        _names = parsed.Names.Select((text, id) => (text, id)).ToDictionary(pair => pair.text, pair => pair.id);
        _globals = [.. parsed.Names.Select(text => Globals.All.TryGetValue(text, out var function) ? function : Arguments.Absent)];
    }

    /// <summary>The template's text as given.</summary>
    public string Source { get; }

    /// <summary>Where the template came from, for messages.</summary>
    public string Name { get; }

    /// <summary>Whether the template itself marks what the assistant says.</summary>
    public bool HasGenerationBlocks => _parsed.Features.Tags.Contains("generation");

    /// <summary>The block tags, filters, tests and variables the template uses, each sorted.</summary>
    public IReadOnlyDictionary<string, IReadOnlyCollection<string>> Features => new Dictionary<string, IReadOnlyCollection<string>>
    {
        ["tags"] = _parsed.Features.Tags,
        ["filters"] = _parsed.Features.Filters,
        ["tests"] = _parsed.Features.Tests,
        ["variables"] = _parsed.Features.Variables,
    };

    /// <param name="source">The template's text.</param>
    /// <param name="name">Where it came from; stands in front of every message.</param>
    /// <exception cref="TemplateException">The text is no template; the message names line and column.</exception>
    public static ChatTemplate Parse(string source, string name)
    {
        var normalised = Lexer.Normalise(source);
        try
        {
            return new(source, name, normalised, Parser.Parse(normalised));
        }
        catch (TemplateSyntaxException error)
        {
            throw new TemplateException(TemplateErrorKind.Syntax, error.Message, name, SourcePosition.Find(normalised, error.At));
        }
    }

    /// <summary>Renders a conversation as <c>apply_chat_template</c> does.</summary>
    /// <exception cref="TemplateException">The template refuses the conversation, or uses what is not there.</exception>
    public RenderedChat Render(Conversation conversation, RenderOptions options)
    {
        if (conversation.Messages.ValueKind != JsonValueKind.Array)
            throw new InputException(
                $"{Name}: messages must be a list of {{role, content}} objects, but is {Describe(conversation.Messages)}",
                fix: """write the conversation as [{"role": "user", "content": "…"}]""");
        var messages = (List<object?>)PyJson.Read(conversation.Messages)!;
        if (options.ContinueFinalMessage)
            MarkFinalMessage(messages, options);
        var variables = new List<(string, object?)>
        {
            ("messages", messages),
            ("add_generation_prompt", Boxes.Of(options.AddGenerationPrompt)),
        };
        Add("tools", conversation.Tools);
        Add("documents", conversation.Documents);
        foreach (var (name, token) in options.SpecialTokens)
            variables.Add((name, token));
        foreach (var (name, value) in conversation.Variables ?? new Dictionary<string, JsonElement>())
            Add(name, value);
        var rendered = RenderValues(variables, options.Now ?? DateTime.Now);
        return options.ContinueFinalMessage ? CutAtTag(rendered) : rendered;

        void Add(string name, JsonElement? value)
        {
            // Most templates never look at most variables: read only those they name.
            if (_names.ContainsKey(name))
                variables.Add((name, value is { ValueKind: not JsonValueKind.Undefined } element ? PyJson.Read(element) : null));
        }
    }

    /// <summary>Renders with any variables, without the rules for conversations.</summary>
    internal RenderedChat RenderValues(IEnumerable<(string Name, object? Value)> variables, DateTime now)
    {
        var values = (object?[])_globals.Clone();
        foreach (var (name, value) in variables)
            if (_names.TryGetValue(name, out var id))
                values[id] = value;
        var frame = new Frame(values);
        if (_names.TryGetValue("self", out var self))
            values[self] = new BlockNames(_parsed.Blocks, frame);
        var render = new Render(now);
        var outer = Budget.Start();
        try
        {
            foreach (var statement in _parsed.Body)
                statement.Run(render, frame);
            return new(render.Finish(), render.Spans);
        }
        catch (JinjaException error)
        {
            throw new TemplateException(error.Kind, error.Message, Name, SourcePosition.Find(_normalised, render.At), inner: error);
        }
        finally
        {
            Budget.Restore(outer);
        }
    }

    private void MarkFinalMessage(List<object?> messages, RenderOptions options)
    {
        if (options.AddGenerationPrompt)
            throw Refused("continue_final_message and add_generation_prompt exclude each other", "set only one of them");
        if (messages.Count == 0 || messages[^1] is not PyDict last)
            throw Refused("continue_final_message is set, but there is no final message", "add the message to continue");
        last.TryGet("content", out var content);
        if (content is string text)
        {
            last.Set("content", text + ContinueTag);
            return;
        }
        var part = (content as List<object?>)?.OfType<PyDict>().LastOrDefault(item => item.Contains("text"));
        if (part is null || !part.TryGet("text", out var partText) || partText is not string ending)
            throw Refused("continue_final_message is set but we could not find any text to continue in the final message!", "give the final message a text as content");
        part.Set("text", ending + ContinueTag);
    }

    private RenderedChat CutAtTag(RenderedChat rendered)
    {
        var bare = ContinueTag.TrimEnd();
        var at = rendered.Text.LastIndexOf(bare, StringComparison.Ordinal);
        if (at < 0)
            throw Refused("continue_final_message is set but the final message does not appear in the chat after applying the chat template!",
                "end the conversation with an assistant message that this template prints, or unset continue_final_message");
        var whole = string.CompareOrdinal(rendered.Text, at, ContinueTag, 0, ContinueTag.Length) == 0;
        var text = whole ? rendered.Text[..at] : PyText.Strip(rendered.Text[..at], left: false);
        return rendered with { Text = text };
    }

    private TemplateException Refused(string detail, string fix) => new(TemplateErrorKind.Value, detail, Name, null, fix);

    private static string Describe(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Undefined => "missing",
        JsonValueKind.Null => "null",
        JsonValueKind.Object => "an object",
        JsonValueKind.String => $"the text {JsonSerializer.Serialize(element.GetString())}",
        _ => element.GetRawText(),
    };
}

/// <summary>A conversation and what else the template may look at.</summary>
public sealed record Conversation
{
    /// <summary>The messages: a JSON list of objects, in most templates with role and content.</summary>
    public required JsonElement Messages { get; init; }

    /// <summary>JSON schemas of the tools the model may call; null for none.</summary>
    public JsonElement? Tools { get; init; }

    /// <summary>Documents to answer from; null for none.</summary>
    public JsonElement? Documents { get; init; }

    /// <summary>More variables for the template, e.g. <c>enable_thinking</c>; null for none.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Variables { get; init; }
}

/// <summary>How to render a conversation.</summary>
public sealed record RenderOptions
{
    /// <summary>End with the opening of an assistant turn, so that the model answers.</summary>
    public bool AddGenerationPrompt { get; init; }

    /// <summary>Leave the final message open, so that the model goes on writing it.</summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>The tokenizer's special tokens by variable name: <c>bos_token</c> → <c>&lt;s&gt;</c>.</summary>
    public IReadOnlyDictionary<string, string> SpecialTokens { get; init; } = new Dictionary<string, string>();

    /// <summary>What <c>strftime_now</c> calls now; null for the clock.</summary>
    public DateTime? Now { get; init; }
}

/// <summary>A rendered conversation.</summary>
/// <param name="Text">What the model sees.</param>
/// <param name="Spans">The generation blocks in Unicode code points of the text, end exclusive.</param>
public sealed record RenderedChat(string Text, IReadOnlyList<(int Start, int End)> Spans);
