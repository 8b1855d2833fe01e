using System.Globalization;
using System.Reflection;

namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>Categories, decompositions, combining classes, case mappings, scripts and binary properties, and the age of each.</summary>
/// <remarks>From the embedded unicode.txt (Unicode 17.0), written by make-tables.pl out of the Unicode character database. Not .NET's own
/// tables: their version follows the runtime, and ids must not. Read once, when first needed.</remarks>
internal static class UnicodeTables
{
    private static readonly Lazy<Tables> Loaded = new(Load);

    /// <summary>Short names of the categories, in the order of <see cref="UnicodeCategory"/>.</summary>
    private static readonly string[] CategoryNames = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp",
        "Cc", "Cf", "Cs", "Co", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Cn"];

    /// <summary>Categories that a later version changed, with the last that had them, as far as a part of the reference can tell.</summary>
    private static readonly Dictionary<int, (byte Until, UnicodeCategory Category)> Formerly = new()
    {
        [0x295] = (160, UnicodeCategory.LowercaseLetter),
        [0x166D] = (110, UnicodeCategory.OtherPunctuation),
        [0x1734] = (130, UnicodeCategory.NonSpacingMark),
        [0x1885] = (80, UnicodeCategory.OtherLetter),
        [0x1886] = (80, UnicodeCategory.OtherLetter),
        [0x1CF2] = (110, UnicodeCategory.SpacingCombiningMark),
        [0x1CF3] = (110, UnicodeCategory.SpacingCombiningMark),
        [0xA9BD] = (100, UnicodeCategory.SpacingCombiningMark),
        [0x111C9] = (100, UnicodeCategory.OtherPunctuation),
        [0x1171E] = (150, UnicodeCategory.NonSpacingMark),
    };

    /// <summary>The age of a code point that no version has assigned.</summary>
    private const byte Unassigned = 255;

    /// <summary>The version that assigned a code point, in tenths; <see cref="Unassigned"/> where none did.</summary>
    public static byte Age(int point) => Loaded.Value.Ages.Of(point);

    /// <summary>The general category of a code point; unassigned where a version did not know it yet.</summary>
    /// <param name="version">In tenths, see <see cref="UnicodeVersions"/>.</param>
    public static UnicodeCategory Category(int point, byte version) =>
        Age(point) > version ? UnicodeCategory.OtherNotAssigned
        : Formerly.TryGetValue(point, out var was) && version <= was.Until ? was.Category
        : (UnicodeCategory)Loaded.Value.Categories.Of(point);

    /// <summary>The kind of a code point within grapheme clusters (CR, Extend, …); null for any other.</summary>
    /// <remarks>Code points that nobody has assigned have one, too: those that are set aside for invisible characters part clusters.</remarks>
    public static string? Break(int point, byte version) => Age(point) is var age && (age <= version || age == Unassigned)
        ? Loaded.Value.Breaks.GetValueOrDefault(point) : null;

    /// <summary>The part that a code point plays in conjuncts of Indic scripts: Consonant, Extend, Linker; null for none.</summary>
    public static string? Conjunct(int point, byte version) =>
        Age(point) <= version ? Loaded.Value.Conjuncts.GetValueOrDefault(point) : null;

    /// <summary>One step of decomposition; null where the code point has none.</summary>
    public static int[]? Canonical(int point) => Loaded.Value.Canonical.GetValueOrDefault(point);

    public static int[]? Compatibility(int point) => Loaded.Value.Compatibility.GetValueOrDefault(point);

    public static int CombiningClass(int point) => point < 0x300 ? 0 : Loaded.Value.Classes.GetValueOrDefault(point);

    /// <summary>The composition of two code points; −1 for none.</summary>
    public static int Compose(int first, int second) => Loaded.Value.Compositions.GetValueOrDefault(((long)first << 32) | (uint)second, -1);

    /// <summary>Whether a code point can be the second of a composition.</summary>
    public static bool IsSecond(int point) => Loaded.Value.Seconds.Contains(point);

    /// <summary>A binary property or a script by its normalized name, as regular expressions have it; null where there is none.</summary>
    public static CharacterClass? Property(string name) => Loaded.Value.Properties.GetValueOrDefault(name);

    /// <summary>Simple lower case of a code point.</summary>
    public static int Lower(int point) => Loaded.Value.Lower.GetValueOrDefault(point, point);

    /// <summary>Every code point that folds to another, with that, as regular expressions have it.</summary>
    public static IEnumerable<KeyValuePair<int, int>> Folds => Loaded.Value.Folds.Where(pair => Age(pair.Key) <= UnicodeVersions.Patterns);

    /// <summary>The script of a code point; null where a version did not know it.</summary>
    public static string? Script(int point, byte version)
    {
        if (Age(point) > version)
            return null;
        var scripts = Loaded.Value.Scripts;
        int low = 0, high = scripts.Length - 1;
        while (low <= high)
        {
            var middle = (low + high) >>> 1;
            if (point < scripts[middle].Start)
                high = middle - 1;
            else if (point > scripts[middle].End)
                low = middle + 1;
            else
                return scripts[middle].Name;
        }
        return null;
    }

    /// <summary>Names as \p{…} writes them: without case, spaces, hyphens and underscores.</summary>
    public static string Normalize(string name) => string.Concat(name.Where(c => c is not (' ' or '-' or '_'))).ToLowerInvariant();

    private sealed class Tables
    {
        public readonly Dictionary<int, int[]> Canonical = [];
        public readonly Dictionary<int, int[]> Compatibility = [];
        public readonly Dictionary<int, int> Classes = [];
        public readonly Dictionary<long, int> Compositions = [];
        public readonly HashSet<int> Seconds = [];
        public readonly Dictionary<int, int> Lower = [];
        public readonly Dictionary<int, int> Folds = [];
        public readonly Dictionary<string, CharacterClass> Properties = [];
        public readonly RangeTable Ages = new(absent: byte.MaxValue);
        public readonly RangeTable Categories = new(absent: (byte)UnicodeCategory.OtherNotAssigned);
        public readonly Dictionary<int, string> Breaks = [];
        public readonly Dictionary<int, string> Conjuncts = [];
        public (int Start, int End, string Name)[] Scripts = [];
    }

    /// <summary>A small number for every code point, stored in pages of 256; pages of one value are shared.</summary>
    private sealed class RangeTable
    {
        private readonly byte[][] _pages = new byte[0x1100][];

        public RangeTable(byte absent) => Array.Fill(_pages, Uniform(absent));

        public byte Of(int point) => _pages[point >> 8][point & 0xFF];

        public void Set(int first, int last, byte value)
        {
            var whole = Uniform(value);
            for (var page = first >> 8; page <= last >> 8; page++)
            {
                int from = Math.Max(first - (page << 8), 0), to = Math.Min(last - (page << 8), 0xFF);
                if (to - from == 0xFF)
                {
                    _pages[page] = whole;
                    continue;
                }
                // A shared page is copied before its first single value.
                var values = (byte[])_pages[page].Clone();
                Array.Fill(values, value, from, to - from + 1);
                _pages[page] = values;
            }
        }

        private static byte[] Uniform(byte value)
        {
            var page = new byte[256];
            Array.Fill(page, value);
            return page;
        }
    }

    private static Tables Load()
    {
        var tables = new Tables();
        var scripts = new List<(int, int, string)>();
        var excluded = new HashSet<int>();
        using var reader = new StreamReader(Assembly.GetExecutingAssembly().GetManifestResourceStream("Handbook.Text.unicode.txt")!);
        while (reader.ReadLine() is { } line)
        {
            var words = line.Split(' ');
            switch (words[0])
            {
                case "age":
                    var number = words[1].Split('.');
                    foreach (var (start, end) in words[2..].Select(Range))
                        tables.Ages.Set(start, end, (byte)(int.Parse(number[0]) * 10 + int.Parse(number[1])));
                    break;
                case "category":
                    foreach (var (start, end) in words[2..].Select(Range))
                        tables.Categories.Set(start, end, (byte)Array.IndexOf(CategoryNames, words[1]));
                    break;
                case "break":
                    AddNames(tables.Breaks, words);
                    break;
                case "conjunct":
                    AddNames(tables.Conjuncts, words);
                    break;
                case "canon":
                    tables.Canonical[Hex(words[1])] = [.. words[2..].Select(Hex)];
                    break;
                case "compat":
                    tables.Compatibility[Hex(words[1])] = [.. words[2..].Select(Hex)];
                    break;
                case "ccc":
                    foreach (var (start, end) in words[2..].Select(Range))
                        for (var point = start; point <= end; point++)
                            tables.Classes[point] = int.Parse(words[1]);
                    break;
                case "exclude":
                    foreach (var (start, end) in words[1..].Select(Range))
                        for (var point = start; point <= end; point++)
                            excluded.Add(point);
                    break;
                case "lower":
                    AddRun(tables.Lower, words);
                    break;
                case "fold":
                    AddRun(tables.Folds, words);
                    break;
                case "prop":
                    tables.Properties[Normalize(words[1])] = Class(words[2..], tables.Ages);
                    break;
                case "script":
                    tables.Properties[Normalize(words[1])] = tables.Properties[Normalize(words[2])] = Class(words[3..], tables.Ages);
                    scripts.AddRange(words[3..].Select(Range).Select(range => (range.Start, range.End, words[1])));
                    break;
            }
        }
        tables.Scripts = [.. scripts.Order()];
        foreach (var (point, parts) in tables.Canonical)
            if (parts.Length == 2 && !excluded.Contains(point))
            {
                tables.Compositions[((long)parts[0] << 32) | (uint)parts[1]] = point;
                tables.Seconds.Add(parts[1]);
            }
        return tables;
    }

    private static void AddRun(Dictionary<int, int> mapping, string[] words)
    {
        var (start, end) = Range(words[1]);
        for (var point = start; point <= end; point++)
            mapping[point] = Hex(words[2]) + point - start;
    }

    private static void AddNames(Dictionary<int, string> names, string[] words)
    {
        var name = string.Intern(words[1]);
        foreach (var (start, end) in words[2..].Select(Range))
            for (var point = start; point <= end; point++)
                names[point] = name;
    }

    private static CharacterClass Class(string[] spans, RangeTable ages)
    {
        var ranges = spans.Select(Range).ToArray();
        return new(point =>
        {
            if (ages.Of(point) > UnicodeVersions.Patterns)
                return false;
            int low = 0, high = ranges.Length - 1;
            while (low <= high)
            {
                var middle = (low + high) >>> 1;
                if (point < ranges[middle].Start)
                    high = middle - 1;
                else if (point > ranges[middle].End)
                    low = middle + 1;
                else
                    return true;
            }
            return false;
        });
    }

    private static (int Start, int End) Range(string span)
    {
        var dash = span.IndexOf('-');
        return (Hex(span[..dash]), Hex(span[(dash + 1)..]));
    }

    private static int Hex(string digits) => int.Parse(digits, NumberStyles.HexNumber);
}
