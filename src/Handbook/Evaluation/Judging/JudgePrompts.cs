using System.Text;
using Handbook.Base;

namespace Handbook.Evaluation.Judging;

/// <summary>What a judge is told.</summary>
/// <param name="Name">The prompt's name, kept with each judgement.</param>
/// <param name="System">What comes first, as the system's words.</param>
/// <param name="Template">The user's words, with places such as <c>{question}</c>; <c>{{</c> and <c>}}</c> are braces.</param>
/// <param name="Rating">For answers alone: <c>[[rating]]</c>; for two: <c>[[A]]</c> or <c>[[rating_a,rating_b]]</c>.</param>
internal sealed record JudgePrompt(string Name, string System, string Template, string Rating)
{
    /// <summary>The words with everything in its place; what an answer says about <c>{question}</c> stays what it says.</summary>
    /// <exception cref="InputException">There is a place of another name.</exception>
    public string Filled(IReadOnlyDictionary<string, string> places)
    {
        var text = new StringBuilder();
        for (var i = 0; i < Template.Length; i++)
        {
            var letter = Template[i];
            if (letter is '{' or '}' && i + 1 < Template.Length && Template[i + 1] == letter)
            {
                text.Append(letter);
                i++;
            }
            else if (letter == '{' && Template.IndexOf('}', i) is > 0 and var end)
            {
                var name = Template[(i + 1)..end];
                text.Append(places.TryGetValue(name, out var value) ? value
                    : throw new InputException($"the judge's prompt {Name} has the place {{{name}}}, for which there is nothing",
                        fix: $"use {string.Join(", ", places.Keys.Select(key => $"{{{key}}}"))}; write {{{{ for a brace"));
                i = end;
            }
            else
            {
                text.Append(letter);
            }
        }
        return text.ToString();
    }
}

/// <summary>A judge's prompts, by what is judged: FastChat's <c>judge_prompts.jsonl</c>, or our own words in the same form.</summary>
internal sealed class JudgePrompts
{
    private readonly Dictionary<string, JudgePrompt> _prompts;

    private JudgePrompts(Dictionary<string, JudgePrompt> prompts, bool areOwn) => (_prompts, AreOwn) = (prompts, areOwn);

    /// <summary>Whether they are ours, so that marks do not compare with published ones.</summary>
    public bool AreOwn { get; }

    /// <summary>The prompt for one answer or two, with a reference or without, of the first turn or the second.</summary>
    /// <exception cref="InputException">The file has none.</exception>
    public JudgePrompt Of(bool isPair, bool hasReference, bool isSecondTurn)
    {
        var name = $"{(isPair ? "pair" : "single")}-{(hasReference ? "math-" : "")}{(isPair && !hasReference ? "v2" : "v1")}"
            + (isSecondTurn ? "-multi-turn" : "");
        return _prompts.TryGetValue(name, out var prompt) ? prompt : throw new InputException($"--judge-prompts has no prompt {name}",
            $"it has {string.Join(", ", _prompts.Keys)}", "add it, or leave --judge-prompts out");
    }

    /// <summary>Prompts of a file.</summary>
    /// <exception cref="InputException">It has another form.</exception>
    public static JudgePrompts Read(string path)
    {
        var prompts = new Dictionary<string, JudgePrompt>();
        foreach (var row in BenchRow.Read(path, "--judge-prompts"))
        {
            var (name, rating) = (row.Text("name"), row.Text("output_format"));
            if (rating is not ("[[rating]]" or "[[A]]" or "[[rating_a,rating_b]]"))
                throw new InputException($"{row.Place}: the output_format \"{rating}\" is not known",
                    fix: "use [[rating]] for one answer, [[A]] or [[rating_a,rating_b]] for two");
            prompts[name] = new(name, row.Text("system_prompt"), row.Text("prompt_template"), rating);
        }
        return new(prompts, areOwn: false);
    }

    /// <summary>Prompts in our own words.</summary>
    public static JudgePrompts Own()
    {
        var prompts = new Dictionary<string, JudgePrompt>();
        var own = new JudgePrompts(prompts, areOwn: true);
        foreach (var isPair in (bool[])[false, true])
            foreach (var hasReference in (bool[])[false, true])
                foreach (var isSecond in (bool[])[false, true])
                {
                    var name = $"{(isPair ? "pair" : "single")}-{(hasReference ? "math-" : "")}{(isPair && !hasReference ? "v2" : "v1")}"
                        + (isSecond ? "-multi-turn" : "");
                    prompts[name] = new($"own-{name}", Task(isPair, hasReference, isSecond), Shown(isPair, hasReference, isSecond),
                        isPair ? "[[A]]" : "[[rating]]");
                }
        return own;
    }

    private static string Task(bool isPair, bool hasReference, bool isSecond)
    {
        var what = isSecond ? "the answer to the user's second question" : "the answer to the user's question";
        var merits = hasReference ? "Compare with the reference answer step by step: what counts is whether the answer is right, and whether it helps."
            : "What counts is whether the answer is right, does what was asked, helps, is deep enough and clear.";
        return isPair ? $"""
            You compare two assistants, A and B: which gave the better {what[4..]}? {merits}
            The order in which they stand, their length and their names say nothing about their worth.
            Explain in a few sentences what sets them apart. Then write a last line with your verdict: [[A]], [[B]], or [[C]] where they are equally good.
            """ : $"""
            You mark {what} by an assistant. {merits}
            Explain in a few sentences what is good and bad. Then write a last line with a mark from 1 (useless) to 10 (could not be better) in this form: [[7]]
            """;
    }

    private static string Shown(bool isPair, bool hasReference, bool isSecond)
    {
        var text = new StringBuilder();
        if (hasReference)
            Add("Reference", isSecond ? ["{ref_answer_1}", "{ref_answer_2}"] : ["{ref_answer_1}"]);
        foreach (var who in isPair ? (string[])["a", "b"] : [""])
        {
            var answer = who.Length > 0 ? $"answer_{who}" : "answer";
            Add(who.Length > 0 ? $"Assistant {who.ToUpperInvariant()}" : "Assistant",
                isSecond ? [$"{{{answer}_1}}", $"{{{answer}_2}}"] : [$"{{{answer}}}"]);
        }
        return text.ToString().TrimEnd();

        void Add(string who, string[] answers)
        {
            text.Append("<<< ").Append(who).Append(" begins >>>\n");
            for (var turn = 0; turn < answers.Length; turn++)
                text.Append("User: ").Append(isSecond ? $"{{question_{turn + 1}}}" : "{question}").Append("\n\n").Append(who).Append(": ")
                    .Append(answers[turn]).Append("\n\n");
            text.Append("<<< ").Append(who).Append(" ends >>>\n\n");
        }
    }
}
