using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Mixing;

/// <summary>What a user should know about rows that can all be read: a reading that may not be the one that was meant.</summary>
internal static class RowRemarks
{
    /// <param name="source">The rows; the first that can be read stands for them.</param>
    /// <param name="reader">Reads their layout.</param>
    /// <param name="options">With the tokenizer and its template.</param>
    /// <returns>Whole lines for the log, each with its weight: <c>note: …</c> or <c>warning: …</c>.</returns>
    public static IEnumerable<string> Of(IRowSource source, RowReader reader, TrainingDataOptions options)
    {
        if (reader.IgnoresPreference)
            yield return $"note: {source.Name}: the column preference is not read: chosen and rejected are taken as they stand. If it says which answer is better (1 or 2), "
                + "map it, or the labels of some rows are the wrong way round: column_mapping: {preference: preference, …}";
        if (options.Chats is { } chats && FirstChat(source, reader) is { } chat && SplitEnd(options.Tokenizer, chats, chat) is { } split)
            yield return $"warning: {split}";
    }

    private static Conversation? FirstChat(IRowSource source, RowReader reader)
    {
        if (reader.Layout is RowLayout.Text or RowLayout.Tokens)
            return null;
        var first = source.Read().Where(row => row.Problem is null).Select(row => reader.Read(row.Value, out _)).FirstOrDefault(example => example is not null);
        return (first is SeveralExamples several ? several.Examples[0] : first) switch
        {
            ChatExample chat => chat.Conversation,
            ChatPromptExample parts => parts.Whole,
            ChatAnswersExample { Prompt: var prompt } answers when (answers.Chosen ?? answers.Rejected) is { } answer => new ChatPromptExample(prompt, answer).Whole,
            _ => null,
        };
    }

    /// <summary>Says that the end token a template writes is no single token where it stands; null where it is one, or where the template does not write it.</summary>
    /// <remarks>The text before decides: tokenizers whose added tokens are normalized find them behind a blank or at the beginning alone.</remarks>
    internal static string? SplitEnd(Tokenizer tokenizer, ChatRowEncoder chats, Conversation chat)
    {
        if (tokenizer.EosId is not { } id || !tokenizer.SpecialTokens.TryGetValue("eos_token", out var end) || Rendered(chats, chat) is not { } text)
            return null;
        for (var at = text.IndexOf(end, StringComparison.Ordinal); at >= 0; at = text.IndexOf(end, at + end.Length, StringComparison.Ordinal))
        {
            var (before, until) = (Ids(text[..at]), Ids(text[..(at + end.Length)]));
            if (until[^1] != id)
                return $"the chat template writes the end token {end}, which this tokenizer splits into {until.Length - before.Length} pieces where it stands: turns end with these "
                    + $"and not with the single token {id}, so that the model does not learn to stop with it. The usual cause are added tokens with \"normalized\": true in tokenizer.json";
        }
        return null;

        int[] Ids(string part) => tokenizer.Encode(part, addSpecialTokens: false);
    }

    private static string? Rendered(ChatRowEncoder chats, Conversation chat)
    {
        try
        {
            return chats.Render(chat, ChatEnding.Closed);
        }
        catch (UnusableRowException)
        {
            return null;        // counted with the rows
        }
    }
}
