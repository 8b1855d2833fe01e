using System.Security.Cryptography;
using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Templates;

/// <summary>A chat template: turns a conversation into the one text a model was trained on.</summary>
/// <remarks>
/// The language is Jinja as published templates use it: an immutable sandbox, <c>trim_blocks</c> and <c>lstrip_blocks</c> on, no escaping,
/// break and continue, and <c>{% generation %}</c> blocks around what the assistant says. A template is parsed once
/// and may render on many threads.
/// </remarks>
public sealed partial class ChatTemplate
{
    private const string ContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";
    private readonly ParsedTemplate _parsed;
    private readonly string _normalised;
    private readonly object?[] _globals;
    private readonly Dictionary<string, int> _names;
    private readonly TurnSeams _seams = new();
    private TemplateForms? _forms;

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

    /// <summary>The template for conversations with tools, where the tokenizer names one (<c>tool_use</c>); null where this
    /// one renders them, too.</summary>
    public ChatTemplate? ForTools { get; internal init; }

    /// <summary>Whether the text depends on the day it is rendered.</summary>
    public bool UsesClock => _names.ContainsKey("strftime_now") || ForTools?.UsesClock == true;

    /// <summary>Whether the template looks at the calls of tools in assistant messages.</summary>
    public bool RendersToolCalls => Source.Contains("tool_calls", StringComparison.Ordinal) || ForTools?.RendersToolCalls == true;

    /// <summary>SHA-256 (hex) of the template's text: caches of rendered data are keyed by it.</summary>
    public string Fingerprint =>
        field ??= Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(Source + ForTools?.Source)));

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
    public static ChatTemplate Parse(string source, string name) => Parse(source, name, null);

    /// <summary>A template of a text, not of a conversation: every blank and line feed of it counts.</summary>
    /// <inheritdoc cref="Parse(string, string)"/>
    internal static ChatTemplate ParseText(string source, string name) => Parse(source, name, null, isChat: false);

    private static ChatTemplate Parse(string source, string name, ChatTemplate? forTools, bool isChat = true)
    {
        var normalised = isChat ? Lexer.Normalise(source) : source.ReplaceLineEndings("\n");
        try
        {
            return new(source, name, normalised, Parser.Parse(normalised, isChat)) { ForTools = forTools };
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
        var template = For(conversation);
        return template.Render(template.Messages(conversation, options), conversation, options);
    }

    /// <summary>The conversation in the forms that the template takes: contents as texts or parts, arguments of calls as
    /// objects or JSON text.</summary>
    /// <param name="options">Special tokens and time of the render to come.</param>
    public Conversation Fitted(Conversation conversation, RenderOptions options)
    {
        var template = For(conversation);
        return ConversationForm.For(template.Forms(options), conversation);
    }

    /// <summary>The forms of messages that the template takes.</summary>
    internal TemplateForms Forms(RenderOptions options) =>
        LazyInitializer.EnsureInitialized(ref _forms, () => TemplateForms.Of(this, options));

    /// <summary>The template that renders a conversation: another one where it has tools and the tokenizer names one for them.</summary>
    internal ChatTemplate For(Conversation conversation) => ForTools is { } other && conversation.HasTools ? other : this;

    /// <summary>What the assistant says in a rendered conversation, with the tokens that end its turns; in code
    /// points, end exclusive.</summary>
    /// <param name="rendered">The render of this conversation with these options; with generation blocks its spans are the answer.</param>
    /// <param name="specials">Places of special tokens in the text, in code points, in order: a turn ends with the
    /// first one behind its text.</param>
    /// <exception cref="InputException">What the assistant says cannot be told apart in the text.</exception>
    public IReadOnlyList<(int Start, int End)> AssistantSpans(Conversation conversation, RenderOptions options, RenderedChat rendered,
        IReadOnlyList<(int Start, int End)> specials)
    {
        var template = For(conversation);
        options = options with { Now = options.Now ?? DateTime.Now };
        return !template.HasGenerationBlocks
            ? new AssistantTurns(template, conversation, options, rendered.Text, specials, template._seams).Find()
            : rendered.HasMisplacedSpans ? template.BlockPlaces(conversation, options, rendered.Text) : rendered.Spans;
    }

    /// <summary>Whether generation blocks leave out words of the assistant that the template renders; false without blocks.</summary>
    internal bool BlocksMissWords(Conversation conversation, RenderOptions options)
    {
        var template = For(conversation);
        if (!template.HasGenerationBlocks)
            return false;
        var rendered = Render(conversation, options);
        var spans = TextPlaces.ToUnits(rendered.Text, AssistantSpans(conversation, options, rendered, []));
        var messages = template.Messages(conversation, options);
        var beginnings = new RenderedBeginnings(template, conversation, options);
        return new MessageMarks(() => template.Messages(conversation, options), changed => beginnings.TryRender(changed, options))
            .Find(rendered.Text).Exists(piece =>
            piece.End > piece.Start && messages[piece.Message] is PyDict message
                && message.TryGet("role", out var role) && role is "assistant"
            && !spans.Exists(span => span.Start < piece.End && piece.Start < span.End));
    }

    /// <summary>Where the generation blocks stand, whatever macro or set block they were rendered in: a render with
    /// marks around them tells.</summary>
    private List<(int Start, int End)> BlockPlaces(Conversation conversation, RenderOptions options, string text)
    {
        var marked = Render(Messages(conversation, options), conversation, options, marksBlocks: true).Text;
        var plain = new System.Text.StringBuilder(marked.Length);
        var spans = new List<(int Start, int End)>();
        var depth = 0;
        foreach (var letter in marked)
            if (letter == Templates.Render.BlockStart)
            {
                if (depth++ == 0)
                    spans.Add((plain.Length, plain.Length));
            }
            else if (letter == Templates.Render.BlockEnd)
            {
                if (--depth == 0)
                    spans[^1] = (spans[^1].Start, plain.Length);
            }
            else
                plain.Append(letter);
        return depth == 0 && plain.Equals(text) ? TextPlaces.ToCodePoints(text, [.. spans.Where(span => span.End > span.Start)])
            : throw new InputException(
            $"{Name}: a generation block stands in a macro, call or set block whose text the template changes afterwards, so what it "
                + "marks cannot be placed",
            "the loss mask would be a guess",
                "move {% generation %} … {% endgeneration %} out of the macro, or train on all tokens with assistant_only_loss: false");
    }

    /// <summary>The messages as values of the language, an empty system turn in front where the options ask for it.</summary>
    internal List<object?> Messages(Conversation conversation, RenderOptions options)
    {
        if (conversation.Messages.ValueKind != JsonValueKind.Array)
            throw new InputException(
                $"{Name}: messages must be a list of {{role, content}} objects, but is {Describe(conversation.Messages)}",
                fix: """write the conversation as [{"role": "user", "content": "…"}]""");
        var messages = (List<object?>)PyJson.Read(conversation.Messages)!;
        if (options.InsertEmptySystemTurn)
            InsertEmptySystemTurn(messages);
        return messages;
    }

    /// <param name="messages">What stands for the conversation's own messages.</param>
    /// <param name="marksBlocks">Whether generation blocks stand between marks.</param>
    internal RenderedChat Render(List<object?> messages, Conversation conversation, RenderOptions options, bool marksBlocks = false)
    {
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
        var rendered = RenderValues(variables, options.Now ?? DateTime.Now, marksBlocks);
        return options.ContinueFinalMessage ? CutAtTag(rendered) : rendered;

        void Add(string name, JsonElement? value)
        {
            // Most templates never look at most variables: read only those they name.
            if (_names.ContainsKey(name))
                variables.Add((name, value is { ValueKind: not JsonValueKind.Undefined } element ? PyJson.Read(element) : null));
        }
    }

    /// <summary>Renders with any variables, without the rules for conversations.</summary>
    internal RenderedChat RenderValues(IEnumerable<(string Name, object? Value)> variables, DateTime now, bool marksBlocks = false)
    {
        var values = (object?[])_globals.Clone();
        foreach (var (name, value) in variables)
            if (_names.TryGetValue(name, out var id))
                values[id] = value;
        var frame = new Frame(values);
        if (_names.TryGetValue("self", out var self))
            values[self] = new BlockNames(_parsed.Blocks, frame);
        var render = new Render(now, marksBlocks);
        var outer = Budget.Start();
        try
        {
            foreach (var statement in _parsed.Body)
                statement.Run(render, frame);
            return new(render.Finish(), render.Spans) { HasMisplacedSpans = render.HasMisplacedSpans };
        }
        catch (JinjaException error)
        {
            throw new TemplateException(error.Kind, error.Message, Name, SourcePosition.Find(_normalised, render.At),
                Fix(error.Message), error)
            { MissingKey = error.MissingKey };
        }
        finally
        {
            Budget.Restore(outer);
        }
    }

    private static string? Fix(string message) => message.EndsWith("_token' is undefined", StringComparison.Ordinal)
        ? $"the tokenizer does not name this token: set {message[1..message.IndexOf('\'', 1)]} in the recipe or in tokenizer_config.json"
        : null;

    private void InsertEmptySystemTurn(List<object?> messages)
    {
        if (messages.Count == 0)
            throw Refused("the list of messages is empty", "leave rows without messages out");
        var hasSystem = messages[0] is PyDict first && first.TryGet("role", out var role) && role is "system";
        if (hasSystem || !(Source.Contains("system", StringComparison.Ordinal)
            || Source.Contains("<|im_start|>", StringComparison.Ordinal)))
            return;
        var system = new PyDict();
        system.Set("role", "system");
        system.Set("content", "");
        messages.Insert(0, system);
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
            throw Refused("continue_final_message is set but we could not find any text to continue in the final message!",
                "give the final message a text as content");
        part.Set("text", ending + ContinueTag);
    }

    private RenderedChat CutAtTag(RenderedChat rendered)
    {
        var bare = ContinueTag.TrimEnd();
        var at = rendered.Text.LastIndexOf(bare, StringComparison.Ordinal);
        if (at < 0)
            throw Refused("continue_final_message is set but the final message does not appear in the chat after applying the "
                + "chat template!",
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
