using System.Text;
using System.Text.RegularExpressions;
using Handbook.Base;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>1 where a command ends with code 0 on the answer's code; each answer in a sandbox of its own.</summary>
internal sealed partial class UnitTestScorer : IAnswerScorer
{
    private readonly UnitTestOptions _options;
    private readonly CodeSandbox _sandbox;

    /// <exception cref="InputException">Code is not allowed, or cannot be isolated here.</exception>
    public UnitTestScorer(UnitTestOptions options)
    {
        if (!options.Allowed)
            throw new InputException("unit_test runs code that a model wrote, and is not allowed",
                fix: "add --allow_code, or allow_code: true");
        _options = options;
        _sandbox = CodeSandbox.Open(options.Limits);
    }

    public string Name => "unit_test";

    public void Score(IReadOnlyList<SampledAnswer> answers, Action<int, AnswerRating> done, CancellationToken cancel)
    {
        var told = new Lock();
        try
        {
            Parallel.For(0, answers.Count,
                new ParallelOptions { MaxDegreeOfParallelism = Math.Max(1, Environment.ProcessorCount), CancellationToken = cancel }, i =>
            {
                var score = Score(answers[i], cancel);
                lock (told)
                    done(i, score);
            });
        }
        catch (AggregateException failure) when (failure.InnerException is InputException or OperationCanceledException)
        {
            throw failure.InnerException;
        }
    }

    private AnswerRating Score(SampledAnswer answer, CancellationToken cancel)
    {
        var reference = answer.Reference ?? "";
        var files = new Dictionary<string, string>
        {
            [_options.File] = _options.Template.Replace("{reference}", reference, StringComparison.Ordinal)
                .Replace("{answer}", CodeOf(answer.Answer), StringComparison.Ordinal),
            ["reference.txt"] = reference,
        };
        var outcome = _sandbox.Run(_options.Command, files, cancel);
        return outcome.Code == 0 ? new(1)
            : new(0, outcome.Code is { } code ? $"ended with {code}: {outcome.Output}"
            : $"stopped after {_options.Limits.Seconds:0.#} s: {outcome.Output}");
    }

    /// <summary>The last fenced block of an answer, or the whole answer.</summary>
    public static string CodeOf(string answer) => Fence().Matches(answer).LastOrDefault() is { } block ? block.Groups[1].Value : answer;

    public void Dispose() => GC.SuppressFinalize(this);

    [GeneratedRegex("^```[^\n]*\n(.*?)^```", RegexOptions.Multiline | RegexOptions.Singleline)]
    private static partial Regex Fence();
}

/// <summary>How answers are tested.</summary>
internal sealed record UnitTestOptions
{
    /// <summary>For <c>sh -c</c>, in the scratch folder.</summary>
    public required string Command { get; init; }

    /// <summary>The file that gets the code.</summary>
    public string File { get; init; } = "solution.py";

    /// <summary>What stands in it, with <c>{answer}</c> and <c>{reference}</c>.</summary>
    public string Template { get; init; } = "{answer}\n";

    /// <summary>Whether the user allowed it.</summary>
    public bool Allowed { get; init; }

    public SandboxLimits Limits { get; init; } = new();
}
