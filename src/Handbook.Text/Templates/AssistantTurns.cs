using Handbook.Base;

namespace Handbook.Text.Templates;

/// <summary>Finds what the assistant says in a rendered chat whose template does not mark it: each answer with the token that ends its turn.</summary>
/// <remarks>
/// The conversation is rendered a second time with two marks around each assistant text; where both renders agree but for the marks, the marks
/// show the texts' places, whatever the template puts around them. A turn begins behind the opening that the template itself gives for an answer
/// (so an inserted think block is part of it) and ends with the first special token behind the text. Where marks change the render, or a turn has
/// no text (only calls of tools), renders of the conversation's beginnings show where its turns begin and end.
/// </remarks>
/// <param name="template">The template.</param>
/// <param name="conversation">The conversation.</param>
/// <param name="options">Options of the render; a fixed time.</param>
/// <param name="text">The render to find the turns in.</param>
/// <param name="specials">Places of the special tokens in the text, in code points, in order.</param>
internal sealed class AssistantTurns(ChatTemplate template, Conversation conversation, RenderOptions options, string text, IReadOnlyList<(int Start, int End)> specials)
{
    private readonly List<(int Start, int End)> _specials = ToUnits(text, specials);
    private readonly Dictionary<(int Count, bool Opened), string?> _beginnings = [];
    private string? _endToken;
    private string? _opening;

    /// <summary>What is known of one assistant message: indexes in UTF-16 units, -1 for unknown.</summary>
    private sealed class Turn
    {
        public required int Message { get; init; }
        public required bool HasText { get; init; }
        public required bool HasCalls { get; init; }
        public bool MarksStart { get; set; }
        public int TextStart { get; set; } = -1;
        public int TextEnd { get; set; } = -1;
    }

    /// <returns>Spans in code points, in order.</returns>
    public List<(int Start, int End)> Find()
    {
        var turns = Turns();
        if (turns.Count == 0)
            return [];
        if (!Align(turns, marksStart: true) && !Align(turns, marksStart: false))
            turns.ForEach(turn => (turn.TextStart, turn.TextEnd) = (-1, -1));
        var spans = new List<(int Start, int End)>();
        var previous = 0;
        // Turns with text teach what the end token is; turns that only call tools need to know it.
        foreach (var turn in turns)
            if (turn.TextEnd >= 0 && !turn.HasCalls && _endToken is null && EndAfter(turn, turn.TextEnd) is var end && _specials.Exists(place => place.End == end))
                _endToken = text[_specials.Find(place => place.End == end).Start..end];
        foreach (var turn in turns)
        {
            var start = Start(turn, previous);
            if (start is not { } from)
            {
                if (turn.HasText || turn.HasCalls)
                    throw Refused(turn);
                continue;
            }
            var to = EndAfter(turn, Math.Max(turn.TextEnd, from));
            if (to <= from)
            {
                if ((turn.HasText || turn.HasCalls) && Beginning(turn.Message, opened: false) != Beginning(turn.Message + 1, opened: false))
                    throw Refused(turn);
                continue;       // the template leaves the message out
            }
            spans.Add((from, to));
            previous = to;
        }
        return ToCodePoints(spans);
    }

    private List<Turn> Turns()
    {
        var turns = new List<Turn>();
        var messages = template.Messages(conversation, options);
        for (var i = 0; i < messages.Count; i++)
            if (messages[i] is PyDict message && message.TryGet("role", out var role) && role is "assistant")
                turns.Add(new() { Message = i, HasText = Texts(message) is [_, ..], HasCalls = template.RendersToolCalls && message.TryGet("tool_calls", out var calls) && PyCompare.Truth(calls) });
        return turns;
    }

    /// <summary>The dictionaries and keys that hold a message's text: its content, or the text parts of it; empty texts do not count.</summary>
    private static List<(PyDict Owner, string Key)> Texts(PyDict message)
    {
        if (!message.TryGet("content", out var content))
            return [];
        if (content is string words)
            return words.Length > 0 ? [(message, "content")] : [];
        return content is List<object?> parts
            ? [.. parts.OfType<PyDict>().Where(part => part.TryGet("text", out var words) && words is string { Length: > 0 }).Select(part => (part, "text"))]
            : [];
    }

    /// <summary>Renders with marks and walks both renders in step.</summary>
    private bool Align(List<Turn> turns, bool marksStart)
    {
        if (Marks() is not var (open, close))
            return false;
        var messages = template.Messages(conversation, options);
        foreach (var turn in turns.Where(turn => turn.HasText))
        {
            var places = Texts((PyDict)messages[turn.Message]!);
            var (first, firstKey) = places[0];
            // Templates cut thoughts out of earlier turns, and a mark before them would go with them.
            turn.MarksStart = marksStart && !TextOf(first, firstKey).Contains("</think>", StringComparison.Ordinal);
            if (turn.MarksStart)
                first.Set(firstKey, open + TextOf(first, firstKey));
            var (last, lastKey) = places[^1];
            last.Set(lastKey, TextOf(last, lastKey) + close);
        }
        if (TryRender(messages, options) is not { } marked)
            return false;
        int at = 0, markedAt = 0;
        foreach (var turn in turns.Where(turn => turn.HasText))
        {
            if (turn.MarksStart)
            {
                if (!Step(open, insideText: false))
                    return false;
                turn.TextStart = at;
            }
            if (!Step(close, insideText: true))
                return false;
            turn.TextEnd = at;
        }
        return marked.AsSpan(markedAt).SequenceEqual(text.AsSpan(at));

        bool Step(char mark, bool insideText)
        {
            var next = marked.AsSpan(markedAt).IndexOfAny(open, close);
            if (next < 0 || marked[markedAt + next] != mark)
                return false;
            var part = marked.AsSpan(markedAt, next);
            markedAt += next + 1;
            var rest = text.AsSpan(at);
            if (!insideText)
            {
                at += part.Length;
                return rest.StartsWith(part);
            }
            // The template may strip blanks at the text's ends, which the marks keep it from: what follows the mark decides.
            var following = marked.AsSpan(markedAt);
            following = following[..(following.IndexOfAny(open, close) is var stop and >= 0 ? stop : following.Length)];
            foreach (var (left, right) in new[] { (false, false), (true, true), (false, true), (true, false) })
            {
                var kept = Stripped(part, left, right);
                if (!rest.StartsWith(kept) || !rest[kept.Length..].StartsWith(following))
                    continue;
                at += kept.Length;
                return true;
            }
            return false;
        }
    }

    private static ReadOnlySpan<char> Stripped(ReadOnlySpan<char> part, bool left, bool right)
    {
        while (left && part.Length > 0 && PyText.IsSpace(part[0]))
            part = part[1..];
        while (right && part.Length > 0 && PyText.IsSpace(part[^1]))
            part = part[..^1];
        return part;
    }

    private static string TextOf(PyDict owner, string key) => owner.TryGet(key, out var words) ? (string)words! : "";

    /// <summary>Two letters for private use that the text lacks.</summary>
    private (char Open, char Close)? Marks()
    {
        var free = Enumerable.Range(0xE000, 0x1900).Select(code => (char)code).Where(letter => !text.Contains(letter)).Take(2).ToArray();
        return free.Length == 2 ? (free[0], free[1]) : null;
    }

    /// <summary>Where the assistant begins to speak: behind the template's own opening of an answer.</summary>
    private int? Start(Turn turn, int previous)
    {
        // Most templates open every answer alike: ask once, and again only where that does not stand before the text.
        var opening = _opening;
        if (opening is null || turn.TextStart < 0 || !text.AsSpan(previous, turn.TextStart - previous).EndsWith(opening))
            opening = Opening(turn.Message);
        _opening ??= turn.Message > 0 ? opening : null;
        if (turn.TextStart >= 0)
        {
            if (opening.Length == 0)
                return turn.TextStart;
            var at = text.AsSpan(previous, turn.TextStart - previous).LastIndexOf(opening);
            return at >= 0 ? previous + at + opening.Length : Math.Min(turn.TextStart, PartlyOpened(turn.Message, previous) ?? turn.TextStart);
        }
        if (Beginning(turn.Message, opened: true) is { } head && head.Length >= previous && text.StartsWith(head, StringComparison.Ordinal))
            return head.Length;
        if (PartlyOpened(turn.Message, previous) is { } partly)
            return partly;
        if (opening.Length == 0 || turn.Message == 0)
            return null;
        var from = Beginning(turn.Message, opened: false) is { } before ? Math.Max(previous, text.AsSpan().CommonPrefixLength(before) - opening.Length) : previous;
        var end = turn.TextEnd >= 0 ? turn.TextEnd : Bound(turn, from);
        var found = text.AsSpan(from, Math.Max(0, end - from)).IndexOf(opening);
        return found < 0 ? null : from + found + opening.Length;
    }

    /// <summary>
    /// Where the turn leaves the opening that the template would give now, as with an opening that holds an empty think block before a turn with
    /// thoughts: behind the last line end or special token that both share. Null where they share nothing.
    /// </summary>
    private int? PartlyOpened(int message, int previous)
    {
        if (Beginning(message, opened: false) is not { } closed || Beginning(message, opened: true) is not { } opened || !text.StartsWith(closed, StringComparison.Ordinal) || closed.Length < previous)
            return null;
        var shared = text.AsSpan().CommonPrefixLength(opened);
        return LastBreak(shared) is var start && start > closed.Length ? start : null;
    }

    /// <summary>The last place up to an index that is behind a line end or a special token.</summary>
    private int LastBreak(int at) => Math.Max(text.AsSpan(0, at).LastIndexOf('\n') + 1, _specials.FindLast(place => place.End <= at).End);

    /// <summary>What the template adds where it asks for an answer.</summary>
    private string Opening(int message)
    {
        var closed = Beginning(message, opened: false);
        var opened = Beginning(message, opened: true);
        return closed is not null && opened is not null && opened.StartsWith(closed, StringComparison.Ordinal) ? opened[closed.Length..] : "";
    }

    /// <summary>Where a turn ends whose text ends at an index: behind the special token that follows.</summary>
    private int EndAfter(Turn turn, int textEnd)
    {
        var next = _specials.FindIndex(place => place.Start >= textEnd);
        if (next >= 0 && !turn.HasCalls && turn.TextEnd >= 0 && text.AsSpan(textEnd, _specials[next].Start - textEnd).IsWhiteSpace())
            return _specials[next].End;
        var bound = Bound(turn, textEnd);
        var within = next < 0 ? [] : _specials.Skip(next).TakeWhile(place => place.End <= bound).ToList();
        if (within.Count > 0)
        {
            var known = _endToken is null ? -1 : within.FindIndex(place => text.AsSpan(place.Start, place.End - place.Start).SequenceEqual(_endToken));
            if (known >= 0 || !turn.HasCalls)
                return within[Math.Max(known, 0)].End;
            if (text.AsSpan(within[^1].End, bound - within[^1].End).IsWhiteSpace())
                return within[^1].End;
        }
        while (bound > textEnd && PyText.IsSpace(text[bound - 1]))
            bound--;
        return bound;
    }

    /// <summary>Where the text parts from a conversation that ends with this turn; the text's end for the last turn.</summary>
    private int Bound(Turn turn, int least)
    {
        if (Beginning(turn.Message + 1, opened: false) is not { } upTo)
            throw Refused(turn);
        var shared = text.AsSpan().CommonPrefixLength(upTo);
        // What is written at a conversation's end may begin like what follows in the text (<|endoftext|>, <|user|>): that letter is no part of the turn.
        return Math.Max(least, shared == upTo.Length ? shared : LastBreak(shared));
    }

    /// <summary>The render of the first messages; null where the template refuses it.</summary>
    private string? Beginning(int count, bool opened)
    {
        if (_beginnings.TryGetValue((count, opened), out var known))
            return known;
        var messages = template.Messages(conversation, options);
        messages.RemoveRange(Math.Min(count, messages.Count), Math.Max(0, messages.Count - count));
        return _beginnings[(count, opened)] = TryRender(messages, options with { AddGenerationPrompt = opened, ContinueFinalMessage = false });
    }

    /// <summary>The render of changed messages; null where the template refuses them, as not every template accepts every beginning.</summary>
    private string? TryRender(List<object?> messages, RenderOptions how)
    {
        try
        {
            return template.Render(messages, conversation, how).Text;
        }
        catch (TemplateException)
        {
            return null;
        }
    }

    private InputException Refused(Turn turn) => new(
        $"{template.Name}: cannot tell where message {turn.Message + 1}, which the assistant says, stands in the rendered text",
        "the template changes the text of its messages or depends on later ones, so the loss mask would be a guess",
        "put {% generation %} … {% endgeneration %} around what the assistant says in the template, or train on all tokens with assistant_only_loss: false");

    private static List<(int Start, int End)> ToUnits(string text, IReadOnlyList<(int Start, int End)> spans)
    {
        if (!PyText.HasPairs(text))
            return [.. spans];
        var index = new List<int>(text.Length + 1);
        for (var i = 0; i < text.Length; i += char.IsSurrogatePair(text, i) ? 2 : 1)
            index.Add(i);
        index.Add(text.Length);
        return [.. spans.Select(span => (index[span.Start], index[span.End]))];
    }

    private List<(int Start, int End)> ToCodePoints(List<(int Start, int End)> spans)
    {
        if (!PyText.HasPairs(text))
            return spans;
        int at = 0, points = 0;
        return spans.ConvertAll(span => (To(span.Start), To(span.End)));

        int To(int unit)
        {
            points += PyText.Length(text.AsSpan(at, unit - at));
            at = unit;
            return points;
        }
    }
}
