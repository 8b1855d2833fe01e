using System.Text.Json;
using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tokenizing;

/// <summary>A prompt and its answers as texts.</summary>
/// <param name="Prompt">What stands before the answers.</param>
/// <param name="Chosen">Prompt and good answer; null where there is none.</param>
/// <param name="Rejected">Prompt and bad answer; null where there is none.</param>
/// <param name="IsChat">Whether a chat template made them.</param>
internal sealed record RenderedAnswers(string Prompt, string? Chosen, string? Rejected, bool IsChat)
{
    /// <summary>The texts of an example.</summary>
    public static RenderedAnswers Of(Example example, ChatRowEncoder? chats, PreferenceTokenizerOptions options) => example switch
    {
        AnswersExample text => new(text.Prompt, text.Chosen is null ? null : text.Prompt + text.Chosen,
            text.Rejected is null ? null : text.Prompt + text.Rejected, false),
        ChatAnswersExample chat when chats is null => throw new UnusableRowException("no chat template", "the row is a conversation"),
        ChatAnswersExample chat => new Renderer(chats, options).Render(WithTools(chat, options)),
        _ => throw new InvalidOperationException($"{example.GetType().Name} has no answers"),
    };

    private static ChatAnswersExample WithTools(ChatAnswersExample chat, PreferenceTokenizerOptions options) => options.Tools is null
        || chat.Prompt.Tools is not null ? chat
        : chat with { Prompt = chat.Prompt with { Tools = JsonDocument.Parse(options.Tools, JsonOptions.Document).RootElement } };

    private readonly struct Renderer(ChatRowEncoder chats, PreferenceTokenizerOptions options)
    {
        public RenderedAnswers Render(ChatAnswersExample chat)
        {
            var (good, bad) = (With(chat.Chosen), With(chat.Rejected));
            foreach (var conversation in good is null && bad is null ? [chat.Prompt] : new[] { good, bad }.OfType<Conversation>())
                chats.RequireKnownRoles(conversation);
            var empty = options.InsertEmptySystemTurn;
            var chosen = good is null ? null : chats.Render(good, ChatEnding.Closed, empty);
            var rejected = bad is null ? null : chats.Render(bad, ChatEnding.Closed, empty);
            if (options.Shape == AnswerShape.Whole)
                return new("", chosen, rejected, true);
            if (options.RendersParts && options.Shape != AnswerShape.Prompt && Parts(chat, chosen, rejected) is { } parts)
                return parts;

            var prompt = chats.Render(chat.Prompt, Ending(chat.Prompt), empty);
            if (options.Encoding != AnswerEncoding.Tail)
                foreach (var whole in new[] { chosen, rejected })
                    if (whole is not null)
                        prompt = Shared(prompt, whole);
            return new(prompt, chosen, rejected, true);

            Conversation? With(JsonElement? answer) => answer is { } turns ? chat.Prompt.With(turns) : null;
        }

        /// <summary>Prompt and answers rendered one by one; null where the template says something else about them together.</summary>
        private RenderedAnswers? Parts(ChatAnswersExample chat, string? chosen, string? rejected)
        {
            try
            {
                var prompt = chats.Render(chat.Prompt, ChatEnding.Closed, options.InsertEmptySystemTurn);
                return Agrees(prompt, chat, chat.Chosen, chosen) && Agrees(prompt, chat, chat.Rejected, rejected)
                    ? new(prompt, chosen, rejected, true) : null;
            }
            catch (UnusableRowException)
            {
                return null;        // a template that wants a question before each answer
            }
        }

        private bool Agrees(string prompt, ChatAnswersExample chat, JsonElement? answer, string? whole) =>
            answer is not { } turns || prompt + chats.Render(chat.Prompt with { Messages = turns }, ChatEnding.Closed) == whole;

        private ChatEnding Ending(Conversation prompt)
        {
            var role = prompt.Messages.EnumerateArray().LastOrDefault() is { ValueKind: JsonValueKind.Object } last
                ? last.GetProperty("role").GetString() : null;
            return role switch
            {
                _ when options.AlwaysOpensAnswer => ChatEnding.OpensAnswer,
                "assistant" => ChatEnding.LeavesOpen,
                null or "system" or "developer" =>
                    throw new UnusableRowException("nothing to answer",
                    role is null ? "the prompt is empty" : $"the prompt ends with the {role} turn"),
                _ => ChatEnding.OpensAnswer,        // the user, or a tool under whatever name
            };
        }

        private static string Shared(string prompt, string whole)
        {
            var shared = prompt.AsSpan().CommonPrefixLength(whole);
            return prompt[..(shared > 0 && shared < prompt.Length && char.IsHighSurrogate(prompt[shared - 1]) ? shared - 1 : shared)];
        }
    }
}
