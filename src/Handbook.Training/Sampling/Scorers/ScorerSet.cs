using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Methods;
using Handbook.Training.Rewards;
using Handbook.Training.Sampling.Endpoints;

namespace Handbook.Training.Sampling.Scorers;

/// <summary>The scorers of a recipe and their weights; a model or an endpoint is opened when it is first asked.</summary>
internal sealed class ScorerSet : IDisposable
{
    private readonly (string Name, double Weight)[] _all;
    private readonly IAnswerScorer?[] _open;
    private readonly Func<string, IAnswerScorer> _create;

    /// <param name="options">The keys of scoring.</param>
    /// <param name="compute">Element type of a reward model's products.</param>
    /// <param name="note">Receives what the user should know of a reward model.</param>
    /// <param name="load">Loads a reward model where it is wanted; null on the CPU.</param>
    public ScorerSet(ScorerOptions options, DType compute, Action<string>? note = null,
        Func<ModelSource, Func<ModelWeights, ParameterPlan, Decoder>>? load = null)
    {
        _all = [.. options.RewardFuncs!.Select((name, i) => (name, options.WeightAt(i)))];
        _open = new IAnswerScorer?[_all.Length];
        _create = name => Create(name, options, compute, note, load);
    }

    public IReadOnlyList<string> Names => [.. _all.Select(entry => entry.Name)];

    public IReadOnlyList<double> Weights => [.. _all.Select(entry => entry.Weight)];

    /// <summary>The scorer at a place; opened where it is not.</summary>
    public IAnswerScorer this[int index] => _open[index] ??= Shared(_create(_all[index].Name));

    /// <summary>Σ weight · score of each answer; NaN where a scorer could not tell.</summary>
    public double[] Score(IReadOnlyList<SampledAnswer> answers, CancellationToken cancel = default)
    {
        var sums = new double[answers.Count];
        for (var s = 0; s < _all.Length; s++)
            this[s].Score(answers, (i, score) => sums[i] += _all[s].Weight * score.Value, cancel);
        return sums;
    }

    /// <summary>Opens every scorer, so that what is missing is told before anything is sampled.</summary>
    public void OpenAll()
    {
        for (var i = 0; i < _all.Length; i++)
            _ = this[i];
        Release();
    }

    /// <summary>Gives the memory of a reward model back until it is asked again.</summary>
    public void Release()
    {
        for (var i = 0; i < _all.Length; i++)
            if (_all[i].Name == "reward_model")
            {
                _open[i]?.Dispose();
                _open[i] = null;
            }
    }

    public void Dispose()
    {
        foreach (var scorer in _open)
            scorer?.Dispose();
    }

    // A test may end otherwise the next time: it has a clock and limits.
    private static IAnswerScorer Shared(IAnswerScorer scorer) => scorer is UnitTestScorer ? scorer : new DistinctScorer(scorer);

    private static IAnswerScorer Create(string name, ScorerOptions options, DType compute, Action<string>? note,
        Func<ModelSource, Func<ModelWeights, ParameterPlan, Decoder>>? load) => name switch
    {
        "exact_match" => new ExactMatchScorer(new(options.AnswerPattern)),
        "number_match" => new NumberMatchScorer(new(options.AnswerPattern)),
        "regex" => new RegexScorer(options.RewardPattern!),
        "length" => new LengthScorer(options.MinAnswerLength, options.MaxAnswerLength),
        "finished" => new FinishedScorer(),
        "judge" => new JudgeScorer(new ChatEndpoint(Endpoint(options, options.JudgeBaseUrl, options.JudgeModel!, note)),
            options.JudgePrompt, options.JudgePattern, options.JudgeBest, options.JudgeLeast, note),
        "reward_model" => RewardModelScorer.Of(ModelSource.Find(options.RewardModelNameOrPath!), compute, note, load),
        "unit_test" => new UnitTestScorer(new()
        {
            Command = options.UnitTestCommand!,
            File = options.UnitTestFile,
            Template = options.UnitTestTemplate,
            Allowed = options.AllowCode,
            Limits = new() { Seconds = options.UnitTestTimeout, MemoryMb = options.UnitTestMemoryMb },
        }),
        _ => throw new ArgumentOutOfRangeException(nameof(name), name, "no scorer of this name"),
    };

    /// <summary>The endpoints that a recipe asks.</summary>
    internal static IEnumerable<EndpointOptions> Endpoints(MethodOptions run)
    {
        if (!run.Definition.ScoresAnswers)
            yield break;
        if (run.Definition.IsPipeline && run.Rejection.SamplesElsewhere)
            yield return Endpoint(run.Scoring, run.Rejection.SampleBaseUrl, run.Rejection.SampleModel!);
        if (run.Scoring.RewardFuncs?.Contains("judge") == true)
            yield return Endpoint(run.Scoring, run.Scoring.JudgeBaseUrl, run.Scoring.JudgeModel!);
    }

    /// <summary>How an endpoint is treated.</summary>
    internal static EndpointOptions Endpoint(ScorerOptions options, string? address, string model, Action<string>? say = null) => new()
    {
        Say = say,
        BaseUrl = address,
        Model = model,
        KeyVariable = options.EndpointKeyVariable,
        Parallel = options.EndpointParallel,
        Retries = options.EndpointRetries,
        Timeout = options.EndpointTimeout,
    };
}
