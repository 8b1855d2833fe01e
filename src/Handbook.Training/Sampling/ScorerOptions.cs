using System.Text.RegularExpressions;
using Handbook.Base;
using Handbook.Training.Methods;
using Handbook.Training.Sampling.Endpoints;

namespace Handbook.Training.Sampling;

/// <summary>The keys that say how sampled answers are scored; each property is one key, in snake_case.</summary>
public sealed record ScorerOptions
{
    /// <summary>What <c>reward_funcs</c> may name.</summary>
    public static IReadOnlyList<string> Names { get; } = ["exact_match", "number_match", "regex", "unit_test", "judge",
        "reward_model", "length", "finished"];

    /// <summary>The scorers that compare with the column of right answers.</summary>
    private static IReadOnlyList<string> NeedReference { get; } = ["exact_match", "number_match"];

    /// <summary>What scores an answer; several are added up, with <c>reward_weights</c>: <c>exact_match</c> and <c>number_match</c> (the
    /// last number) with the column of right answers, <c>regex</c>, <c>unit_test</c>, <c>judge</c> (a model on an endpoint),
    /// <c>reward_model</c>, <c>length</c>, <c>finished</c> (not cut at its greatest length).</summary>
    [Key(IsUsual = true)]
    public IReadOnlyList<string>? RewardFuncs { get; init; }

    /// <summary>The weight of each of <c>reward_funcs</c>; null weighs each with 1.</summary>
    public IReadOnlyList<double>? RewardWeights { get; init; }

    /// <summary>The column with the right answers; null takes the first of <c>answer</c>, <c>reference</c>, <c>solution</c>,
    /// <c>expected</c> and <c>target</c> that a row has.</summary>
    public string? ReferenceColumn { get; init; }

    /// <summary>Where an answer states its result, for <c>exact_match</c> and <c>number_match</c>: a regular expression whose first group
    /// (or whole match) is compared; the last match counts. null compares the whole answer.</summary>
    public string? AnswerPattern { get; init; }

    /// <summary>For <c>regex</c>: what an answer must match somewhere; <c>^</c> and <c>$</c> hold it to the whole.</summary>
    public string? RewardPattern { get; init; }

    /// <summary>For <c>length</c>: least characters of an answer.</summary>
    public int MinAnswerLength { get; init; } = 1;

    /// <summary>For <c>length</c>: most characters of an answer; null sets no limit.</summary>
    public int? MaxAnswerLength { get; init; }

    /// <summary>For <c>reward_model</c>: the folder of a model with a scalar head, as <c>handbook reward</c> makes it.</summary>
    public string? RewardModelNameOrPath { get; init; }

    /// <summary>For <c>judge</c>: the address of an OpenAI-compatible endpoint; null is OpenAI's own.</summary>
    public string? JudgeBaseUrl { get; init; }

    /// <summary>For <c>judge</c>: the model on the endpoint.</summary>
    public string? JudgeModel { get; init; }

    /// <summary>For <c>judge</c>: what it is told, with <c>{prompt}</c>, <c>{answer}</c> and <c>{reference}</c> in their places; null asks
    /// for a mark from 0 to 10.</summary>
    public string? JudgePrompt { get; init; }

    /// <summary>For <c>judge</c>: a regular expression whose first group is the mark in the judge's reply; the last match counts.
    /// Digits of other scripts are read as 0–9. The default passes over what a mark is out of, as the 10 of "8/10", "8 out of 10"
    /// and "8 on a scale from 0 to 10".</summary>
    public string JudgePattern { get; init; } =
        @"(?i)(?<![0-9]\.?|(?:/|[0-9]\s+of|\bout\s+of(?:\s+an?)?(?:\s+(?:possible|maximum))?(?:\s+of)?|\bscale\s+(?:of|from)(?:\s+[0-9]+\s*(?:to|-|–))?)[\s*_]*-?)"
        + @"((?<!\w)-?[0-9]+(?:\.[0-9]+)?|(?<=[^\W0-9])[0-9]+(?:\.[0-9]+)?)(?![0-9]|-point|(?:\s*(?:to|-|–)\s*[0-9]+)?\s+scale)";

    /// <summary>For <c>judge</c>: the smallest mark; a reply with a smaller one is not scored.</summary>
    public double JudgeLeast { get; init; }

    /// <summary>For <c>judge</c>: the largest mark, which counts as 1; scores are marks divided by it, and a reply with a
    /// larger one is not scored.</summary>
    public double JudgeBest { get; init; } = 10;

    /// <summary>Requests to an endpoint at the same time.</summary>
    public int EndpointParallel { get; init; } = 4;

    /// <summary>How often a failed request is sent again, each time after a longer wait, or as long as the endpoint asks for.</summary>
    public int EndpointRetries { get; init; } = 6;

    /// <summary>Seconds until a request without a reply has failed.</summary>
    public double EndpointTimeout { get; init; } = 120;

    /// <summary>The environment variable with the endpoint's key; an endpoint of one's own may need none.</summary>
    public string EndpointKeyVariable { get; init; } = "OPENAI_API_KEY";

    /// <summary>For <c>unit_test</c>: the command that must end with code 0, run by <c>sh</c> in a scratch folder that holds the answer's
    /// code in <c>unit_test_file</c> and the reference in <c>reference.txt</c>.</summary>
    public string? UnitTestCommand { get; init; }

    /// <summary>For <c>unit_test</c>: the file that gets the answer's code: its last fenced block, or the whole answer where it has none;
    /// <c>{answer}</c> and <c>{reference}</c> of <c>unit_test_template</c> are filled in first.</summary>
    public string UnitTestFile { get; init; } = "solution.py";

    /// <summary>For <c>unit_test</c>: what stands in the file, with <c>{answer}</c> and <c>{reference}</c> in their places, e.g. a
    /// function's tests behind its code.</summary>
    public string UnitTestTemplate { get; init; } = "{answer}\n";

    /// <summary>For <c>unit_test</c>: allow code that a model wrote to run on this machine, without network, with limits of time, memory
    /// and processes. Off, nothing is run.</summary>
    public bool AllowCode { get; init; }

    /// <summary>For <c>unit_test</c>: seconds until it is stopped.</summary>
    public double UnitTestTimeout { get; init; } = 10;

    /// <summary>For <c>unit_test</c>: most memory of each process, in MB.</summary>
    public int UnitTestMemoryMb { get; init; } = 512;

    /// <summary>The weight of the scorer at a place of <see cref="RewardFuncs"/>.</summary>
    public double WeightAt(int index) => RewardWeights?.ElementAtOrDefault(index) ?? 1.0;

    /// <summary>The scorer that compares with a row's right answer; null where none does.</summary>
    internal string? Comparer() => RewardFuncs?.FirstOrDefault(NeedReference.Contains);

    /// <summary>Whether right answers must hold a number.</summary>
    internal bool ComparesNumbers() => RewardFuncs?.Contains("number_match") == true;

    internal void Validate(Diagnostics report)
    {
        if (RewardFuncs is not { Count: > 0 })
        {
            report.Error("reward_funcs", "is missing", why: "without a score no answer is better than another",
                fix: RewardModelNameOrPath is null ? "name a scorer, such as `reward_funcs: exact_match`"
                : "write reward_funcs: reward_model to score with reward_model_name_or_path");
            return;
        }
        foreach (var name in RewardFuncs.Where(name => !Names.Contains(name)))
            report.Error("reward_funcs", $"names {(name.Contains(',') ? $"\"{name}\"" : name)}, not one of {string.Join(", ", Names)}",
                fix: name.Contains(',') ? $"write a list, without quotes around it: [{name}]"
                        : Spelling.Nearest(name, Names) is { } nearest ? $"did you mean {nearest}?" : "use exact_match");
        foreach (var name in RewardFuncs.GroupBy(name => name).Where(group => group.Count() > 1))
            report.Error("reward_funcs", $"names {name.Key} twice", fix: "name it once, with the sum of the weights in reward_weights");
        if (RewardWeights is { } weights && weights.Count != RewardFuncs.Count)
            report.Error("reward_weights",
                $"has {weights.Count} number{(weights.Count == 1 ? "" : "s")} for {RewardFuncs.Count} of reward_funcs",
                fix: "give one weight per scorer, or remove the key");
        Needs("regex", RewardPattern, "reward_pattern", "reward_pattern: '^yes'");
        Needs("judge", JudgeModel, "judge_model", "judge_model: gpt-4o-mini");
        Needs("reward_model", RewardModelNameOrPath, "reward_model_name_or_path", "reward_model_name_or_path: runs/tiny-reward");
        Needs("unit_test", UnitTestCommand, "unit_test_command", "unit_test_command: python3 solution.py");
        EndpointAddress.Check("judge_base_url", JudgeBaseUrl, report);
        Pattern("reward_pattern", RewardPattern);
        Pattern("answer_pattern", AnswerPattern);
        Pattern("judge_pattern", JudgePattern);
        if (RewardFuncs.Contains("unit_test") && !AllowCode)
            report.Error("reward_funcs", "names unit_test, which runs code that a model wrote", why: "that is off unless you allow it",
                fix: "add --allow_code, or allow_code: true");
        if (JudgePrompt is not null && !JudgePrompt.Contains("{answer}", StringComparison.Ordinal))
            report.Error("judge_prompt", "does not contain {answer}", why: "the judge would not see what it judges",
                fix: "write {answer} where the answer stands");
        if (!UnitTestTemplate.Contains("{answer}", StringComparison.Ordinal))
            report.Error("unit_test_template", "does not contain {answer}", fix: "write {answer} where the code stands");
        if (UnitTestFile.Length == 0 || UnitTestFile.Contains('/') || UnitTestFile is "." or "..")
            report.Error("unit_test_file", $"is \"{UnitTestFile}\", but must be a name without folders", fix: "use solution.py");
        AtLeast("endpoint_parallel", EndpointParallel, 1);
        AtLeast("endpoint_retries", EndpointRetries, 0);
        AtLeast("unit_test_memory_mb", UnitTestMemoryMb, 16);
        Positive("endpoint_timeout", EndpointTimeout);
        Positive("unit_test_timeout", UnitTestTimeout);
        Positive("judge_best", JudgeBest);
        if (!(JudgeLeast < JudgeBest))
            report.OutOfRange("judge_least", JudgeLeast, $"must be less than judge_best {JudgeBest}",
                fix: "give the smallest mark that the judge is asked for");
        if (MinAnswerLength > (MaxAnswerLength ?? int.MaxValue))
            report.Error("min_answer_length", $"is {MinAnswerLength}, more than max_answer_length {MaxAnswerLength}",
                fix: "exchange the two");

        void Needs(string scorer, string? value, string key, string example)
        {
            if (RewardFuncs!.Contains(scorer) && string.IsNullOrWhiteSpace(value))
                report.Error(key, "is missing", why: $"reward_funcs names {scorer}", fix: $"add `{example}`");
        }

        void Pattern(string key, string? pattern)
        {
            if (pattern is not null && RegexMistake.Of(pattern) is { } mistake)
                report.Error(key, $"is no regular expression: {mistake}",
                    fix: "correct it; in YAML, single quotes keep backslashes as they are");
        }

        void AtLeast(string key, int value, int least)
        {
            if (value < least)
                report.OutOfRange(key, value, $"must be at least {least}", fix: "remove the key for its default");
        }

        void Positive(string key, double value)
        {
            if (!(value > 0))
                report.OutOfRange(key, value, "must be greater than 0", fix: "remove the key for its default");
        }
    }
}
