using System.Text.Json;
using Handbook.Base;
using Handbook.Text.Tokenizers;

namespace Handbook.Text.Templates;

/// <summary>Conversation → text → token ids, with a mask of what the assistant says.</summary>
/// <remarks>
/// Safe for use from several threads. A rendered chat is tokenised without the tokenizer's own begin and end tokens, because templates
/// write theirs; where <see cref="ChatEncodeOptions.AddSpecialTokens"/> asks for them, a begin token that the template
/// already wrote is not doubled.
/// </remarks>
public sealed class ChatEncoder(Tokenizer tokenizer, ChatTemplate template)
{
    /// <summary>Turns the rendered text into ids.</summary>
    public Tokenizer Tokenizer => tokenizer;

    /// <summary>Renders the conversation.</summary>
    public ChatTemplate Template => template;

    /// <exception cref="TemplateException">The template refuses the conversation.</exception>
    /// <exception cref="InputException">The mask was asked for, and what the assistant says cannot be told apart in the text.</exception>
    public EncodedChat Encode(Conversation conversation, ChatEncodeOptions options)
    {
        var renderOptions = new RenderOptions
        {
            AddGenerationPrompt = options.AddGenerationPrompt,
            ContinueFinalMessage = options.ContinueFinalMessage,
            InsertEmptySystemTurn = options.InsertEmptySystemTurn,
            SpecialTokens = tokenizer.SpecialTokens,
            // One time for all renders of this conversation: they are compared with each other.
            Now = options.Now ?? DateTime.Now,
        };
        var rendered = template.Render(conversation, renderOptions);
        if (!options.WithAssistantMask)
            return new(rendered.Text, EncodeText(rendered.Text, options.AddSpecialTokens), [], []);
        var encoding = EncodeWithOffsets(rendered.Text, options.AddSpecialTokens);
        var spans = template.AssistantSpans(conversation, renderOptions, rendered, SpecialPlaces(encoding));
        var mask = template.For(conversation).HasGenerationBlocks ? TokenMask.FromGenerationSpans(encoding.Offsets, spans)
            : TokenMask.FromSpans(encoding.Offsets, spans);
        return new(rendered.Text, encoding.Ids, mask, spans);
    }

    /// <summary>A conversation in two parts, of which only the second is learnt: what the completion adds to the prompt's text, from behind
    /// as many tokens as that text has by itself.</summary>
    /// <param name="prompt">The turns before; rendered with the opening of an assistant turn where its last
    /// turn is not the assistant's.</param>
    /// <param name="completion">The turns that follow: a JSON list of messages.</param>
    /// <param name="options">Its generation prompt is decided here and so not used.</param>
    public EncodedChat EncodeCompletion(Conversation prompt, JsonElement completion, ChatEncodeOptions options)
    {
        if (completion.ValueKind != JsonValueKind.Array || prompt.Messages.ValueKind != JsonValueKind.Array)
            throw new InputException("prompt and completion must both be lists of {role, content} objects",
                fix: """write each as [{"role": "user", "content": "…"}]""");
        var whole = prompt.With(completion);
        var lastIsAssistant = prompt.Messages.EnumerateArray().LastOrDefault() is { ValueKind: JsonValueKind.Object } last
            && last.TryGetProperty("role", out var role) && role.ValueEquals("assistant");
        var now = options.Now ?? DateTime.Now;
        var head = Encode(prompt,
            options with
            {
                AddGenerationPrompt = !lastIsAssistant,
                ContinueFinalMessage = lastIsAssistant,
                WithAssistantMask = false,
                Now = now
            });
        var full = Encode(whole,
            options with { AddGenerationPrompt = false, ContinueFinalMessage = false, WithAssistantMask = false, Now = now });
        // A generation prompt may hold more than the finished turn (an open think block): what both share is the prompt.
        return Completed(full.Text, full.Text.AsSpan().CommonPrefixLength(head.Text), options.AddSpecialTokens);
    }

    /// <summary>Plain text in two parts, of which only the second is learnt.</summary>
    public EncodedChat EncodeCompletion(string prompt, string completion, bool addSpecialTokens = true) =>
        Completed(prompt + completion, prompt.Length, addSpecialTokens);

    private EncodedChat Completed(string text, int start, bool addSpecialTokens)
    {
        var ids = EncodeText(text, addSpecialTokens);
        var border = PromptBorder.Of(tokenizer.EncodePrompt(text[..start], addSpecialTokens), ids, out var isJoined);
        var mask = new byte[ids.Length];
        mask.AsSpan(border).Fill(1);
        return new(text, ids, mask, [(PyText.Length(text.AsSpan(0, start)), PyText.Length(text))]) { IsJoined = isJoined };
    }

    private int[] EncodeText(string text, bool addSpecialTokens)
    {
        var ids = tokenizer.Encode(text, addSpecialTokens);
        return addSpecialTokens && IsDoubled(text, ids) ? ids[1..] : ids;
    }

    private Encoding EncodeWithOffsets(string text, bool addSpecialTokens)
    {
        var encoding = tokenizer.EncodeWithOffsets(text, addSpecialTokens);
        return addSpecialTokens && IsDoubled(text, encoding.Ids) ? new(encoding.Ids[1..], encoding.Offsets[1..]) : encoding;
    }

    private bool IsDoubled(string text, int[] ids) =>
        ids.Length > 1 && tokenizer.BosId is { } bos && ids[0] == bos && ids[1] == bos
        && tokenizer.SpecialTokens.TryGetValue("bos_token", out var token) && text.StartsWith(token, StringComparison.Ordinal);

    private List<(int Start, int End)> SpecialPlaces(Encoding encoding)
    {
        var places = new List<(int, int)>();
        for (var i = 0; i < encoding.Ids.Length; i++)
            if (encoding.Offsets[i] is var (start, end) && end > start && tokenizer.IsSpecial(encoding.Ids[i]))
                places.Add((start, end));
        return places;
    }
}

/// <summary>How to encode a conversation.</summary>
public sealed record ChatEncodeOptions
{
    /// <summary>End with the opening of an assistant turn, so that the model answers.</summary>
    public bool AddGenerationPrompt { get; init; }

    /// <summary>Leave the final message open, so that the model goes on writing it.</summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>Begin with an empty system turn where there is none and the template has a place for one.</summary>
    public bool InsertEmptySystemTurn { get; init; }

    /// <summary>Let the tokenizer add its own begin and end tokens; a begin token is never doubled.</summary>
    public bool AddSpecialTokens { get; init; }

    /// <summary>Whether to work out the mask of what the assistant says.</summary>
    public bool WithAssistantMask { get; init; } = true;

    /// <summary>What <c>strftime_now</c> calls now; null for the clock.</summary>
    public DateTime? Now { get; init; }
}

/// <summary>An encoded conversation.</summary>
/// <param name="Text">What was tokenised.</param>
/// <param name="Ids">Token ids.</param>
/// <param name="AssistantMask">1 for the tokens to learn, 0 for the others, as long as the ids; empty where it was not asked for.</param>
/// <param name="Spans">The parts of the text to learn, in Unicode code points, end exclusive.</param>
public sealed record EncodedChat(string Text, int[] Ids, byte[] AssistantMask, IReadOnlyList<(int Start, int End)> Spans)
{
    /// <summary>Whether one token holds the end of a prompt and the beginning of its completion.</summary>
    public bool IsJoined { get; init; }
}
