using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Text.Templates;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tokenizing;

/// <summary>Which tokens carry loss.</summary>
public enum LossScope
{
    /// <summary>All of them, but what a prompt holds where rows are prompts with completions.</summary>
    Automatic,
    /// <summary>All of them.</summary>
    All,
    /// <summary>What follows the prompt; rows must have one.</summary>
    Completion,
    /// <summary>What the assistant says; rows must be conversations.</summary>
    Assistant,
}

/// <summary>When the end token is put behind a row.</summary>
public enum EndTokenRule
{
    /// <summary>Behind texts that do not end with it; conversations end as their template says.</summary>
    TextsWithout,
    /// <summary>Behind every row, as the handbook's first revision does when it packs.</summary>
    Always,
    /// <summary>Behind no row.</summary>
    Never,
}

/// <summary>How rows become tokens.</summary>
public sealed record RowTokenizerOptions
{
    /// <summary>Which tokens carry loss.</summary>
    public LossScope Loss { get; init; }

    /// <summary>Most tokens of a row; null cuts nothing.</summary>
    public int? MaxLength { get; init; }

    /// <summary>Cuts the beginning of rows that are too long, not their end.</summary>
    public bool CutsLeft { get; init; }

    /// <summary>When the end token is put behind a row.</summary>
    public EndTokenRule EndToken { get; init; } = EndTokenRule.TextsWithout;

    /// <summary>Lets the tokenizer add its own begin token to texts.</summary>
    public bool AddSpecialTokens { get; init; } = true;

    /// <summary>Lets the tokenizer add its begin token to conversations, too, where the template has none.</summary>
    public bool AddSpecialTokensToChats { get; init; }

    /// <summary>Puts an empty system turn before conversations that begin without one.</summary>
    public bool InsertEmptySystemTurn { get; init; }

    /// <summary>How many tokens the model knows, for rows that come as tokens; null takes those of the tokenizer.</summary>
    public int? VocabularySize { get; init; }
}

/// <summary>Turns rows into tokens with their loss.</summary>
internal sealed class RowTokenizer : IRowTokenizer
{
    private readonly RowReader _reader;
    private readonly Tokenizer _tokenizer;
    private readonly ChatRowEncoder? _chats;
    private readonly RowTokenizerOptions _options;
    private readonly TurnWeights? _weights;

    /// <param name="reader">Reads the rows' layout.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="chats">Renders conversations; null where rows hold none.</param>
    /// <param name="options">Lengths and loss.</param>
    public RowTokenizer(RowReader reader, Tokenizer tokenizer, ChatRowEncoder? chats, RowTokenizerOptions options)
    {
        (_reader, _tokenizer, _chats, _options) = (reader, tokenizer, chats, options);
        _weights = chats is null ? null : new(chats, options);
        var holdsChats = reader.Layout is RowLayout.Messages or RowLayout.Conversations or RowLayout.Instruction;
        if (options.Loss == LossScope.Assistant && (reader.Layout == RowLayout.Text || (reader.Layout == RowLayout.Tokens && !reader.HasColumn("assistant_masks"))))
            throw new InputException($"assistant_only_loss is set, but the rows are {(reader.Layout == RowLayout.Text ? "plain texts" : "tokens")} (layout {Format})",
                why: "only conversations have assistant turns", fix: reader.Layout == RowLayout.Text ? "assistant_only_loss: false, or give rows with messages" : "assistant_only_loss: false, or give a column assistant_masks");
        if (options.Loss == LossScope.Completion && reader.Layout != RowLayout.PromptCompletion && !(reader.Layout == RowLayout.Tokens && reader.HasColumn("completion_mask")))
            throw new InputException($"completion_only_loss is set, but the rows have no prompt and completion (layout {Format})",
                fix: holdsChats ? "assistant_only_loss: true trains on the assistant's turns" : "completion_only_loss: false, or column_mapping: {prompt: …, completion: …}");
        if (holdsChats && chats is null)
            throw new ArgumentNullException(nameof(chats), $"rows of the layout {Format} need a chat template");
        if (options.EndToken != EndTokenRule.Never && tokenizer.EosId is null && reader.Layout != RowLayout.Tokens && !holdsChats)
            throw new InputException("the tokenizer names no end token (eos_token), and texts must end with one", fix: "set eos_token to a token of the vocabulary");
    }

    /// <inheritdoc/>
    public string Format => _reader.Layout.ToString();

    /// <inheritdoc/>
    // The model's size decides nothing about rows that come as texts: models with one tokenizer share them.
    public string Fingerprint => $"{_reader.Fingerprint}\n{_tokenizer.Fingerprint} eos {_tokenizer.EosId}\n{_chats?.Fingerprint}\n{(_reader.Layout == RowLayout.Tokens ? _options : _options with { VocabularySize = null })}";

    /// <inheritdoc/>
    public IReadOnlyList<TokenRow> Tokenize(JsonElement row, out RowProblem? problem, out bool wasCut)
    {
        wasCut = false;
        if (_reader.Read(row, out problem) is not { } example)
            return [];
        try
        {
            var (ids, loss, characters) = Encode(example, out var isJoined);
            if (ids.Length == 0 || (example is TextExample { Text: "" }))
                problem = new("empty", example is TextExample { Text: "" } || _chats is null ? ""
                    : "the chat template writes nothing of it",
                    Excerpt.Of(row.GetRawText()))
                {
                    Fix = example is TextExample || _chats is null ? null
                        : "set chat_template or chat_template_path to a template that writes these turns, or remove the rows",
                };
            else if (!HasTarget(loss))
                problem = new(_options.Loss == LossScope.Assistant ? "no assistant turn" : ids.Length < 2 ? "fewer than two tokens" : "nothing to learn", "", Excerpt.Of(row.GetRawText()));
            if (problem is not null)
                return [];
            if (_options.MaxLength is { } longest && ids.Length > longest)
            {
                wasCut = true;
                var kept = _options.CutsLeft ? (ids.Length - longest)..ids.Length : ..longest;
                (ids, loss) = (ids[kept], loss[kept]);
                if (!HasTarget(loss))
                    problem = new("nothing left to learn after cutting",
                        $"no token that carries loss among the {(_options.CutsLeft ? "last" : "first")} {longest}",
                            Excerpt.Of(row.GetRawText()))
                    {
                        Fix = "raise max_length",
                    };
            }
            return problem is null ? [TokenRow.Single(ids, loss, characters) with { IsJoined = isJoined, Remarks = example.Remarks }] : [];
        }
        catch (UnusableRowException failure)
        {
            problem = failure.Problem(row);
            return [];
        }
    }

    private (int[] Ids, byte[] Loss, int Characters) Encode(Example example, out bool isJoined)
    {
        isJoined = false;
        switch (example)
        {
            case TextExample { Text: var text }:
                var ids = WithEnd(_tokenizer.EncodeOnce(text, _options.AddSpecialTokens), text, isChat: false);
                return (ids, All(ids.Length), CodePoints(text));
            case PromptExample { Prompt: var prompt, Completion: var completion }:
                if (string.IsNullOrWhiteSpace(completion))
                    throw new UnusableRowException("empty completion", completion.Length == 0 ? "" : "it is blanks alone");
                var whole = WithEnd(_tokenizer.EncodeOnce(prompt + completion, _options.AddSpecialTokens), completion, isChat: false);
                var before = PromptBorder.Of(_tokenizer.EncodePrompt(prompt, _options.AddSpecialTokens), whole, out isJoined);
                isJoined &= _options.Loss != LossScope.All;
                var loss = After(_options.Loss == LossScope.All ? 0 : before, whole.Length);
                return (whole, loss, CodePoints(prompt) + CodePoints(completion));
            case TokensExample tokens:
                RequireKnown(tokens.Ids);
                return (tokens.Ids, _options.Loss == LossScope.All ? tokens.LossWithPrompts : tokens.Loss, 0);
            case ChatExample { Conversation: var conversation }:
                var onlyAssistant = _options.Loss == LossScope.Assistant;
                return EndChat(conversation, Chats.Encode(conversation, _options, withMask: onlyAssistant), lossOnAll: !onlyAssistant, onlyAssistant);
            case ChatPromptExample pair:
                if (_options.Loss is LossScope.Assistant or LossScope.All)
                    return EndChat(pair.Whole, Chats.Encode(pair.Whole, _options, withMask: _options.Loss == LossScope.Assistant), lossOnAll: _options.Loss == LossScope.All, _options.Loss == LossScope.Assistant);
                var answered = Chats.EncodeCompletion(pair.Prompt, pair.Completion, _options);
                isJoined = answered.IsJoined;
                return EndChat(pair.Whole, answered, lossOnAll: false, onlyAssistant: false);
            default:
                throw new InvalidOperationException($"rows of the layout {Format} are not for this method");
        }
    }

    private ChatRowEncoder Chats => _chats ?? throw new UnusableRowException("no chat template", "the row is a conversation");

    private void RequireKnown(int[] ids)
    {
        foreach (var id in ids)
            if (_options.VocabularySize is { } size ? id < 0 || id >= size : _tokenizer.IdToToken(id) is null)
                throw new UnusableRowException("token outside the vocabulary",
                    $"input_ids holds {id}, but {(_options.VocabularySize is { } known ? $"the model has {known} tokens" : "the tokenizer has no such token")}")
                { Fix = "tokenise the rows with the model's own tokenizer" };
    }

    /// <summary>An end token behind the template's own end carries loss only where everything does; turns that are not to be learnt carry none.</summary>
    private (int[] Ids, byte[] Loss, int Characters) EndChat(Conversation conversation, EncodedRow chat, bool lossOnAll, bool onlyAssistant)
    {
        var ids = WithEnd(chat.Ids, "", isChat: true);
        var loss = _weights!.Silence(conversation, chat.Ids, lossOnAll ? All(chat.Ids.Length) : chat.Mask, onlyAssistant);
        Array.Resize(ref loss, ids.Length);
        if (lossOnAll)
            loss.AsSpan(chat.Ids.Length).Fill(1);
        return (ids, loss, chat.Characters);
    }

    private int[] WithEnd(int[] ids, string text, bool isChat)
    {
        if (_tokenizer.EosId is not { } end)
            return ids;
        var adds = _options.EndToken switch
        {
            EndTokenRule.Always => true,
            EndTokenRule.TextsWithout => !isChat && !EndsWithEnd(text) && (ids.Length == 0 || ids[^1] != end),
            _ => false,
        };
        return adds ? [.. ids, end] : ids;
    }

    private bool EndsWithEnd(string text) => _tokenizer.SpecialTokens.TryGetValue("eos_token", out var end) && text.EndsWith(end, StringComparison.Ordinal);

    /// <summary>Whether any token after the first carries loss: the first has none before it to be predicted from.</summary>
    private static bool HasTarget(byte[] loss) => loss.Length > 1 && loss.AsSpan(1).Contains((byte)1);

    private static byte[] All(int length) => After(0, length);

    private static byte[] After(int start, int length)
    {
        var loss = new byte[length];
        loss.AsSpan(Math.Min(start, length)).Fill(1);
        return loss;
    }

    /// <summary>Length of a text as Python counts it.</summary>
    internal static int CodePoints(string text)
    {
        var count = text.Length;
        for (var i = 1; i < text.Length; i++)
            if (char.IsSurrogatePair(text[i - 1], text[i]))
                count--;
        return count;
    }
}
