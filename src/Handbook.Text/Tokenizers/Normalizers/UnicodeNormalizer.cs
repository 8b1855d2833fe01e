using Handbook.Text.Tokenizers.Unicode;

namespace Handbook.Text.Tokenizers.Normalizers;

/// <summary>The four normalization forms. Unicode Standard Annex 15.</summary>
/// <remarks>Not string.Normalize: under invariant globalization it leaves text as it is, it has no alignment, and it knows code points
/// that the reference's normalizer (<see cref="UnicodeVersions.Normalization"/>) leaves alone.</remarks>
internal sealed class UnicodeNormalizer : Normalizer
{
    private const int HangulBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TailBase = 0x11A7;
    private const int LeadCount = 19, VowelCount = 21, TailCount = 28, HangulCount = LeadCount * VowelCount * TailCount;

    private readonly bool _compatibility;
    private readonly bool _compose;
    private readonly CharacterClass _mayChange;

    private UnicodeNormalizer(bool compatibility, bool compose)
    {
        _compatibility = compatibility;
        _compose = compose;
        _mayChange = new(MayChange);
    }

    public static UnicodeNormalizer Nfc { get; } = new(compatibility: false, compose: true);

    public static UnicodeNormalizer Nfd { get; } = new(compatibility: false, compose: false);

    public static UnicodeNormalizer Nfkc { get; } = new(compatibility: true, compose: true);

    public static UnicodeNormalizer Nfkd { get; } = new(compatibility: true, compose: false);

    public override TextBuffer Apply(TextBuffer text, TextBuffer spare)
    {
        var plain = true;
        foreach (var point in text.Text)
            if (point >= 0x80 && _mayChange.Contains(point))
            {
                plain = false;
                break;
            }
        if (plain)
            return text;
        var items = Decompose(text);
        if (_compose)
            items = Compose(items);
        spare.BeginFrom(text);
        foreach (var (point, change) in items)
            spare.Emit(text, point, change);
        return spare;
    }

    /// <summary>Whether text with this code point needs the whole procedure.</summary>
    private bool MayChange(int point)
    {
        if (point is >= 0xD800 and <= 0xDFFF)
            return false;
        if (CombiningClass(point) != 0)
            return true;
        // Composed text may keep what can be put together again, but nothing that could join what stands before it.
        if (_compose && (IsSecond(point) || IsPartOfSyllable(point)))
            return true;
        var items = new List<(int Point, int Change)>();
        AddParts(items, point);
        if (_compose)
            items = Compose(items);
        return items is not [var (alone, _)] || alone != point;
    }

    private static bool Knows(int point) => UnicodeTables.Age(point) <= UnicodeVersions.Normalization;

    private static int CombiningClass(int point) => Knows(point) ? UnicodeTables.CombiningClass(point) : 0;

    private static bool IsSecond(int point) => Knows(point) && UnicodeTables.IsSecond(point);

    /// <summary>A vowel or a final consonant of Korean, which joins what stands before it.</summary>
    private static bool IsPartOfSyllable(int point) =>
        point is (>= VowelBase and < VowelBase + VowelCount) or (> TailBase and < TailBase + TailCount);

    private int[]? Parts(int point) =>
        !Knows(point) ? null : UnicodeTables.Canonical(point) ?? (_compatibility ? UnicodeTables.Compatibility(point) : null);

    private static bool IsSyllable(int point) => point is >= HangulBase and < HangulBase + HangulCount;

    private List<(int Point, int Change)> Decompose(TextBuffer text)
    {
        var items = new List<(int Point, int Change)>(text.Count + 16);
        var pending = 0;                        // where the marks after the last starter begin
        foreach (var point in text.Text)
        {
            var first = items.Count;
            AddParts(items, point);
            for (var i = first; i < items.Count; i++)
            {
                items[i] = (items[i].Point, i == first ? 0 : 1);
                var order = CombiningClass(items[i].Point);
                if (order == 0)
                {
                    pending = i + 1;
                    continue;
                }
                // Canonical order: marks move before marks of a higher class, and take their change with them.
                var item = items[i];
                var to = i;
                while (to > pending && CombiningClass(items[to - 1].Point) > order)
                {
                    items[to] = items[to - 1];
                    to--;
                }
                items[to] = item;
            }
        }
        return items;
    }

    private void AddParts(List<(int Point, int Change)> items, int point)
    {
        if (IsSyllable(point))
        {
            var index = point - HangulBase;
            items.Add((LeadBase + index / (VowelCount * TailCount), 0));
            items.Add((VowelBase + index % (VowelCount * TailCount) / TailCount, 0));
            if (index % TailCount > 0)
                items.Add((TailBase + index % TailCount, 0));
        }
        else if (point >= 0x80 && Parts(point) is { } parts)
            foreach (var part in parts)
                AddParts(items, part);
        else
            items.Add((point, 0));
    }

    private static List<(int Point, int Change)> Compose(List<(int Point, int Change)> items)
    {
        var result = new List<(int Point, int Change)>(items.Count);
        var starter = -1;                       // index in result of the starter that marks may join
        var lastClass = -1;                     // class of the last thing kept after the starter; −1: nothing
        foreach (var (point, change) in items)
        {
            var order = CombiningClass(point);
            // Blocked: something of the same or a higher class, or another starter, stands between.
            if (starter >= 0 && lastClass < order || (starter >= 0 && lastClass == -1))
            {
                var joined = Pair(result[starter].Point, point);
                if (joined >= 0)
                {
                    result[starter] = (joined, result[starter].Change + change - 1);
                    continue;
                }
            }
            if (order == 0)
            {
                starter = result.Count;
                lastClass = -1;
            }
            else if (starter >= 0)
                lastClass = order;
            result.Add((point, change));
        }
        return result;
    }

    private static int Pair(int first, int second)
    {
        if (first is >= LeadBase and < LeadBase + LeadCount && second is >= VowelBase and < VowelBase + VowelCount)
            return HangulBase + ((first - LeadBase) * VowelCount + second - VowelBase) * TailCount;
        if (IsSyllable(first) && (first - HangulBase) % TailCount == 0 && second is > TailBase and < TailBase + TailCount)
            return first + second - TailBase;
        var whole = UnicodeTables.Compose(first, second);
        return whole >= 0 && Knows(whole) ? whole : -1;
    }
}
