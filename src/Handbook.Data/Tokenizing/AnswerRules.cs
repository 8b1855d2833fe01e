using Handbook.Text.Tokenizers;

namespace Handbook.Data.Tokenizing;

/// <summary>Begin tokens, end tokens and lengths of answers: what is the same whatever the tokens came from.</summary>
/// <remarks>Only lengths and places decide; the one thing asked of a token's value is whether it is the begin or an end token, at
/// the place where one belongs.</remarks>
internal sealed class AnswerRules
{
    private readonly PreferenceTokenizerOptions _options;
    private readonly int? _begin, _end;
    private readonly Tokenizer? _tokenizer;

    /// <param name="options">The rules.</param>
    /// <param name="begin">The begin token; null where there is none.</param>
    /// <param name="end">The end token; null where there is none.</param>
    /// <param name="tokenizer">Tells a template's own end tokens and the blanks behind them; null where tokens have no text.</param>
    public AnswerRules(PreferenceTokenizerOptions options, int? begin, int? end, Tokenizer? tokenizer = null) =>
        (_options, _begin, _end, _tokenizer) = (options, begin, end, tokenizer);

    /// <summary>The answers with begin and end tokens and within the lengths; an answer may have no token left.</summary>
    /// <param name="answers">The answers of one row.</param>
    /// <param name="wasCut">Whether tokens were cut off.</param>
    public AnswerTokens[] Apply(IReadOnlyList<AnswerTokens> answers, out bool wasCut)
    {
        var whole = answers.Select(answer => CutsFirst ? answer : Ended(Begun(answer))).ToArray();
        var cut = Cut([.. whole.Select(Limited)]);
        wasCut = !cut.Zip(whole)
            .All(pair => pair.First.Prompt.Length == pair.Second.Prompt.Length && pair.First.Answer.Length == pair.Second.Answer.Length);
        return CutsFirst ? [.. cut.Select((answer, i) => IsLost(answer, whole[i]) ? answer : Ended(Begun(answer)))] : cut;
    }

    /// <summary>An answer before lengths count: what <see cref="Mismatched"/> takes.</summary>
    public int[] Uncut(int[] answer) => CutsFirst ? answer : WithEnd(answer);

    /// <summary>A row's prompt with the answer of another row, within the lengths.</summary>
    /// <param name="prompt">The prompt as its own row has it.</param>
    /// <param name="uncut">What <see cref="Uncut"/> says of the other row's answer.</param>
    public AnswerTokens Mismatched(int[] prompt, int[] uncut)
    {
        var cut = Cut([Limited(new(SegmentRole.Mismatched, prompt, uncut))])[0];
        return CutsFirst ? Ended(Begun(cut)) : cut;
    }

    /// <summary>Whether any token of the answer can be predicted: the first of all has none before it.</summary>
    public static bool HasTarget(AnswerTokens answer) => answer.Answer.Length > (answer.Prompt.Length == 0 ? 1 : 0);

    // An end token alone would be learnt in its place.
    private bool IsLost(AnswerTokens answer, AnswerTokens whole) => _options.Cut == AnswerCut.BeforeSpecialTokens
        && answer.Answer.Length == 0 && whole.Answer.Length > 0;

    /// <summary>The last tokens, behind the begin token where there is one.</summary>
    public int[] KeepLast(int[] ids, int count)
    {
        if (ids.Length <= count)
            return ids;
        return _options.KeepsBegin && count > 1 && ids[0] == _begin ? [ids[0], .. ids[^(count - 1)..]] : ids[^count..];
    }

    /// <summary>The answer with its end.</summary>
    public int[] WithEnd(int[] answer)
    {
        if (_options.End == AnswerEnding.Once && OwnEnd(answer) is { } length)
            return answer[..length];
        return _end is { } end && _options.End != AnswerEnding.Texts
            && (_options.End == AnswerEnding.Always || answer.Length == 0 || answer[^1] != end) ? [.. answer, end] : answer;
    }

    /// <summary>Whether begin and end tokens are added to what is left after cutting.</summary>
    private bool CutsFirst => _options.Cut is AnswerCut.BeforeSpecialTokens or AnswerCut.AnswerOnly;

    private AnswerTokens Begun(AnswerTokens answer) =>
        _options.AddsBegin && _begin is { } begin && (answer.Prompt.Length == 0 || answer.Prompt[0] != begin)
            ? answer with { Prompt = [begin, .. answer.Prompt] } : answer;

    private AnswerTokens Ended(AnswerTokens answer) => answer with { Answer = WithEnd(answer.Answer) };

    /// <summary>Length of an answer up to an end token of its own, behind which stand only blanks; null where it has none.</summary>
    private int? OwnEnd(int[] answer)
    {
        var length = answer.Length;
        while (length > 0 && !IsEnd(answer[length - 1]) && _tokenizer is not null
            && string.IsNullOrWhiteSpace(_tokenizer.Decode(answer.AsSpan(length - 1, 1))))
            length--;
        return length > 0 && IsEnd(answer[length - 1]) ? length : null;
    }

    private bool IsEnd(int id) => id == _end || (id != _begin && _tokenizer?.IsSpecial(id) == true);

    private AnswerTokens[] Cut(AnswerTokens[] answers)
    {
        var longest = answers.Max(answer => answer.Answer.Length);
        return [.. answers.Select(answer => _options.Cut switch
        {
            AnswerCut.Sequence => CutSequence(answer),
            AnswerCut.LongestAnswer => CutParts(answer, longest, _options.MaxLength),
            AnswerCut.BeforeSpecialTokens => CutParts(answer, answer.Answer.Length, Room(answer)),
            AnswerCut.LengthLessLongest => answer.Prompt.Length + longest > _options.MaxLength
                ? answer with { Answer = First(answer.Answer, _options.MaxLength.Value - longest) } : answer,
            AnswerCut.AnswerOnly => Room(answer) is { } room && answer.Prompt.Length + answer.Answer.Length > room
                ? answer with { Answer = First(answer.Answer, room - answer.Prompt.Length) } : answer,
            _ => answer,
        })];
    }

    /// <summary>Prompt and answer within the limits of each; some rules cut a prompt only where the whole is too long.</summary>
    private AnswerTokens Limited(AnswerTokens row) => row with
    {
        Prompt = _options.MaxPromptLength is { } prompt && _options.Cut is not (AnswerCut.LongestAnswer or AnswerCut.BeforeSpecialTokens)
            ? KeepLast(row.Prompt, prompt) : row.Prompt,
        Answer = _options.MaxCompletionLength is { } answer ? First(row.Answer, answer) : row.Answer,
    };

    private AnswerTokens CutSequence(AnswerTokens row)
    {
        var (prompt, answer) = (row.Prompt, row.Answer);
        if (_options.MaxLength is not { } most || prompt.Length + answer.Length <= most)
            return row;
        if (!_options.KeepsEnd)
            return row with { Prompt = First(prompt, most), Answer = First(answer, Math.Max(0, most - prompt.Length)) };
        var end = answer[^Math.Min(answer.Length, most)..];
        return row with { Prompt = most == end.Length ? [] : KeepLast(prompt, most - end.Length), Answer = end };
    }

    private AnswerTokens CutParts(AnswerTokens row, int answerLength, int? maxLength)
    {
        if (maxLength is not { } most)
            return row;
        var promptLength = _options.MaxPromptLength ?? row.Prompt.Length;
        if (row.Prompt.Length + answerLength > most)
            row = row with { Prompt = _options.KeepsEnd ? KeepLast(row.Prompt, promptLength) : First(row.Prompt, promptLength) };
        return row.Prompt.Length + answerLength > most ? row with { Answer = First(row.Answer, Math.Max(0, most - promptLength)) } : row;
    }

    /// <summary>The length that is left beside begin and end tokens still to be added.</summary>
    private int? Room(AnswerTokens row) => _options.MaxLength
        - (row.Prompt.Length > 0 && row.Prompt[0] != _begin ? 1 : 0)
        - (row.Answer.Length > 0 && row.Answer[^1] != _end ? 1 : 0);

    /// <summary>The first tokens; a negative count leaves out as many at the end.</summary>
    private static int[] First(int[] ids, int count) => count >= ids.Length ? ids
        : ids[..Math.Max(0, count < 0 ? ids.Length + count : count)];
}
