using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Inspection;
using Handbook.Data.Sources;
using Handbook.Data.Tokenizing;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Mixing;

/// <summary>What a chat template makes of conversations that a user should know before training on them: words it leaves out, tokens that
/// are none, answers without an end.</summary>
/// <param name="name">The data set, for messages.</param>
/// <param name="tokenizer">The run's tokenizer.</param>
/// <param name="chats">Renders conversations.</param>
internal sealed partial class ChatRemarks(string name, Tokenizer tokenizer, ChatRowEncoder chats)
{
    private const int RowsLookedAt = 16;

    /// <param name="source">The rows; the first conversations stand for them.</param>
    /// <param name="reader">Reads their layout.</param>
    /// <param name="options">With the tokenizer and its template.</param>
    /// <returns>Whole lines for the log, each with its weight.</returns>
    public static IEnumerable<string> Of(IRowSource source, RowReader reader, TrainingDataOptions options)
    {
        if (options.Chats is not { } chats || reader.Layout is RowLayout.Text or RowLayout.Tokens)
            return [];
        var conversations = source.Read().Where(row => row.Problem is null).Select(row => reader.Read(row.Value, out _))
            .SelectMany(Conversations).Take(RowsLookedAt).ToList();
        return new ChatRemarks(source.Name, options.Tokenizer, chats).Of(conversations, options);
    }

    private IEnumerable<string> Of(List<Conversation> conversations, TrainingDataOptions options)
    {
        if (conversations.Count == 0)
            yield break;
        var markers = SplitMarkers(conversations[0]);
        if (SplitEnd(tokenizer, chats, conversations[0]) is { } split)
            yield return $"warning: {split}";
        else if (options.Answers is null && NoEnd(conversations, options.Rows, markers) is { } endless)
            yield return $"warning: {name}: {endless}";
        if (markers.Count > 0)
            yield return $"warning: {name}: the chat template writes {string.Join(", ", markers)}, which this tokenizer splits into "
                + "pieces: they are learnt as text, and a turn that ends with one ends with no token of its own. "
                + "Take the chat template that belongs to the tokenizer, or a tokenizer that has these tokens";
        if (options.Rows.Loss == LossScope.Assistant && conversations.Count(MissesWords) is > 0 and var missed)
            yield return $"warning: {name}: the generation blocks of the chat template leave out words of the assistant, which carry no "
                + $"loss ({Share(missed, conversations)})";
        if (LeftOut(conversations) is { Length: > 0 } leftOut)
            yield return $"note: {name}: the chat template leaves out {leftOut}";
        if (conversations.Count(HasNullThatIsWritten) is > 0 and var nulls)
            yield return $"warning: {name}: the chat template writes the word None for a content that is null "
                + $"({Share(nulls, conversations)})";
    }

    private bool MissesWords(Conversation conversation)
    {
        try
        {
            return chats.BlocksMissWords(conversation);
        }
        catch (InputException)
        {
            return false;       // counted with the rows
        }
    }

    private static IEnumerable<Conversation> Conversations(Example? example) => example switch
    {
        SeveralExamples several => several.Examples.SelectMany(Conversations),
        ChatExample chat => [chat.Conversation],
        ChatPromptExample parts => [parts.Whole],
        ChatAnswersExample answers when (answers.Chosen ?? answers.Rejected) is { } answer => [answers.Prompt.With(answer)],
        ChatAnswersExample { Prompt: var prompt } => [prompt],
        _ => [],
    };

    /// <summary>Fields and roles that have no effect in any of the conversations that hold them.</summary>
    private string LeftOut(List<Conversation> conversations)
    {
        var found = new Dictionary<ConversationPart, (int Held, int LeftOut)>();
        foreach (var conversation in conversations)
        {
            // Rows with turns of other roles that are left out are counted as unusable.
            var leftOut = chats.LeftOut(conversation).Where(part => !part.IsRole || ChatRowEncoder.IsUsual(part.Name)).ToHashSet();
            foreach (var held in leftOut.Union(Held(conversation)))
            {
                var (count, without) = found.GetValueOrDefault(held);
                found[held] = (count + 1, without + (leftOut.Contains(held) ? 1 : 0));
            }
        }
        return string.Join(", ", found.Where(pair => pair.Value.Held == pair.Value.LeftOut && !TurnWeight.IsName(pair.Key.Name))
            .Select(pair => $"{pair.Key} ({Share(pair.Value.Held, conversations)})"));
    }

    private static IEnumerable<ConversationPart> Held(Conversation conversation)
    {
        var turns = conversation.Messages.EnumerateArray().Where(turn => turn.ValueKind == JsonValueKind.Object).ToArray();
        var names = turns.SelectMany(turn => turn.EnumerateObject()).Select(field => field.Name)
            .Where(field => field is not ("role" or "content"));
        var roles = turns.Where(ChatTurns.SaysSomething).Select(RowParts.Role).Where(ChatRowEncoder.IsUsual)
            .Select(role => new ConversationPart(role, IsRole: true));
        return names.Concat(conversation.Variables?.Keys ?? []).Concat(conversation.Tools is null ? [] : ["tools"])
            .Concat(conversation.Documents is null ? [] : ["documents"]).Select(name => new ConversationPart(name)).Concat(roles).Distinct();
    }

    private static string Share(int count, List<Conversation> conversations) => conversations.Count switch
    {
        1 => "in the one conversation",
        RowsLookedAt => $"in {count} of the first {RowsLookedAt} conversations; no others were looked at",
        var all => $"in {count} of {all} conversations",
    };

    /// <summary>Says that no token which ends an answer carries loss; null where one does in any conversation that ends with an
    /// answer.</summary>
    private string? NoEnd(List<Conversation> conversations, RowTokenizerOptions rows, List<string> split)
    {
        if (rows.EndToken == EndTokenRule.Always)
            return null;
        string? last = null;
        foreach (var conversation in conversations.Where(EndsWithAnswer))
        {
            if (Encoded(conversation, rows) is not { } row)
                continue;
            var end = row.Ids.Length - 1;
            while (end >= 0 && (row.Mask[end] == 0 || string.IsNullOrWhiteSpace(Text(row.Ids[end]))))
                end--;
            if (end < 0)
                continue;
            // What is split is told of by itself.
            if (IsMarker(row.Ids[end]) || tokenizer.Decode(row.Ids.AsSpan(Math.Max(0, end - 40)..(end + 1))) is var tail
                && split.Exists(marker => tail.TrimEnd().EndsWith(marker, StringComparison.Ordinal)))
                return null;
            last ??= tokenizer.Decode(row.Ids.AsSpan(Math.Max(0, end - 3), Math.Min(end + 1, 4)));
        }
        return last is null ? null : $"no token that ends an answer carries loss (the last that does is at \"{Excerpt.Of(last)}\"), so "
            + "that the model does not learn to stop. "
            + "Let the chat template write {{ eos_token }} behind each answer, within the generation block where it has one";
    }

    private EncodedRow? Encoded(Conversation conversation, RowTokenizerOptions rows)
    {
        try
        {
            var row = chats.Encode(conversation, rows, withMask: rows.Loss == LossScope.Assistant);
            return row.Mask.Length == 0 ? row with { Mask = [.. Enumerable.Repeat((byte)1, row.Ids.Length)] } : row;
        }
        catch (UnusableRowException)
        {
            return null;        // counted with the rows
        }
    }

    private bool IsMarker(int id) => id == tokenizer.EosId || tokenizer.IsSpecial(id) || tokenizer.AddedTokens.Any(token => token.Id == id);

    private string Text(int id) => tokenizer.Decode([id]);

    private static bool EndsWithAnswer(Conversation conversation) =>
        conversation.Messages.EnumerateArray().LastOrDefault() is { ValueKind: JsonValueKind.Object } turn
            && turn.TryGetProperty("role", out var role) && role.ValueEquals("assistant");

    private bool HasNullThatIsWritten(Conversation conversation)
    {
        if (!conversation.Messages.EnumerateArray().Any(IsNull) || Rendered(chats, conversation) is not { } text)
            return false;
        var filled = conversation with
        {
            Messages = Conversation.Write(json =>
        {
            json.WriteStartArray();
            foreach (var turn in conversation.Messages.EnumerateArray())
            {
                json.WriteStartObject();
                foreach (var field in turn.EnumerateObject())
                    if (field.Name == "content" && field.Value.ValueKind == JsonValueKind.Null)
                        json.WriteString("content", "");
                    else
                        field.WriteTo(json);
                json.WriteEndObject();
            }
            json.WriteEndArray();
        })
        };
        return Rendered(chats, filled) is { } other && Nones(text) > Nones(other);

        static bool IsNull(JsonElement turn) => turn.ValueKind == JsonValueKind.Object && turn.TryGetProperty("content", out var content)
            && content.ValueKind == JsonValueKind.Null;
        static int Nones(string text) => text.Split("None").Length;
    }

    /// <summary>What the template itself writes like special tokens and the vocabulary has not; the tags of roles, which Zephyr and its kin
    /// write as text, aside.</summary>
    private List<string> SplitMarkers(Conversation conversation)
    {
        if (Rendered(chats, conversation) is not { } text)
            return [];
        var source = chats.TemplateOf(conversation).Source;
        var end = tokenizer.SpecialTokens.GetValueOrDefault("eos_token");
        return [.. Marker().Matches(text).Select(match => match.Value).Distinct()
            .Where(marker => marker != end && marker is not ("<|system|>" or "<|user|>" or "<|assistant|>")
            && source.Contains(marker, StringComparison.Ordinal) && tokenizer.Encode(marker, addSpecialTokens: false).Length > 1)];
    }

    /// <summary>Says that the end token a template writes is no single token where it stands; null where it is one, or where the template
    /// does not write it.</summary>
    /// <remarks>The text before decides: tokenizers whose added tokens are normalized find them behind a blank or at the beginning
    /// alone.</remarks>
    internal static string? SplitEnd(Tokenizer tokenizer, ChatRowEncoder chats, Conversation chat)
    {
        if (tokenizer.EosId is not { } id || !tokenizer.SpecialTokens.TryGetValue("eos_token", out var end)
            || Rendered(chats, chat) is not { } text)
            return null;
        for (var at = text.IndexOf(end, StringComparison.Ordinal); at >= 0; at = text.IndexOf(end, at + end.Length,
            StringComparison.Ordinal))
        {
            var (before, until) = (Ids(text[..at]), Ids(text[..(at + end.Length)]));
            if (until[^1] != id)
                return $"the chat template writes the end token {end}, which this tokenizer splits into {until.Length - before.Length} "
                    + "pieces where it stands: turns end with these "
                    + $"and not with the single token {id}, so that the model does not learn to stop with it. The usual cause are added "
                        + "tokens with \"normalized\": true in tokenizer.json";
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

    [GeneratedRegex(@"<[|｜][^<>|｜\s]{1,60}[|｜]>|<(?:start|end)_of_[a-z]+>")]
    private static partial Regex Marker();
}
