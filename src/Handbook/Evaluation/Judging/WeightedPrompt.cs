using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Evaluation.Judging;

/// <summary>What a judge is told that answers with one letter.</summary>
/// <param name="System">What comes first, as the system's words.</param>
/// <param name="User">The user's words, with the places <c>{instruction}</c>, <c>{output_1}</c> and <c>{output_2}</c>; other braces are
/// braces.</param>
internal sealed partial record WeightedPrompt(string System, string User)
{
    private static readonly string[] s_places = ["instruction", "output_1", "output_2"];

    /// <summary>Our own words.</summary>
    public static WeightedPrompt Own { get; } = new("""
        You compare the answers of two models, "m" and "M", to one instruction. The better one is that which people would prefer: right,
        complete, doing what was asked, and clear. The order in which they stand and their length say nothing about their worth.
        Your whole reply is the name of the better model, m or M, and nothing else.
        """, """
        Instruction:
        {instruction}

        Answer of model "m":
        {output_1}

        Answer of model "M":
        {output_2}

        Which model gave the better answer? Reply with m or M.
        """);

    /// <summary>A template of AlpacaEval's: turns between <c>&lt;|im_start|&gt;</c> and <c>&lt;|im_end|&gt;</c>.</summary>
    /// <exception cref="InputException">The file has another form, or lacks a place.</exception>
    public static WeightedPrompt Read(string path)
    {
        if (!File.Exists(path))
            throw new InputException($"--judge-prompts {path} is not there",
                fix: "with --weighted, name a template as AlpacaEval's alpaca_eval_clf.txt, or leave it out for our own words");
        (string Role, string Text)[] turns = [.. Turns().Matches(File.ReadAllText(path)).Select(turn =>
            (turn.Groups["role"].Value, turn.Groups["text"].Value.Trim()))];
        if (turns.Select(turn => turn.Role).ToArray() is not (["user"] or ["system", "user"]))
            throw new InputException($"--judge-prompts {path} holds {(turns.Length == 0 ? "no turns" : "the turns "
                + string.Join(", ", turns.Select(turn => turn.Role)))}, but with --weighted it is a turn of the user, perhaps "
                + "behind one of the system",
                fix: "write <|im_start|>user, a line feed, the words and <|im_end|>");
        var prompt = new WeightedPrompt(turns.Length == 2 ? turns[0].Text : "", turns[^1].Text);
        var missing = s_places.Where(place => !prompt.User.Contains($"{{{place}}}", StringComparison.Ordinal)).ToArray();
        return missing.Length == 0 ? prompt : throw new InputException(
            $"--judge-prompts {path}: the user's turn has no place for {string.Join(" and ", missing)}", "the judge would not see it",
            $"write {string.Join(" and ", missing.Select(place => $"{{{place}}}"))} where it belongs");
    }

    /// <summary>The words with everything in its place; what an answer says about <c>{output_1}</c> stays what it says.</summary>
    public (string System, string User) Filled(AlpacaOutput first, AlpacaOutput second) => (System, Places().Replace(User, place =>
        place.Groups[1].Value switch { "instruction" => first.Instruction, "output_1" => first.Output, _ => second.Output }));

    [GeneratedRegex(@"<\|im_start\|>(?<role>[a-z]+)\r?\n(?<text>.*?)<\|im_end\|>", RegexOptions.Singleline)]
    private static partial Regex Turns();

    [GeneratedRegex(@"\{(instruction|output_1|output_2)\}")]
    private static partial Regex Places();
}
