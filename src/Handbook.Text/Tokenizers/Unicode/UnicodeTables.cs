using System.Globalization;
using System.Reflection;

namespace Handbook.Text.Tokenizers.Unicode;

/// <summary>Decompositions, combining classes, case mappings, scripts and binary properties: what .NET does not know under invariant globalization.</summary>
/// <remarks>From the embedded unicode.txt, written by make-tables.pl out of perl's own Unicode tables. Read once, when first needed.</remarks>
internal static class UnicodeTables
{
    private static readonly Lazy<Tables> Loaded = new(Load);

    /// <summary>One step of decomposition; null where the code point has none.</summary>
    public static int[]? Canonical(int point) => Loaded.Value.Canonical.GetValueOrDefault(point);

    public static int[]? Compatibility(int point) => Loaded.Value.Compatibility.GetValueOrDefault(point);

    public static int CombiningClass(int point) => point < 0x300 ? 0 : Loaded.Value.Classes.GetValueOrDefault(point);

    /// <summary>The composition of two code points; −1 for none.</summary>
    public static int Compose(int first, int second) => Loaded.Value.Compositions.GetValueOrDefault(((long)first << 32) | (uint)second, -1);

    /// <summary>Whether a code point can be the second of a composition.</summary>
    public static bool IsSecond(int point) => Loaded.Value.Seconds.Contains(point);

    /// <summary>Ranges of a binary property or a script by its normalized name; null where there is none of that name.</summary>
    public static CharacterClass? Property(string name) => Loaded.Value.Properties.GetValueOrDefault(name);

    /// <summary>Simple lower case of a code point.</summary>
    public static int Lower(int point) => Loaded.Value.Lower.GetValueOrDefault(point, point);

    /// <summary>Every code point that folds to another, with that.</summary>
    public static IReadOnlyDictionary<int, int> Folds => Loaded.Value.Folds;

    /// <summary>The script of a code point; null for unknown.</summary>
    public static string? Script(int point)
    {
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
        public (int Start, int End, string Name)[] Scripts = [];
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
                case "canon":
                    tables.Canonical[Hex(words[1])] = [.. words[2..].Select(Hex)];
                    break;
                case "compat":
                    tables.Compatibility[Hex(words[1])] = [.. words[2..].Select(Hex)];
                    break;
                case "ccc":
                    var (first, last) = Range(words[2]);
                    for (var point = first; point <= last; point++)
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
                    tables.Properties[Normalize(words[1])] = Class(words[2..]);
                    break;
                case "script":
                    tables.Properties[Normalize(words[1])] = tables.Properties[Normalize(words[2])] = Class(words[3..]);
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

    private static CharacterClass Class(string[] spans)
    {
        var ranges = spans.Select(Range).ToArray();
        return new(point =>
        {
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
