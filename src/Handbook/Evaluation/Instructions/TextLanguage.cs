using Handbook.Base;
using Lingua;

namespace Handbook.Evaluation.Instructions;

/// <summary>Which language a text is in.</summary>
/// <remarks>Statistics of letters (Lingua), among the languages that checks of instructions ask for; Kannada by its script, which no other of
/// them has. The published checks take another detector: on short or mixed texts they may differ.</remarks>
internal static class TextLanguage
{
    private static readonly Dictionary<string, Language> s_known = new()
    {
        ["ar"] = Language.Arabic,
        ["bg"] = Language.Bulgarian,
        ["bn"] = Language.Bengali,
        ["de"] = Language.German,
        ["en"] = Language.English,
        ["es"] = Language.Spanish,
        ["fa"] = Language.Persian,
        ["fi"] = Language.Finnish,
        ["fr"] = Language.French,
        ["gu"] = Language.Gujarati,
        ["hi"] = Language.Hindi,
        ["it"] = Language.Italian,
        ["ja"] = Language.Japanese,
        ["ko"] = Language.Korean,
        ["mr"] = Language.Marathi,
        ["pa"] = Language.Punjabi,
        ["pl"] = Language.Polish,
        ["pt"] = Language.Portuguese,
        ["ru"] = Language.Russian,
        ["sw"] = Language.Swahili,
        ["ta"] = Language.Tamil,
        ["te"] = Language.Telugu,
        ["th"] = Language.Thai,
        ["tr"] = Language.Turkish,
        ["uk"] = Language.Ukrainian,
        ["ur"] = Language.Urdu,
        ["vi"] = Language.Vietnamese,
        ["zh"] = Language.Chinese,
    };

    private static readonly Lazy<LanguageDetector> s_detector = new(() => LanguageDetectorBuilder.FromLanguages([.. s_known.Values]).Build());

    /// <summary>Languages that can be told, by their two letters.</summary>
    public static IReadOnlyList<string> Codes { get; } = [.. s_known.Keys.Append("kn").Order(StringComparer.Ordinal)];

    /// <summary>Whether a text is in a language; one without a letter is in any.</summary>
    /// <exception cref="InputException">The language cannot be told here.</exception>
    public static bool Is(string text, string code)
    {
        var letters = text.Count(char.IsLetter);
        var kannada = text.Count(letter => letter is >= '\u0C80' and <= '\u0CFF' && char.IsLetter(letter));
        if (code == "kn")
            return letters == 0 || 2 * kannada > letters;
        if (!s_known.TryGetValue(code, out var language))
            throw new InputException($"the language {code} cannot be told here", "the detector has no statistics of it",
                $"leave such rows out; it tells {string.Join(", ", Codes)}");
        return letters == 0 || 2 * kannada <= letters && s_detector.Value.DetectLanguageOf(text) == language;
    }
}
