using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Data.Formats;
using Handbook.Data.Inspection;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tokenizing;

/// <summary>A conversation as tokens.</summary>
/// <param name="Mask">1 for tokens to learn; as long as <paramref name="Ids"/>; empty where it was not asked for.</param>
/// <param name="Characters">Length of the rendered text in Unicode code points.</param>
internal readonly record struct EncodedRow(int[] Ids, byte[] Mask, int Characters)
{
    /// <summary>Whether one token holds the end of a prompt and the beginning of its completion.</summary>
    public bool IsJoined { get; init; }
}

/// <summary>What stands at the end of a rendered conversation.</summary>
internal enum ChatEnding
{
    /// <summary>What the template puts behind the last turn.</summary>
    Closed,
    /// <summary>The opening of the assistant's answer.</summary>
    OpensAnswer,
    /// <summary>The last turn's text, to be continued.</summary>
    LeavesOpen,
}

/// <summary>Renders the conversations of rows with a chat template and tokenises them; what a template
/// refuses is an unusable row.</summary>
internal sealed partial class ChatRowEncoder(Tokenizer tokenizer, ChatTemplate template)
{
    private readonly ChatEncoder _encoder = new(tokenizer, template);
    private readonly DateTime _now = DateTime.Now;      // one time for all rows of a run

    /// <summary>Whether the template renders calls of tools.</summary>
    public bool RendersToolCalls => template.RendersToolCalls;

    /// <summary>Everything about the template that changes tokens; the day where it asks for the date.</summary>
    public string Fingerprint => template.Fingerprint
        + (template.UsesClock ? $" {_now:yyyy-MM-dd}" : "")
        + string.Concat(tokenizer.SpecialTokens.OrderBy(token => token.Key, StringComparer.Ordinal)
            .Select(token => $" {token.Key}={token.Value}"));

    /// <summary>A whole conversation; the mask covers what the assistant says.</summary>
    public EncodedRow Encode(Conversation conversation, RowTokenizerOptions options, bool withMask)
    {
        RequireKnownRoles(conversation);
        return Row(Guard(conversation, () => _encoder.Encode(Fitted(conversation), Options(options) with { WithAssistantMask = withMask })));
    }

    /// <summary>A conversation in two parts; the mask covers the second.</summary>
    /// <exception cref="UnusableRowException">The template renders nothing of the second.</exception>
    public EncodedRow EncodeCompletion(Conversation prompt, JsonElement completion, RowTokenizerOptions options)
    {
        var whole = prompt.With(completion);
        RequireKnownRoles(whole);
        var row = Row(Guard(whole, () =>
            _encoder.EncodeCompletion(Fitted(prompt), Fitted(prompt with { Messages = completion }).Messages, Options(options))));
        return SaysSomething([.. row.Ids.Where((_, i) => row.Mask[i] != 0)]) ? row
            : throw new UnusableRowException("empty completion",
                "the chat template shows nothing of it, so its end token alone would be learnt")
            { Fix = "set chat_template to one that renders these completions (calls of tools are in tool_calls), or remove the rows" };
    }

    /// <summary>Roles that templates know. What a template leaves out of these is its choice; a turn of another role that it leaves out is a
    /// misspelt one, and its words would quietly not be learnt.</summary>
    private static readonly string[] s_roles = ["system", "user", "assistant", "tool", "developer", "function", "ipython"];

    /// <summary>Whether a role is one that templates know.</summary>
    public static bool IsUsual(string role) => s_roles.Contains(role);

    /// <summary>Requires that the template writes the turns of roles that are not usual.</summary>
    /// <exception cref="UnusableRowException">It leaves some out.</exception>
    public void RequireKnownRoles(Conversation conversation)
    {
        if (conversation.Messages.ValueKind != JsonValueKind.Array)
            return;
        string[] roles = [.. conversation.Messages.EnumerateArray().Select(RowParts.Role).Where(role => !IsUsual(role)).Distinct()];
        if (roles.Length == 0)
            return;
        IReadOnlyList<string> silent;
        try
        {
            silent = TemplateEffects.SilentRoles(template, Fitted(conversation), new() { SpecialTokens = tokenizer.SpecialTokens, Now = _now }, roles);
        }
        catch (Exception refused) when (refused is TemplateException or InputException)
        {
            return;         // told where the conversation is rendered
        }
        if (silent.Count == 0)
            return;
        var source = template.For(conversation).Source;
        string[] wanted = [.. s_roles.Where(role => source.Contains($"'{role}'", StringComparison.Ordinal)
            || source.Contains($"\"{role}\"", StringComparison.Ordinal))];
        if (wanted.Length == 0)
            wanted = ["user", "assistant"];
        string[] meant = [.. silent.Select(role => ChatTurns.Meant(role) ?? Spelling.Nearest(role, wanted)).OfType<string>().Distinct()];
        throw new UnusableRowException("turns of a role that the chat template leaves out",
            $"{(silent.Count == 1 ? "role" : "roles")} {string.Join(", ", silent)}; wanted are {string.Join(", ", wanted)}"
                + (meant.Length == 0 ? "" : $"; did you mean {string.Join(", ", meant)}?"))
        { Fix = "write the roles as the chat template knows them, set chat_template_path to a template that writes these turns, or remove the rows" };
    }

    /// <summary>Whether tokens are more than blanks, special tokens, and what is written like them though the
    /// vocabulary splits it.</summary>
    internal bool SaysSomething(int[] ids)
    {
        var text = tokenizer.Decode(Array.FindAll(ids, id => !tokenizer.IsSpecial(id)));
        if (text.Contains('<', StringComparison.Ordinal))
        {
            foreach (var token in tokenizer.SpecialTokens.Values)
                text = text.Replace(token, "", StringComparison.Ordinal);
            text = Marker().Replace(text, "");
        }
        return !string.IsNullOrWhiteSpace(text);
    }

    [GeneratedRegex(@"<[|｜][^<>|｜\s]{1,60}[|｜]>")]
    private static partial Regex Marker();

    /// <summary>A conversation as text.</summary>
    /// <param name="ending">What stands at its end.</param>
    /// <param name="insertEmptySystemTurn">Puts an empty system turn before a conversation that begins without one.</param>
    public string Render(Conversation conversation, ChatEnding ending, bool insertEmptySystemTurn = false) =>
        Guard(conversation, () => template.Render(Fitted(conversation), new()
        {
            AddGenerationPrompt = ending == ChatEnding.OpensAnswer,
            ContinueFinalMessage = ending == ChatEnding.LeavesOpen,
            InsertEmptySystemTurn = insertEmptySystemTurn,
            SpecialTokens = tokenizer.SpecialTokens,
            Now = _now,
        })).Text;

    /// <summary>The template that renders a conversation.</summary>
    internal ChatTemplate TemplateOf(Conversation conversation) => template.For(conversation);

    /// <summary>What of a conversation the template leaves out of the text.</summary>
    internal IReadOnlyList<ConversationPart> LeftOut(Conversation conversation) =>
        TemplateEffects.Without(template, Fitted(conversation), new() { SpecialTokens = tokenizer.SpecialTokens, Now = _now });

    /// <summary>Whether the template marks what the assistant says and leaves out some of its words.</summary>
    internal bool BlocksMissWords(Conversation conversation) =>
        template.BlocksMissWords(Fitted(conversation), new() { SpecialTokens = tokenizer.SpecialTokens, Now = _now });

    /// <summary>The conversation in the forms that the template takes.</summary>
    private Conversation Fitted(Conversation conversation) =>
        template.Fitted(conversation, new() { SpecialTokens = tokenizer.SpecialTokens, Now = _now });

    private ChatEncodeOptions Options(RowTokenizerOptions options) => new()
    {
        AddSpecialTokens = options.AddSpecialTokensToChats,
        InsertEmptySystemTurn = options.InsertEmptySystemTurn,
        Now = _now,
    };

    private static EncodedRow Row(EncodedChat chat) =>
        new(chat.Ids, chat.AssistantMask, RowTokenizer.CodePoints(chat.Text)) { IsJoined = chat.IsJoined };

    private const string RefusedFix = "mend the rows, or set chat_template or chat_template_path to a template that takes them; "
        + "`handbook template check FILE` tries one";

    private static T Guard<T>(Conversation conversation, Func<T> render)
    {
        try
        {
            return render();
        }
        catch (TemplateException failure)
        {
            var place = failure.Line > 0 ? $"{failure.Template}:{failure.Line}:{failure.Column}" : failure.Template;
            var lacks = failure.MissingKey is { } key && TurnWithout(conversation, key) is { } turn ? $"turn {turn} has no {key}" : null;
            throw failure.MissingKey is "content" && lacks is not null
                ? new UnusableRowException("turn without content", $"{lacks}, which the chat template shows at {place}") { Fix = RefusedFix }
                : new UnusableRowException("refused by the chat template", failure.Line > 0 ? $"{place}: {lacks ?? failure.Detail}" : failure.Detail)
                { Fix = RefusedFix };
        }
        catch (InputException failure)
        {
            throw new UnusableRowException("refused by the chat template", failure.What) { Fix = RefusedFix };
        }
    }

    /// <summary>The first turn, from 1, that lacks something; null where none does.</summary>
    private static int? TurnWithout(Conversation conversation, string key)
    {
        if (conversation.Messages.ValueKind != JsonValueKind.Array)
            return null;
        foreach (var (at, turn) in conversation.Messages.EnumerateArray().Index())
            if (turn.ValueKind == JsonValueKind.Object && !turn.TryGetProperty(key, out _))
                return at + 1;
        return null;
    }
}
