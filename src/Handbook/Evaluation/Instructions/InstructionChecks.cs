using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Evaluation.Instructions;

/// <summary>Whether an answer follows one verifiable instruction.</summary>
/// <remarks>The 25 kinds of instructions and what each of them asks. Source: Zhou et al. 2023, Instruction-following evaluation for large
/// language models, arXiv:2311.07911.</remarks>
internal static partial class InstructionChecks
{
    private const RegexOptions Lines = RegexOptions.Multiline | RegexOptions.CultureInvariant;

    private static readonly TimeSpan s_longest = TimeSpan.FromSeconds(1);

    private static readonly string[] s_options = ["My answer is yes.", "My answer is no.", "My answer is maybe."];

    /// <summary>Kinds with what they ask of an answer, given the row's arguments.</summary>
    private static readonly Dictionary<string, Func<string, InstructionArguments, bool>> s_checks = new()
    {
        ["keywords:existence"] = (said, given) => given.Texts("keywords").Aggregate(true, (all, word) => all & Found(said, word, 1)),
        ["keywords:frequency"] = (said, given) => given.Compare("relation", "frequency",
            Regex.Count(said, given.Text("keyword").Trim(), RegexOptions.IgnoreCase | RegexOptions.CultureInvariant, s_longest)),
        ["keywords:forbidden_words"] = (said, given) => given.Texts("forbidden_words")
            .Aggregate(true, (none, word) => none & !Found(said, $@"\b{word}\b", 1)),
        ["keywords:letter_frequency"] = (said, given) => given.Compare("let_relation", "let_frequency",
            said.ToLowerInvariant().Count(letter => letter == char.ToLowerInvariant(given.Letter("letter")))),
        ["language:response_language"] = (said, given) => TextLanguage.Is(said, given.Text("language")),
        ["length_constraints:number_sentences"] = (said, given) => given.Compare("relation", "num_sentences", EnglishText.Sentences(said)),
        ["length_constraints:number_paragraphs"] = (said, given) => Divided(said, DividerOfParagraphs(), given.Number("num_paragraphs")),
        ["length_constraints:number_words"] = (said, given) => given.Compare("relation", "num_words", EnglishText.Words(said)),
        ["length_constraints:nth_paragraph_first_word"] = BeginsParagraph,
        ["detectable_content:number_placeholders"] = (said, given) => Placeholder().Count(said) >= given.Number("num_placeholders"),
        ["detectable_content:postscript"] = (said, given) => Postscript(said.ToLowerInvariant(), given.Text("postscript_marker").Trim()),
        ["detectable_format:number_bullet_lists"] = (said, given) => Star().Count(said) + Dash().Count(said) == given.Number("num_bullets"),
        ["detectable_format:constrained_response"] = (said, _) => s_options.Any(option => said.Contains(option, StringComparison.Ordinal)),
        ["detectable_format:number_highlighted_sections"] = (said, given) =>
            Single().Matches(said).Count(mark => mark.Value.Trim('*').Trim().Length > 0)
            + Double().Matches(said).Count(mark => mark.Value[2..^2].Trim().Length > 0) >= given.Number("num_highlights"),
        ["detectable_format:multiple_sections"] = (said, given) => Regex.Count(said, $@"\s?{given.Text("section_spliter").Trim()}\s?\d+\s?",
            RegexOptions.CultureInvariant, s_longest) >= given.Number("num_sections"),
        ["detectable_format:json_format"] = (said, _) => IsJson(said),
        ["detectable_format:title"] = (said, _) => Title().Matches(said).Any(title => title.Value.TrimStart('<').TrimEnd('>').Trim().Length > 0),
        ["combination:two_responses"] = (said, _) => TwoAnswers(said),
        ["combination:repeat_prompt"] = (said, given) => said.Trim().ToLowerInvariant()
            .StartsWith(given.Text("prompt_to_repeat").Trim().ToLowerInvariant(), StringComparison.Ordinal),
        ["startend:end_checker"] = (said, given) => said.Trim().Trim('"').ToLowerInvariant()
            .EndsWith(given.Text("end_phrase").Trim().ToLowerInvariant(), StringComparison.Ordinal),
        ["startend:quotation"] = (said, _) => said.Trim() is { Length: > 1 } text && text[0] == '"' && text[^1] == '"',
        ["change_case:capital_word_frequency"] = (said, given) => given.Compare("capital_relation", "capital_frequency",
            EnglishText.Tokens(said).Count(EnglishText.IsUpper)),
        ["change_case:english_capital"] = (said, _) => EnglishText.IsUpper(said) && TextLanguage.Is(said, "en"),
        ["change_case:english_lowercase"] = (said, _) => EnglishText.IsLower(said) && TextLanguage.Is(said, "en"),
        ["punctuation:no_comma"] = (said, _) => !said.Contains(','),
    };

    /// <summary>Every kind, in order.</summary>
    public static IReadOnlyList<string> Kinds { get; } = [.. s_checks.Keys.Order(StringComparer.Ordinal)];

    /// <summary>Strict: the answer as it is. An answer without a word follows nothing.</summary>
    /// <exception cref="InputException">The kind is not known, or an argument is missing.</exception>
    public static bool Strict(string kind, InstructionArguments given, string said)
    {
        if (!s_checks.TryGetValue(kind, out var check))
            throw new InputException($"{given.Place}: the instruction {kind} is not known",
                fix: Spelling.Nearest(kind, Kinds) is { } near ? $"did you mean {near}?" : $"there are {string.Join(", ", Kinds)}");
        try
        {
            return said.Trim().Length > 0 && check(said, given);
        }
        catch (RegexParseException)
        {
            throw new InputException($"{given.Place}: the instruction {kind} has a word that is no regular expression",
                "words are looked for as regular expressions, as the published checks do",
                "write a backslash before signs such as + * ( [ where they mean themselves");
        }
        catch (RegexMatchTimeoutException)
        {
            return false;       // a pattern that runs wild on this answer is not found in it
        }
    }

    /// <summary>Loose: the answer without its first or last line or both, each also without asterisks; one that follows is enough.</summary>
    public static bool Loose(string kind, InstructionArguments given, string said)
    {
        var lines = said.Split('\n');
        string[] forms = [said, Joined(lines[1..]), Joined(lines[..^1]), lines.Length > 1 ? Joined(lines[1..^1]) : ""];
        return forms.Concat(forms.Select(form => form.Replace("*", "", StringComparison.Ordinal))).Any(form => Strict(kind, given, form));

        static string Joined(string[] lines) => string.Join('\n', lines).Trim();
    }

    private static bool Found(string said, string pattern, int least) =>
        Regex.Count(said, pattern, RegexOptions.IgnoreCase | RegexOptions.CultureInvariant, s_longest) >= least;

    /// <summary>Parts between dividers: empty ones count for nothing at the ends, and are a mistake between.</summary>
    private static bool Divided(string said, Regex divider, int wanted)
    {
        var parts = divider.Split(said);
        var count = parts.Length;
        for (var i = 0; i < parts.Length; i++)
            if (parts[i].Trim().Length == 0)
            {
                if (i > 0 && i < parts.Length - 1)
                    return false;
                count--;
            }
        return count == wanted;
    }

    private static bool BeginsParagraph(string said, InstructionArguments given)
    {
        var paragraphs = said.Split("\n\n");
        var count = paragraphs.Count(paragraph => paragraph.Trim().Length > 0);
        var nth = given.Number("nth_paragraph");
        if (nth < 1 || nth > count || paragraphs[nth - 1].Trim() is not { Length: > 0 } paragraph)
            return false;
        var word = EnglishText.Blanks().Split(paragraph)[0].TrimStart('\'').TrimStart('"');
        var end = word.IndexOfAny(['.', ',', '?', '!', '\'', '"']);
        return count == given.Number("num_paragraphs")
            && (end < 0 ? word : word[..end]).Equals(given.Text("first_word"), StringComparison.OrdinalIgnoreCase);
    }

    private static bool Postscript(string said, string marker) => Regex.IsMatch(said, marker switch
    {
        "P.P.S" => @"\s*p\.\s?p\.\s?s.*$",
        "P.S." => @"\s*p\.\s?s\..*$",
        _ => $@"\s*{marker.ToLowerInvariant()}.*$",
    }, Lines, s_longest);

    private static bool IsJson(string said)
    {
        var text = said.Trim();
        foreach (var fence in (string[])["```json", "```Json", "```JSON", "```"])
            if (text.StartsWith(fence, StringComparison.Ordinal))
                text = text[fence.Length..];
        if (text.EndsWith("```", StringComparison.Ordinal))
            text = text[..^3];
        try
        {
            using var document = JsonDocument.Parse(text.Trim(), new() { MaxDepth = 512 });
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static bool TwoAnswers(string said)
    {
        var parts = said.Split("******");
        for (var i = 1; i < parts.Length - 1; i++)
            if (parts[i].Trim().Length == 0)
                return false;
        var answers = parts.Select(part => part.Trim()).Where(part => part.Length > 0).ToArray();
        return answers is [var first, var second] && first != second;
    }

    [GeneratedRegex(@"\s?\*\*\*\s?")]
    private static partial Regex DividerOfParagraphs();

    [GeneratedRegex(@"\[.*?\]")]
    private static partial Regex Placeholder();

    [GeneratedRegex(@"^\s*\*[^\*].*$", RegexOptions.Multiline)]
    private static partial Regex Star();

    [GeneratedRegex("^\\s*-.*$", RegexOptions.Multiline)]
    private static partial Regex Dash();

    [GeneratedRegex(@"\*[^\n\*]*\*")]
    private static partial Regex Single();

    [GeneratedRegex(@"\*\*[^\n\*]*\*\*")]
    private static partial Regex Double();

    [GeneratedRegex(@"<<[^\n]+>>")]
    private static partial Regex Title();
}

/// <summary>What an instruction was given: a row's <c>kwargs</c>.</summary>
internal sealed class InstructionArguments(JsonElement given, string place)
{
    public string Place => place;

    public string Text(string name) => Find(name) is { ValueKind: JsonValueKind.String } text ? text.GetString()! : throw Missing(name, "a text");

    public char Letter(string name) => Text(name).Trim() is { Length: > 0 } text ? text[0] : throw Missing(name, "a letter");

    public int Number(string name) => Find(name) is { ValueKind: JsonValueKind.Number } number && number.TryGetDouble(out var value)
        && value == Math.Floor(value) ? (int)value : throw Missing(name, "a whole number");

    public IEnumerable<string> Texts(string name) => Find(name) is { ValueKind: JsonValueKind.Array } list
        && list.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
        ? list.EnumerateArray().Select(item => item.GetString()!) : throw Missing(name, "a list of words");

    /// <summary>Whether a count is less than, or at least, what was asked.</summary>
    public bool Compare(string relation, string threshold, int count) => Text(relation) switch
    {
        "less than" => count < Number(threshold),
        "at least" => count >= Number(threshold),
        var other => throw new InputException($"{place}: {relation} is \"{other}\"", fix: "use \"less than\" or \"at least\""),
    };

    private JsonElement? Find(string name) => given.ValueKind == JsonValueKind.Object && given.TryGetProperty(name, out var value) ? value : null;

    private InputException Missing(string name, string what) =>
        new($"{place}: an instruction has no {name} that is {what}", fix: "take the published rows, or correct kwargs");
}
