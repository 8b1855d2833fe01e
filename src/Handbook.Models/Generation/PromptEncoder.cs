using System.Text.Json;
using System.Text.Json.Nodes;
using Handbook.Base;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Models.Generation;

/// <summary>Prompts as a model reads them, and the tokens that end its answers.</summary>
internal sealed class PromptEncoder
{
    private readonly string _folder;
    private readonly GenerationDefaults _defaults;
    private readonly ChatEncoder? _chat;

    /// <param name="folder">The model's folder, for messages.</param>
    public PromptEncoder(string folder, Tokenizer tokenizer, GenerationDefaults defaults)
    {
        (_folder, Tokenizer, _defaults) = (folder, tokenizer, defaults);
        if (tokenizer.ChatTemplates.Count > 0)
            _chat = new ChatEncoder(tokenizer, ChatTemplate.Of(tokenizer, $"{folder}: chat template"));
        TurnEnd = EndOfTurn();
        int?[] ends = [.. defaults.EosIds.Select(id => (int?)id), tokenizer.EosId, TurnEnd];
        StopIds = [.. ends.OfType<int>().Distinct()];
    }

    public Tokenizer Tokenizer { get; }

    /// <summary>Whether there is a chat template.</summary>
    public bool CanChat => _chat is not null;

    /// <summary>The end tokens of the model and of the tokenizer, and the one that ends a turn of the chat template.</summary>
    public IReadOnlyList<int> StopIds { get; }

    /// <summary>The token of its own that the chat template writes behind what the assistant says; null where there is none.</summary>
    public int? TurnEnd { get; }

    /// <summary>A text to go on from, with the begin token that the tokenizer adds, but never two.</summary>
    public int[] EncodeText(string text)
    {
        var ids = Tokenizer.EncodePrompt(text);
        return ids.Length == 0 && (Tokenizer.BosId ?? _defaults.BosId) is { } begin ? [begin] : ids;
    }

    /// <summary>A conversation up to the assistant's next turn.</summary>
    /// <param name="messages">A JSON list of objects with role and content.</param>
    /// <param name="inputs">What the chat template is given beside them; null for nothing.</param>
    public int[] EncodeChat(JsonElement messages, TemplateInputs? inputs = null) => _chat is null
        ? throw new InputException($"{_folder} has no chat template",
            why: "without one it is not known how the model tells the turns of a conversation apart",
            fix: "give it plain text to go on from, or a tokenizer with a chat_template")
        : _chat.Encode(_chat.Template.Fitted(inputs?.With(messages) ?? new Conversation { Messages = messages },
            new() { SpecialTokens = Tokenizer.SpecialTokens }),
            new ChatEncodeOptions { AddGenerationPrompt = true, WithAssistantMask = false }).Ids;

    /// <summary>A prompt of either kind.</summary>
    /// <param name="textsAreTurns">Whether a text is what a user says, not a text to go on from.</param>
    public int[] Encode(Prompt prompt, bool textsAreTurns) =>
        prompt.Messages is { } messages ? EncodeChat(messages, prompt.Inputs)
        : textsAreTurns
            ? EncodeChat(JsonSerializer.SerializeToElement(new JsonArray(new JsonObject { ["role"] = "user", ["content"] = prompt.Text })),
            prompt.Inputs)
        : EncodeText(prompt.Text!);

    /// <summary>With what the chat template opens an answer; empty where there is no template, or it opens with nothing.</summary>
    public int[] AnswerOpening()
    {
        if (_chat is null)
            return [];
        var conversation = new Conversation
        {
            Messages = JsonSerializer.SerializeToElement(new[] { new { role = "user", content = "question" } }),
        };
        try
        {
            string Render(bool opens) => _chat.Template.Render(conversation,
                new RenderOptions { AddGenerationPrompt = opens, SpecialTokens = Tokenizer.SpecialTokens }).Text;
            var (closed, open) = (Render(false), Render(true));
            return open.StartsWith(closed, StringComparison.Ordinal)
                ? Tokenizer.Encode(open[closed.Length..], addSpecialTokens: false) : [];
        }
        catch (TemplateException)
        {
            return [];
        }
    }

    private int? EndOfTurn()
    {
        const string said = "answer";
        if (_chat is null)
            return null;
        var messages = JsonSerializer.SerializeToElement(new[] { new { role = "user", content = "question" },
            new { role = "assistant", content = said } });
        try
        {
            var text = _chat.Template.Render(new Conversation { Messages = messages },
                new RenderOptions { SpecialTokens = Tokenizer.SpecialTokens }).Text;
            var behind = text.LastIndexOf(said, StringComparison.Ordinal);
            if (behind < 0)
                return null;
            var own = Tokenizer.AddedTokens.Select(token => token.Id).ToHashSet();
            return Tokenizer.Encode(text[(behind + said.Length)..], addSpecialTokens: false).Where(own.Contains).Select(id => (int?)id)
                .FirstOrDefault();
        }
        catch (TemplateException)
        {
            return null;        // a template that refuses so short a conversation
        }
    }
}
