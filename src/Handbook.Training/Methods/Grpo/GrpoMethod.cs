using Handbook.Data;
using Handbook.Data.Mixing;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Torch.Fused;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods.Grpo;

/// <summary>Where the prompts of steps come from.</summary>
/// <param name="Rows">All prompts.</param>
/// <param name="Texts">What each says.</param>
internal sealed record PromptRows(ITokenRows Rows, Func<int, PromptText> Texts);

/// <summary>Group-relative policy optimisation: answers sampled from the policy itself, pushed by how they compare within their group. The
/// loss is <see cref="GrpoObjective"/>'s.</summary>
/// <remarks>
/// One sampling serves the steps of <see cref="StepPlanOptions.PassLength"/>, <see cref="StepPlanOptions.Passes"/> times. Where that is one
/// step, the policy of the update is the one that answered, so its own log-probabilities, detached, are the old ones. Otherwise they are
/// computed right after the sampling and travel with the answers, also through a checkpoint.
/// </remarks>
internal sealed class GrpoMethod : ITrainingMethod
{
    private readonly GrpoLoss _loss;
    private readonly AnswerGroups _groups;
    private readonly PromptRows _prompts;
    private readonly StepPlan _plan;
    private readonly (int Length, int Passes) _passes;
    private readonly SampledRows?[] _sampled;

    /// <param name="loss">The loss.</param>
    /// <param name="groups">Samples and scores.</param>
    /// <param name="prompts">The training prompts.</param>
    /// <param name="plan">Which prompts belong to which step.</param>
    /// <param name="passes">Steps that one sampling serves, and how often.</param>
    public GrpoMethod(GrpoLoss loss, AnswerGroups groups, PromptRows prompts, StepPlan plan, (int Length, int Passes) passes = default)
    {
        (_loss, _groups, _prompts, _plan) = (loss, groups, prompts, plan);
        _passes = passes == default ? (1, 1) : passes;
        _sampled = new SampledRows?[_passes.Length];
    }

    public string Name => "grpo";

    /// <summary>What held-out prompts say; null where none are held out.</summary>
    public Func<int, PromptText>? HeldOutTexts { get; init; }

    /// <summary>The reference; null where β is 0.</summary>
    public LiveReference? Reference { get; init; }

    /// <summary>Most tokens that go through the network at once; only an answer that is longer with its prompt goes alone.</summary>
    public int MaxTokens { get; init; } = 4096;

    /// <summary>Whether the prompt is computed once for all its answers.</summary>
    public bool SharePrompts { get; init; } = true;

    /// <summary>Receives every answer that is sampled for training, with the number of the step; null for none.</summary>
    public Action<int, LoggedAnswer>? Log { get; init; }

    /// <summary>Called when the answers of a sampling have all been logged; null for nothing.</summary>
    public Action? Sampled { get; init; }

    public bool GroupsByMicroBatch => _loss.Aggregation == GrpoAggregation.Bnpo;

    public IEnumerable<(string Name, Tensor Value)> StateTensors => Reference?.StateTensors ?? [];

    /// <summary>The answers that further steps are trained on.</summary>
    public double[] State
    {
        get => Numbers(_sampled);
        set
        {
            Parts(value).CopyTo(_sampled, 0);
            Reference?.Refresh();       // a checkpoint has put its weights back
        }
    }

    public double[] Joined(IReadOnlyList<double[]> states)
    {
        if (states.Count == 1 || states.All(state => state.Length == 0))
            return states[0];
        var parts = states.Select(Parts).ToArray();
        return Numbers([.. Enumerable.Range(0, _sampled.Length).Select(part =>
            parts.Any(all => all[part] is not null) ? SampledRows.Joined(parts.Select(all => all[part]).OfType<SampledRows>()) : null)]);
    }

    private SampledRows?[] Parts(double[] numbers)
    {
        var (state, parts) = (new Queue<double>(numbers), new SampledRows?[_sampled.Length]);
        for (var part = 0; part < parts.Length; part++)
            parts[part] = state.TryDequeue(out var there) && there != 0 ? SampledRows.Read(state) : null;
        return parts;
    }

    private static double[] Numbers(SampledRows?[] parts)
    {
        if (Array.TrueForAll(parts, part => part is null))
            return [];
        var state = new List<double>();
        foreach (var part in parts)
        {
            state.Add(part is null ? 0 : 1);
            part?.Write(state);
        }
        return [.. state];
    }

    public GroupTotals Totals(IReadOnlyList<TokenRow> rows)
    {
        var totals = new GroupTotals { Rows = rows.Count };
        foreach (var row in rows)
        {
            var lengths = row.Segments.Where(segment => segment.Role == SegmentRole.Sample).Select(segment => segment.Ids.Length).ToArray();
            totals = totals with
            {
                Samples = totals.Samples + lengths.Length,
                SampleTokens = totals.SampleTokens + lengths.Sum(),
                CountedTokens = totals.CountedTokens + lengths.Where((_, i) => row.Samples![i].Counts).Sum(),
            };
        }
        return totals;
    }

    public void AfterStep(Decoder model, int updates) => Reference?.AfterStep(model, updates);

    public IReadOnlyList<LossGroup> Make(Decoder model, int updates, IReadOnlyList<LossGroup> groups, LossPass pass)
    {
        if (!pass.Training)
        {
            var prompts = groups.SelectMany(group => group.Rows).ToArray();
            var held = Scored(model, _groups.Sample(model, prompts, HeldOutTexts!, -1, pass), needsOld: false, pass.Workers.Context);
            return Lay(held, new(0, 0, [[.. prompts.Select(row => row.Number)]], 0), pass.Workers.Context);
        }
        var (step, (length, passes)) = (updates, _passes);
        var (part, number) = (step % length, step / length % passes);
        if (_sampled[part] is null)
        {
            for (var p = part; p < length && step + p - part < _plan.TotalSteps; p++)
                _sampled[p] = Sample(model, step, Share(pass, _plan[step + p - part]), pass);
            Sampled?.Invoke();
        }
        var rows = _sampled[part]!;
        if (number == passes - 1)
            _sampled[part] = null;
        return Lay(rows, Share(pass, _plan[step]), pass.Workers.Context);
    }

    /// <summary>This worker's prompts: about as many as everyone's, since nobody knows how long the answers will be.</summary>
    private static StepRows Share(LossPass pass, StepRows rows) => pass.Workers.Share(rows, _ => 1);

    /// <summary>The groups of a step; a prompt whose answers do not fit into a bin is computed once for each part of them.</summary>
    /// <param name="context">Who computes a part of every bin's tokens each; null for this process alone.</param>
    internal IReadOnlyList<LossGroup> Lay(ITokenRows rows, StepRows step, ContextGroup? context = null)
    {
        var parts = new GroupParts(Laid(rows), step.MicroBatches.SelectMany(m => m), MaxTokens);
        var own = step with { MicroBatches = [.. step.MicroBatches.Select(parts.Of)] };
        return BatchLoader.LayOwn(parts, own, this, MaxTokens, context).Groups;
    }

    private SampledRows Sample(Decoder model, int step, StepRows rows, LossPass pass)
    {
        var prompts = rows.MicroBatches.SelectMany(m => m).Distinct().Select(number => (number, _prompts.Rows.Read(number))).ToArray();
        return Scored(model, _groups.Sample(model, prompts, _prompts.Texts, step, pass, Log is null ? null : answer =>
            Log(step, answer)), needsOld: _passes != (1, 1), pass.Workers.Context);
    }

    /// <summary>Answers with what the policy, as it is now, and the reference say of them.</summary>
    private SampledRows Scored(Decoder model, SampledRows rows, bool needsOld, ContextGroup? context)
    {
        int[] numbers = [.. rows.Numbers];
        var temperature = _groups.Options.Sampling.Temperature;
        var old = needsOld ? TokenScores.Of(model, Laid(rows), numbers, MaxTokens, temperature, context) : null;
        var reference = Reference is null ? null : TokenScores.Of(Reference.Model, Laid(rows), numbers, MaxTokens, temperature,
            context);
        return old is null && reference is null ? rows : new(numbers.Select(number =>
        {
            var row = rows.Read(number);
            return (number, new TokenRow
            {
                Segments = row.Segments,
                Samples = [.. row.Samples!.Select((sample, i) =>
                    sample with { Old = old?[number][i] ?? [], Reference = reference?[number][i] ?? [] })],
            });
        }));
    }

    private ITokenRows Laid(ITokenRows rows) => SharePrompts ? rows : new SeparatePrompts(rows);

    public void Run(Decoder model, LossGroup group, LossPass pass)
    {
        var clipped = new List<(double Low, double High)>();
        foreach (var bin in pass.Bins(group))
        {
            using var scope = TensorScope.Enter();
            var places = new AnswerPlaces(bin.Batch, withEnd: false);
            if (places.Count == 0)
                continue;
            var statistics = new HeadStatistics(places.Count);
            var logProbs = TokenLogProbs.Of(model, bin, places.Places, places.Targets, statistics, pass.OptionsFor(bin.Batch),
                _groups.Options.Sampling.Temperature);
            var spans = places.Rows.SelectMany(row => row.Spans.Where(span => span.Role == SegmentRole.Sample)
                .Select((span, i) => (Span: span, Score: group[row.Row].Samples![i]))).ToArray();
            var gradients = pass.Training ? new List<double[]>() : null;
            var loss = group.Share * GrpoObjective.Evaluate(_loss,
                Array.ConvertAll(spans, s => new SampledAnswerLogProbs(statistics.LogProb.AsMemory(s.Span.First, s.Span.Count), s.Score)),
                group.Totals, pass.Metrics, gradients, clipped);
            foreach (var (span, _) in spans.Where(s => s.Score.Counts))
                pass.Metrics.Add("entropy", statistics.Entropy.AsSpan(span.First, span.Count).ToArray().Sum(), span.Count);
            pass.Add(pass.Training ? KnownGradient.Of(logProbs, loss, Flat(places, [.. spans.Select(s => s.Span)], gradients!, group.Share))
                : Tensor.From([loss]), loss);
        }
        var everyone = pass.Workers.GatherGroups([.. clipped.SelectMany(answer => (double[])[answer.Low, answer.High])])
            .SelectMany(part => part.Chunk(2)).ToArray();
        if (everyone.Length == 0 || !pass.Workers.IsFirst)
            return;
        pass.Metrics.Add("clip_ratio/low_min", everyone.Min(answer => answer[0]), 1);
        pass.Metrics.Add("clip_ratio/high_max", everyone.Max(answer => answer[1]), 1);
    }

    /// <summary>The derivatives of all answers, place by place.</summary>
    private static double[] Flat(AnswerPlaces places, AnswerPlaces.Span[] spans, List<double[]> gradients, double share)
    {
        var flat = new double[places.Count];
        for (var s = 0; s < spans.Length; s++)
            for (var i = 0; i < spans[s].Count; i++)
                flat[spans[s].First + i] = share * Math.Clamp(gradients[s][i], -1e38, 1e38);      // what float32 can hold
        return flat;
    }
}
