using System.Text.RegularExpressions;

namespace Handbook.Text.Templates;

/// <summary>A piece of a message's own words in a rendered text; UTF-16 indexes.</summary>
/// <param name="Message">Index of the message.</param>
/// <param name="Leaf">Index of the text within the message.</param>
/// <param name="IsCall">Whether it belongs to a call of a tool.</param>
internal readonly record struct MessagePiece(int Message, int Leaf, bool IsCall, int Start, int End);

/// <summary>Finds what messages say in the text a template made of them, whatever it puts around the words.</summary>
/// <remarks>
/// The messages are rendered again with letters that the text lacks around each of their texts: inside its outer blanks, so that a template
/// which strips them does the same as before, and around tags such as <c>&lt;think&gt;</c>, at which templates cut. Where the marked render
/// without its marks is the text, the marks show the places, and nothing was guessed. Where a template looks at the first or last letter of
/// a text, or compares names, the marks change more than that: then fewer texts are marked, or their second letters.
/// </remarks>
internal sealed partial class MessageMarks(Func<List<object?>> messages, Func<List<object?>, string?> render)
{
    // Hangul syllables: letters to every test and filter that templates know, printed as they are; those of the text itself are not used.
    private const char First = '\uAC00';
    private const int Letters = 0x2BA4;

    /// <summary>Keys of a message or a call that say what it is, not what it says.</summary>
    private static readonly HashSet<string> _structure = ["role", "type", "id", "index", "tool_call_id", "call_id",
        "recipient", "channel", "author"];

    private sealed record Leaf(int Message, int Index, bool IsName, bool IsCall, string Text, Action<string> Set);

    private enum Style
    {
        Outer,
        Inner,
    }

    /// <summary>The pieces of all messages that can be placed in the text, in its order.</summary>
    /// <param name="text">The render of the unmarked messages.</param>
    public List<MessagePiece> Find(string text)
    {
        if (Place(text, _ => true, Style.Outer) is { } all)
            return all;
        if (Place(text, leaf => !leaf.IsName, Style.Outer) is { } unnamed)
            return unnamed;
        var found = new List<MessagePiece>();
        var count = messages().Count;
        for (var i = 0; i < count; i++)
            found.AddRange(Place(text, leaf => leaf.Message == i, Style.Outer)
                ?? Place(text, leaf => leaf.Message == i && !leaf.IsName, Style.Inner)
                ?? Place(text, leaf => leaf.Message == i && !leaf.IsCall, Style.Inner) ?? []);
        found.Sort((one, other) => one.Start != other.Start ? one.Start.CompareTo(other.Start) : one.End.CompareTo(other.End));
        return found;
    }

    /// <summary>Whether the text changes with what a message says or calls; true where the template refuses it otherwise.</summary>
    public bool Shows(int message, string text)
    {
        var changed = messages();
        foreach (var leaf in Leaves(changed).Where(leaf => leaf.Message == message))
            leaf.Set(leaf.Text + First);
        if (render(changed) != text)
            return true;
        // Some templates show the id of a call alone.
        var renamed = messages();
        if (renamed[message] is PyDict turn && turn.TryGet("tool_calls", out var calls))
            foreach (var call in (calls as List<object?> ?? []).OfType<PyDict>())
                if (call.TryGet("id", out var id) && id is string { Length: > 0 } name)
                    call.Set("id", name[..^1] + (name[^1] == 'x' ? 'y' : 'x'));
        return render(renamed) is { } other && other != text;
    }

    private List<MessagePiece>? Place(string text, Func<Leaf, bool> marks, Style style)
    {
        var marked = messages();
        var leaves = Leaves(marked).Where(marks).ToList();
        if (leaves.Count == 0)
            return [];
        var free = Enumerable.Range(First, Letters).Select(code => (char)code).Where(letter => !text.Contains(letter))
            .Take(leaves.Count * 2).ToArray();
        var owners = new Dictionary<char, (Leaf Leaf, bool Opens)>();
        for (var i = 0; i < leaves.Count && (2 * i) + 1 < free.Length; i++)
        {
            var (open, close) = (free[2 * i], free[(2 * i) + 1]);
            leaves[i].Set(style == Style.Outer ? Outer(leaves[i].Text, open, close) : Inner(leaves[i].Text, open, close));
            owners[open] = (leaves[i], true);
            owners[close] = (leaves[i], false);
        }
        return render(marked) is { } rendered ? Read(rendered, text, owners) : null;
    }

    /// <summary>Walks both texts in step; null where they differ in more than marks.</summary>
    private static List<MessagePiece>? Read(string marked, string text, Dictionary<char, (Leaf Leaf, bool Opens)> owners)
    {
        var pieces = new List<MessagePiece>();
        var open = new Dictionary<Leaf, (int At, bool Opens)>();
        var named = new HashSet<Leaf>();
        var at = 0;
        for (var i = 0; i < marked.Length;)
        {
            var next = marked.AsSpan(i).IndexOfAnyInRange(First, (char)(First + Letters - 1));
            var plain = marked.AsSpan(i, next < 0 ? marked.Length - i : next);
            if (!text.AsSpan(at).StartsWith(plain))
                return null;
            at += plain.Length;
            i += plain.Length;
            if (next < 0)
                break;
            var letter = marked[i++];
            if (!owners.TryGetValue(letter, out var owner))
            {
                if (at == text.Length || text[at] != letter)
                    return null;
                at++;       // the text's own
            }
            else if (open.Remove(owner.Leaf, out var other) && other.Opens != owner.Opens)
            {
                // Both marks on one side of the words: the template took them apart.
                if (other.At == at)
                    return null;
                // A template may name a tool again before its result: only the first place is the call's.
                if (!owner.Leaf.IsName || named.Add(owner.Leaf))
                    pieces.Add(new(owner.Leaf.Message, owner.Leaf.Index, owner.Leaf.IsCall, other.At, at));
            }
            else
                open[owner.Leaf] = (at, owner.Opens);
        }
        if (at != text.Length)
            return null;
        // A text whose end was cut off still shows its beginning.
        foreach (var (leaf, (start, opens)) in open)
            if (opens)
                pieces.Add(new(leaf.Message, leaf.Index, leaf.IsCall, start, start));
        pieces.Sort((one, other) => one.Start != other.Start ? one.Start.CompareTo(other.Start) : one.End.CompareTo(other.End));
        return pieces;
    }

    private static string Outer(string text, char open, char close)
    {
        var (start, end) = Trimmed(text);
        if (start == end)
            return text;
        var places = new SortedDictionary<int, char> { [start] = open, [end] = close };
        foreach (var tag in Tag().EnumerateMatches(text.AsSpan(0, end)))
        {
            int before = tag.Index, after = tag.Index + tag.Length;
            while (before > start && PyText.IsSpace(text[before - 1]))
                before--;
            while (after < end && PyText.IsSpace(text[after]))
                after++;
            // Nothing goes between two tags that follow each other: templates look for both at once.
            if (before > start && text[before - 1] is not ('>' or ']'))
                places.TryAdd(before, close);
            if (after < end && text[after] is not ('<' or '['))
                places.TryAdd(after, open);
        }
        var result = new System.Text.StringBuilder(text.Length + places.Count);
        var at = 0;
        foreach (var (place, letter) in places)
        {
            result.Append(text, at, place - at).Append(letter);
            at = place;
        }
        return result.Append(text, at, text.Length - at).ToString();
    }

    private static string Inner(string text, char open, char close)
    {
        var (start, end) = Trimmed(text);
        if (end - start < 3 || char.IsSurrogate(text[start]) || char.IsSurrogate(text[end - 1]))
            return text;
        return $"{text[..(start + 1)]}{open}{text[(start + 1)..(end - 1)]}{close}{text[(end - 1)..]}";
    }

    private static (int Start, int End) Trimmed(string text)
    {
        int start = 0, end = text.Length;
        while (start < end && PyText.IsSpace(text[start]))
            start++;
        while (end > start && PyText.IsSpace(text[end - 1]))
            end--;
        return (start, end);
    }

    private static List<Leaf> Leaves(List<object?> messages)
    {
        var leaves = new List<Leaf>();
        for (var i = 0; i < messages.Count; i++)
        {
            var from = leaves.Count;
            if (messages[i] is PyDict message)
                Collect(message, isCall: false, isName: false);

            void Collect(object? value, bool isCall, bool isName)
            {
                if (value is PyDict dict)
                    for (var k = 0; k < dict.Count; k++)
                    {
                        if (dict.KeyAt(k) is not string key || (_structure.Contains(key) && !IsArguments(dict)))
                            continue;
                        var call = isCall || key is "tool_calls" or "function_call";
                        Take(dict.ValueAt(k), call, isName: !call ? key == "name" : key == "name" && !IsArguments(dict),
                            words => dict.Set(key, words));
                    }
                else if (value is List<object?> list)
                    for (var k = 0; k < list.Count; k++)
                    {
                        var place = k;
                        Take(list[k], isCall, isName, words => list[place] = words);
                    }
            }

            void Take(object? value, bool isCall, bool isName, Action<string> set)
            {
                if (value is string { Length: > 0 } words)
                    leaves.Add(new(i, leaves.Count - from, isName, isCall, words, set));
                else
                    Collect(value, isCall, isName);
            }

            // Arguments may have a key called type or name of their own.
            bool IsArguments(PyDict dict) => dict != messages[i] && !dict.Contains("function") && !dict.Contains("arguments")
                && !dict.Contains("text") && !dict.Contains("content");
        }
        return leaves;
    }

    [GeneratedRegex(@"</?[A-Za-z_|][^<>\s]{0,60}>|\[/?[A-Z_]{2,30}\]")]
    private static partial Regex Tag();
}
