using System.Buffers;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Text.Templates;

/// <summary>Finds what the assistant says in a rendered chat whose template does not mark it: all that its turns add to the text.</summary>
/// <remarks>
/// A turn begins where the model would: behind the render of the messages before it with the opening of an answer, so that a think block or
/// the word that begins a call is part of it. It ends where the render of the messages up to it does, blanks at its end aside, so that its
/// end tokens are part of it. Templates render earlier messages anew as a chat goes on (thoughts go, tools move), so those renders are
/// compared from the last words on that both hold: <see cref="MessageMarks"/> places them. What a template does at one seam it does at each
/// that reads the same, so seams are remembered and most rows need one render more.
/// </remarks>
/// <param name="template">The template.</param>
/// <param name="conversation">The conversation.</param>
/// <param name="options">Options of the render; a fixed time.</param>
/// <param name="text">The render to find the turns in.</param>
/// <param name="specials">Places of the special tokens in the text, in code points, in order.</param>
/// <param name="seams">What is known of the template's seams.</param>
internal sealed partial class AssistantTurns(
    ChatTemplate template, Conversation conversation, RenderOptions options, string text,
        IReadOnlyList<(int Start, int End)> specials, TurnSeams seams)
{
    private readonly List<(int Start, int End)> _specials = Markers(text, TextPlaces.ToUnits(text, specials));
    private readonly RenderedBeginnings _beginnings = new(template, conversation, options);
    private readonly MessageMarks _marks = new(() => template.Messages(conversation, options),
        messages => new RenderedBeginnings(template, conversation, options).TryRender(messages, options));
    private readonly List<object?> _messages = template.Messages(conversation, options);
    private List<MessagePiece> _pieces = [];
    private bool? _alwaysOpens;
    private string? _openingToken;

    /// <returns>Spans in code points, in order.</returns>
    public List<(int Start, int End)> Find()
    {
        var turns = Enumerable.Range(0, _messages.Count).Where(IsAssistant).ToList();
        if (turns.Count == 0)
            return [];
        _pieces = _marks.Find(text);
        var spans = new List<(int Start, int End)>();
        var previous = 0;
        foreach (var turn in turns)
            foreach (var (start, end) in Spans(turn, previous))
                if (end > start)
                {
                    spans.Add((start, end));
                    previous = end;
                }
        Check(spans);
        return TextPlaces.ToCodePoints(text, spans);
    }

    /// <summary>Special tokens, and what is written like one though this vocabulary splits it.</summary>
    private static List<(int Start, int End)> Markers(string text, List<(int Start, int End)> specials)
    {
        var markers = new List<(int Start, int End)>(specials);
        var at = 0;
        foreach (var match in Marker().EnumerateMatches(text))
        {
            var (start, end) = (match.Index, match.Index + match.Length);
            while (at < specials.Count && specials[at].End <= start)
                at++;
            if (at == specials.Count || specials[at].Start >= end)
                markers.Add((start, end));
        }
        if (markers.Count > specials.Count)
            markers.Sort();
        return markers;
    }

    private const int LongestTag = 40;
    private static readonly SearchValues<char> s_tagBorders = SearchValues.Create("<[>] \n");

    [GeneratedRegex(@"<[|｜][^<>|｜\s]{1,60}[|｜]>")]
    private static partial Regex Marker();

    private bool IsAssistant(int message) => _messages[message] is PyDict found
        && found.TryGet("role", out var role) && role is "assistant";

    /// <summary>Whether a message has words or calls that should stand in the text.</summary>
    private bool SaysSomething(int message) => _messages[message] is PyDict found
        && ((found.TryGet("content", out var content)
            && content switch { string words => !string.IsNullOrWhiteSpace(words), List<object?> parts => parts.Count > 0, _ => false })
            || (found.TryGet("tool_calls", out var calls) && PyCompare.Truth(calls)));

    private List<(int Start, int End)> Spans(int turn, int previous)
    {
        var clusters = Clusters(turn, previous);
        if (clusters.Count == 0)
        {
            var shows = SaysSomething(turn) && _marks.Shows(turn, text);
            // What the template does not render has no end to learn either.
            if (SaysSomething(turn) && !shows)
                return [];
            return Start(turn, previous, null) is { } from && End(turn, from, null) is { } to && to > from ? [(from, to)] : !shows
                ? [] : throw Refused(turn);
        }
        var spans = new List<(int Start, int End)>();
        for (var k = 0; k < clusters.Count; k++)
        {
            var (first, last) = clusters[k];
            var before = Math.Max(previous, _pieces.Where(piece => piece.Message != turn && piece.End <= first.Start)
                .Select(piece => piece.End).DefaultIfEmpty(0).Max());
            var after = _pieces.Where(piece => piece.Message != turn && piece.Start >= last.End).Select(piece => piece.Start)
                .DefaultIfEmpty(text.Length).Min();
            var head = new Seam(text[before..first.Start], first.IsCall, k > 0, false);
            var tail = new Seam(text[last.End..after], last.IsCall, k < clusters.Count - 1, turn == _messages.Count - 1);
            var start = seams.Heads.Recall(head) is { } known ? before + known
                : k == 0 ? Start(turn, before, first) : Resumed(turn, before, first);
            var end = seams.Tails.Recall(tail) is { } length ? last.End + length : End(turn, last.End, last, after);
            if (start is null || end is null)
                throw Refused(turn);
            seams.Heads.Learn(head, start.Value - before);
            seams.Tails.Learn(tail, end.Value - last.End);
            spans.Add((start.Value, end.Value));
            previous = end.Value;
        }
        return spans;
    }

    /// <summary>The runs of a message's pieces with no other message between them: first and last piece of each.</summary>
    private List<(MessagePiece First, MessagePiece Last)> Clusters(int turn, int previous)
    {
        var clusters = new List<(MessagePiece First, MessagePiece Last)>();
        var isOpen = false;
        foreach (var piece in _pieces.Where(piece => piece.Start >= previous))
        {
            if (piece.Message != turn)
                isOpen = false;
            else if (isOpen)
                clusters[^1] = (clusters[^1].First, piece);
            else
            {
                clusters.Add((piece, piece));
                isOpen = true;
            }
        }
        return clusters;
    }

    /// <summary>Where the assistant begins to speak; null where nothing tells.</summary>
    /// <param name="least">The end of what stands before.</param>
    /// <param name="first">The turn's first words; null where they are not placed.</param>
    private int? Start(int turn, int least, MessagePiece? first)
    {
        var most = first?.Start ?? text.Length;
        var opened = _beginnings.Of(turn, opened: true) is not null;
        if (Shared(turn, opened, turn - 1, most) is not { } shared)
            return first is { } words ? SeenBefore(least, words.Start) ?? (words.IsCall ? null : words.Start) : null;
        var start = Math.Max(least, shared.Length);
        if (!shared.IsWhole)
        {
            if (first is not null && LastOf(_beginnings.Opening(turn), least, most) is { } whole)
                return whole;
            start = Math.Max(least, Boundary(shared.Length));
            // The opening begins otherwise here: what other turns begin with tells, or the words themselves.
            var closed = Shared(turn, opened: false, turn - 1, most);
            if (closed is null || start <= closed.Value.Length)
                return first is not { } said ? null
                    : SeenBefore(least, said.Start)
                        ?? (!said.IsCall ? said.Start : closed is { IsWhole: true } ? closed.Value.Length : start > least ? start : null);
        }
        if (first is not { } piece || _beginnings.HasOpening(turn))
            return start;
        // A template that does not open answers: what it writes before any text is the turn's heading, what it writes
        // before a call alone begins the call.
        if (Heading(turn, text[start..piece.Start]) is not { } heading)
            return piece.IsCall ? start : piece.Start;
        return start + heading == piece.Start ? piece.Start : Math.Max(start, Boundary(start + heading));
    }

    /// <summary>Where a message goes on behind the words of another, as calls do that stand each before its own result.</summary>
    private int? Resumed(int turn, int least, MessagePiece first)
    {
        if (_beginnings.Of(turn + 1, opened: false) is not { } whole || _beginnings.Pieces(turn + 1, opened: false)
            .FindIndex(piece => piece.Message == turn && piece.Leaf == first.Leaf) is not (>= 0 and var at))
            return first.IsCall ? null : first.Start;
        var there = _beginnings.Pieces(turn + 1, opened: false)[at].Start;
        var length = 0;
        while (length < first.Start - least && length < there && text[first.Start - 1 - length] == whole[there - 1 - length])
            length++;
        var start = first.Start - length;
        while (start < first.Start && !IsBoundary(start))
            start++;
        return start;
    }

    /// <summary>Where a turn ends; null where nothing tells.</summary>
    /// <param name="least">The end of its words.</param>
    /// <param name="last">Its last words; null where they are not placed.</param>
    /// <param name="most">Where another message's words begin.</param>
    private int? End(int turn, int least, MessagePiece? last, int? most = null)
    {
        var bound = most ?? text.Length;
        if (Shared(turn + 1, opened: false, turn, bound, last) is not { } shared)
            return EndTokenBehind(least, bound) ?? (last is { IsCall: false } ? least : null);
        var end = Math.Max(least, shared.IsWhole ? shared.Length : Boundary(shared.Length));
        if (AlwaysOpens(turn))
            end = Math.Max(least, WithoutOpening(turn + 1, end, shared));
        else if (OpeningToken() is { } token && text.AsSpan(least, end - least).IndexOf(token) is >= 0 and var next)
            end = least + next;
        while (end > least && PyText.IsSpace(text[end - 1]))
            end--;
        // Where a turn has no end of its own, the token that opens the next one stops the model.
        return end > least ? end : EndTokenBehind(end, bound) ?? end;
    }

    /// <summary>Whether the template opens an answer behind every conversation, asked for or not: the text goes on where it does.</summary>
    private bool AlwaysOpens(int turn) => _alwaysOpens ??= !_beginnings.HasOpening(turn)
        && _beginnings.Of(turn, opened: false) is { } closed
        && (Footer(turn) ?? Footer(turn + 1)) is { Length: > 0 } footer && closed.EndsWith(footer, StringComparison.Ordinal)
        && Shared(turn, opened: false, turn - 1, text.Length) is { } shared && shared.There > closed.Length - footer.Length;

    /// <summary>What stands at the end of a beginning's render alone and goes when a user speaks.</summary>
    private string? Footer(int count) => _beginnings.ClosingLength(count) is { } length
        ? _beginnings.Of(count, opened: false)![length..] : null;

    /// <summary>The end of a turn whose render ends with an opening of the next answer.</summary>
    private int WithoutOpening(int count, int end, (int Length, int There, bool IsWhole) shared)
    {
        if (shared.IsWhole && Footer(count) is { } footer)
            end = Boundary(shared.Length - footer.Length);
        // What opens a turn of any speaker.
        while (_specials.FindIndex(place => place.End == end) is >= 0 and var at && IsOpening(_specials[at]))
            end = _specials[at].Start;
        return end;
    }

    private bool IsOpening((int Start, int End) place)
    {
        var name = text[place.Start..place.End].ToLowerInvariant();
        return name is "<s>" || name.Contains("start", StringComparison.Ordinal) || name.Contains("begin", StringComparison.Ordinal)
            || name.Contains("bos", StringComparison.Ordinal);
    }

    /// <summary>How far the text goes along with a beginning's render, from the last words on that both hold.</summary>
    /// <param name="count">How many messages the beginning has.</param>
    /// <param name="upTo">The last message whose words count.</param>
    /// <param name="most">Where to stop.</param>
    /// <param name="last">The last words before the seam, where they are known.</param>
    private (int Length, int There, bool IsWhole)? Shared(int count, bool opened, int upTo, int most, MessagePiece? last = null)
    {
        if (_beginnings.Of(count, opened) is not { } beginning)
            return null;
        if (beginning.Length <= most && text.StartsWith(beginning, StringComparison.Ordinal))
            return (beginning.Length, beginning.Length, true);
        int at = 0, there = 0;
        var isAnchored = false;
        if (last is { } words)
        {
            if (_beginnings.Pieces(count, opened)
                .FindLastIndex(piece => piece.Message == words.Message && piece.Leaf == words.Leaf) is not (>= 0 and var index))
                return null;
            (at, there, isAnchored) = (words.End, _beginnings.Pieces(count, opened)[index].End, true);
        }
        else
            foreach (var piece in _beginnings.Pieces(count, opened).AsEnumerable().Reverse().Where(piece => piece.Message <= upTo))
                if (_pieces.FindLastIndex(other =>
                    other.Message == piece.Message && other.Leaf == piece.Leaf && other.End <= most) is >= 0 and var found)
                {
                    (at, there, isAnchored) = (_pieces[found].End, piece.End, true);
                    break;
                }
        if (!isAnchored)
            return null;
        while (true)
        {
            var length = text.AsSpan(at, Math.Max(0, most - at)).CommonPrefixLength(beginning.AsSpan(there));
            (at, there) = (at + length, there + length);
            // Blanks between two marks of the template may differ by what follows.
            var (onwards, onwardsThere) = (AfterBlanks(text, at, most), AfterBlanks(beginning, there, beginning.Length));
            if (there == beginning.Length || onwards >= most || onwardsThere == beginning.Length || (onwards == at && onwardsThere == there)
                || text[onwards] != beginning[onwardsThere])
                return (at, there, there == beginning.Length);
            if (Boundary(onwards + text.AsSpan(onwards, most - onwards).CommonPrefixLength(beginning.AsSpan(onwardsThere))) <= onwards)
                return (at, there, false);
            (at, there) = (onwards, onwardsThere);
        }
    }

    private static int AfterBlanks(string words, int at, int most)
    {
        while (at < most && PyText.IsSpace(words[at]))
            at++;
        return at;
    }

    /// <summary>Length of what the template writes before any text of the assistant at this place, as far as it stands before these words;
    /// null where nothing tells.</summary>
    private int? Heading(int turn, string before)
    {
        if (_beginnings.Of(turn, opened: false) is not { } closed || _beginnings.With(turn, "assistant", "\uE000") is not { } rendered
            || rendered.LastIndexOf('\uE000') is not (>= 0 and var at))
            return null;
        var from = rendered.AsSpan(0, at).CommonPrefixLength(closed);
        while (from > 0 && IsWithin(rendered, from))
            from--;
        return rendered.AsSpan(from, at - from).CommonPrefixLength(before);
    }

    /// <summary>The opening that stands before another of the assistant's turns.</summary>
    private int? SeenBefore(int from, int to)
    {
        foreach (var opening in Enumerable.Range(0, _messages.Count).Where(IsAssistant).Select(_beginnings.Opening)
            .Where(opening => opening.Length > 0).Distinct())
            if (LastOf(opening, from, to) is { } end)
                return end;
        return null;
    }

    /// <summary>The end of the last place of a part between two indexes.</summary>
    private int? LastOf(string part, int from, int to) =>
        part.Length > 0 && to > from && text.AsSpan(from, to - from).LastIndexOf(part) is >= 0 and var at ? from + at + part.Length : null;

    /// <summary>The special token that the template's opening of an answer begins with.</summary>
    private string? OpeningToken()
    {
        if (_openingToken is not null)
            return _openingToken.Length > 0 ? _openingToken : null;
        _openingToken = "";
        foreach (var opening in Enumerable.Range(0, _messages.Count).Where(IsAssistant).Select(_beginnings.Opening)
            .Where(opening => opening.Length > 0))
        {
            var words = opening.TrimStart();
            if (_specials.Find(place => words.StartsWith(text[place.Start..place.End], StringComparison.Ordinal)) is { End: > 0 } found)
                return _openingToken = text[found.Start..found.End];
        }
        return null;
    }

    private int? EndTokenBehind(int textEnd, int most)
    {
        var next = _specials.FindIndex(place => place.Start >= textEnd && place.End <= most);
        return next >= 0 && text.AsSpan(textEnd, _specials[next].Start - textEnd).IsWhiteSpace() && !IsOpening(_specials[next])
            ? _specials[next].End : null;
    }

    /// <summary>The last place up to an index at which a text can be cut: not within a tag, a special token or a word.</summary>
    private int Boundary(int at)
    {
        while (at > 0 && !IsBoundary(at))
            at--;
        return at;
    }

    private bool IsBoundary(int at)
    {
        if (at <= 0 || at >= text.Length)
            return true;
        if (_specials.Exists(place => place.Start < at && at < place.End))
            return false;
        return !IsWithin(text, at);
    }

    /// <summary>Whether a place is within a word or a tag.</summary>
    private static bool IsWithin(string words, int at)
    {
        if (at >= words.Length || (char.IsLetterOrDigit(words[at - 1]) && char.IsLetterOrDigit(words[at])))
            return at < words.Length;
        var from = Math.Max(0, at - LongestTag);
        var border = words.AsSpan(from, at - from).LastIndexOfAny(s_tagBorders);
        return border >= 0 && words[from + border] is ('<' or '[');
    }

    /// <summary>No words of another message within a turn, no words of the assistant outside.</summary>
    private void Check(List<(int Start, int End)> spans)
    {
        foreach (var piece in _pieces)
        {
            var isInside = spans.Exists(span => span.Start < piece.End && piece.Start < span.End);
            if (piece.End > piece.Start && isInside != IsAssistant(piece.Message))
                throw Refused(piece.Message);
        }
    }

    private InputException Refused(int message) => new(
        $"{template.Name}: cannot tell where message {message + 1}, which the assistant says, stands in the rendered text",
        "the template changes the text of its messages or depends on later ones, so the loss mask would be a guess",
        "put {% generation %} … {% endgeneration %} around what the assistant says in the template, or train on all tokens with "
            + "assistant_only_loss: false");
}
