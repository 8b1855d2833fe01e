using System.Text.Json;
using Handbook.Base;
using Handbook.Data.Cache;
using Handbook.Data.Formats;
using Handbook.Data.Sources;
using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tokenizing;

/// <summary>Turns rows with answers into trees of tokens.</summary>
internal sealed class PreferenceTokenizer : IRowTokenizer
{
    private readonly RowReader _reader;
    private readonly Tokenizer _tokenizer;
    private readonly ChatRowEncoder? _chats;
    private readonly PreferenceTokenizerOptions _options;
    private readonly AnswerRules _rules;

    /// <param name="reader">Reads the rows' layout.</param>
    /// <param name="tokenizer">The model's tokenizer.</param>
    /// <param name="chats">Renders conversations; null where rows hold none.</param>
    /// <param name="options">What becomes of prompts and answers.</param>
    public PreferenceTokenizer(RowReader reader, Tokenizer tokenizer, ChatRowEncoder? chats, PreferenceTokenizerOptions options)
    {
        (_reader, _tokenizer, _chats, _options) = (reader, tokenizer, chats, options);
        _rules = new(options, tokenizer.BosId, tokenizer.EosId, tokenizer);
        if (tokenizer.EosId is null && options.Shape != AnswerShape.Prompt)
            throw new InputException("the tokenizer names no end token (eos_token), and answers must end with one",
                fix: "set eos_token to a token of the vocabulary");
    }

    /// <inheritdoc/>
    public string Format => _reader.Layout.ToString();

    /// <inheritdoc/>
    /// <remarks>Whoever judges the answers to a prompt asks what it says.</remarks>
    public bool KeepsRows => _options.Shape == AnswerShape.Prompt;

    /// <inheritdoc/>
    public string Fingerprint =>
        $"{_reader.Fingerprint}\n{_tokenizer.Fingerprint} bos {_tokenizer.BosId} eos {_tokenizer.EosId}\n{_chats?.Fingerprint}\n{_options}";

    /// <inheritdoc/>
    public IReadOnlyList<TokenRow> Tokenize(JsonElement row, out RowProblem? problem, out bool wasCut)
    {
        wasCut = false;
        if (_reader.Read(row, out problem) is not { } example)
            return [];
        var rows = new List<TokenRow>();
        foreach (var (whole, part) in Parts(example))
            try
            {
                if (!_options.KeepsEqualPairs && AreEqual(whole))
                    throw new UnusableRowException("chosen and rejected are the same", "")
                    {
                        IsRule = true,
                        Fix = "give pairs whose answers differ: check that column_mapping reads chosen and rejected from two columns"
                    };
                if (!_options.KeepsEmptyAnswers && EmptyAnswer(part) is { } silent)
                    throw new UnusableRowException("empty answer",
                        $"the {silent} answer says nothing, so its end token alone would be learnt")
                    {
                        Fix =
                            "remove the rows whose answer is empty, or give them one"
                    };
                rows.Add(Tokenize(part, out var isShorter) with { Remarks = whole.Remarks });
                wasCut |= isShorter;
            }
            catch (UnusableRowException failure)
            {
                problem = failure.Problem(row);
            }
        return rows;
    }

    private TokenRow Tokenize(Example example, out bool wasCut)
    {
        var text = RenderedAnswers.Of(example, _chats, _options);
        if (text.IsChat && text.Chosen is not null && text.Chosen == text.Rejected && !_options.KeepsEqualPairs)
            throw new UnusableRowException("both answers look the same through the chat template", "it leaves out what they say")
            { Fix = "look at the texts with `handbook inspect`, and set chat_template to one that renders these answers" };
        if (_options.PromptLimit is { } limit
            && _tokenizer.Encode(text.Prompt, addSpecialTokens: true).Length is var length && length >= limit)
            throw new UnusableRowException("prompt of max_prompt_length tokens or more", $"{length} tokens, max_prompt_length is {limit}")
            { IsRule = true, Fix = "raise max_prompt_length" };
        var characters = RowTokenizer.CodePoints(text.Chosen ?? "") + RowTokenizer.CodePoints(text.Rejected ?? "");
        switch (_options.Shape)
        {
            case AnswerShape.Prompt:
                return Prompt(text, out wasCut);
            case AnswerShape.Whole:
                wasCut = false;
                return AnswerTree.OfWholes(Whole(text.Chosen!, text.IsChat), Whole(text.Rejected!, text.IsChat),
                    Margin(example), characters);
        }
        var answers = new List<AnswerTokens>(2);
        var isJoined = false;
        if (text.Chosen is { } chosen)
            answers.Add(Encode(SegmentRole.Chosen, text.Prompt, chosen, text.IsChat, ref isJoined));
        if (text.Rejected is { } rejected)
            answers.Add(Encode(SegmentRole.Rejected, text.Prompt, rejected, text.IsChat, ref isJoined));
        if (text.IsChat && !_options.KeepsEmptyAnswers && answers.Find(IsSilent) is { Answer: not null } silent)
            throw new UnusableRowException("empty answer",
                $"the chat template shows nothing of the {silent.Role.ToString().ToLowerInvariant()} answer, so its end token alone "
                    + "would be learnt")
            { Fix = "set chat_template to one that renders these answers (calls of tools are in tool_calls), or remove the rows" };
        var finished = _rules.Apply(answers, out wasCut);
        foreach (var (answer, uncut) in finished.Zip(answers))
            if (!AnswerRules.HasTarget(answer))
                throw new UnusableRowException("no answer token left after cutting",
                    $"prompt of {uncut.Prompt.Length} and {answer.Role.ToString().ToLowerInvariant()} answer of {uncut.Answer.Length} "
                        + $"tokens, max_length is {_options.MaxLength}")
                { IsRule = true, Fix = "raise max_length, or lower max_prompt_length" };
        var row = AnswerTree.Build(finished, _options.PromptsCarryLoss, Margin(example), characters) with { IsJoined = isJoined };
        return _options.KeepsUncut ? AnswerTree.WithUncut(row, _rules.Uncut(answers[0].Answer)) : row;
    }

    private AnswerTokens Encode(SegmentRole role, string prompt, string whole, bool isChat, ref bool isJoined)
    {
        whole = EndedText(whole, isChat);
        if (_options.Encoding == AnswerEncoding.Separate)
            return new(role, _tokenizer.Encode(prompt, addSpecialTokens: false),
                _tokenizer.Encode(whole[prompt.Length..], addSpecialTokens: false));
        var addsSpecial = _options.Encoding is AnswerEncoding.Tail or AnswerEncoding.Whole && !isChat;
        var before = _tokenizer.EncodePrompt(prompt, addsSpecial);
        var ids = _tokenizer.EncodeOnce(whole, addsSpecial);
        var border = PromptBorder.Of(before, ids, out var isOther);
        isJoined |= isOther;
        if (_options.Encoding == AnswerEncoding.Whole)
            return new(role, ids[..border], ids[border..]);
        if (_options.Encoding == AnswerEncoding.Tail)
            return new(role, before, ids[Math.Min(before.Length, ids.Length)..]);
        var shared = before.AsSpan().CommonPrefixLength(ids);
        // A tokenizer may join the prompt's last characters with the answer's first: that token belongs to the answer.
        var start = _options.Encoding == AnswerEncoding.Joint || shared == before.Length ? shared : Math.Min(before.Length, ids.Length) - 1;
        return new(role, ids[..start], ids[start..]);
    }

    private int[] Whole(string text, bool isChat)
    {
        var ids = _rules.WithEnd(_tokenizer.EncodeOnce(EndedText(text, isChat), addSpecialTokens: !isChat));
        return _options.MaxLength is { } longest && ids.Length > longest
            ? throw new UnusableRowException("longer than max_length", $"{ids.Length} tokens, max_length is {longest}")
            {
                IsRule = true,
                Fix = "raise max_length"
            }
            : ids.Length > 0 ? ids : throw new UnusableRowException("empty", "");
    }

    private TokenRow Prompt(RenderedAnswers text, out bool wasCut)
    {
        var ids = _tokenizer.EncodePrompt(text.Prompt, addSpecialTokens: !text.IsChat);
        if (ids.Length == 0)
            throw new UnusableRowException("empty", "");
        wasCut = ids.Length > _options.MaxPromptLength;
        ids = _options.MaxPromptLength is { } longest ? _rules.KeepLast(ids, longest) : ids;
        return new()
        {
            Segments = [new(SegmentRole.Prompt, -1, ids, new byte[ids.Length])],
            Characters = RowTokenizer.CodePoints(text.Prompt)
        };
    }

    private string EndedText(string text, bool isChat) =>
        _options.End == AnswerEnding.Texts && !isChat && !EndsWithEnd(text) ? text + _tokenizer.SpecialTokens["eos_token"] : text;

    private bool EndsWithEnd(string text) => _tokenizer.SpecialTokens.TryGetValue("eos_token", out var end)
        && text.EndsWith(end, StringComparison.Ordinal);

    /// <summary>Whether an answer is special tokens and blanks alone.</summary>
    private bool IsSilent(AnswerTokens answer) => !_chats!.SaysSomething(answer.Answer);

    private static bool AreEqual(Example example) => example switch
    {
        AnswersExample { Chosen: { } chosen, Rejected: { } rejected } => chosen == rejected,
        ChatAnswersExample { Chosen: { } chosen, Rejected: { } rejected } => JsonElement.DeepEquals(chosen, rejected),
        _ => false,
    };

    /// <summary>The answer that says nothing; null where each says something.</summary>
    private static string? EmptyAnswer(Example example) => example switch
    {
        AnswersExample text => Named(text.Chosen is { } chosen && string.IsNullOrWhiteSpace(chosen),
            text.Rejected is { } rejected && string.IsNullOrWhiteSpace(rejected)),
        ChatAnswersExample chat => Named(chat.Chosen is { } chosen && !chosen.EnumerateArray().Any(ChatTurns.SaysSomething),
            chat.Rejected is { } rejected && !rejected.EnumerateArray().Any(ChatTurns.SaysSomething)),
        _ => null,
    };

    private static string? Named(bool chosen, bool rejected) => chosen ? "chosen" : rejected ? "rejected" : null;

    private static double Margin(Example example) =>
        example switch { AnswersExample text => text.Margin, ChatAnswersExample chat => chat.Margin, _ => 0 };

    /// <summary>What becomes a row of its own, and the example that it is of.</summary>
    private IEnumerable<(Example Whole, Example Part)> Parts(Example example) =>
        (example is SeveralExamples several ? several.Examples : [example])
        .SelectMany(whole => _options.Shape == AnswerShape.Single ? Singles(whole) : [whole], (whole, part) => (whole, part));

    private static IEnumerable<Example> Singles(Example example) => example switch
    {
        AnswersExample { Chosen: not null, Rejected: not null } text => [text with { Rejected = null }, text with { Chosen = null }],
        ChatAnswersExample { Chosen: not null, Rejected: not null } chat => [chat with { Rejected = null }, chat with { Chosen = null }],
        _ => [example],
    };
}
