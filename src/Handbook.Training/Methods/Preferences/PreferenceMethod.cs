using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Torch.Fused;

namespace Handbook.Training.Methods.Preferences;

/// <summary>Every method that compares answers: the policy's log-probabilities of all answers in one pass, an objective over them, its
/// gradient back through the head.</summary>
/// <remarks>
/// A prompt is computed once for all its answers, and the head is evaluated on answers alone. Where a row's loss depends on the other rows
/// of its group and the group does not fit into one bin, the group is scored once without gradients first; then each bin's weights are
/// known. Products of other shapes round differently in their last bit, and a comparison of equals would then be decided by it. So what is
/// the same is never computed twice: before the first update the reference's scores are the policy's own, and answers of the same tokens
/// have the same log-probabilities.
/// </remarks>
/// <param name="name">The command.</param>
/// <param name="objective">The loss.</param>
/// <param name="reference">The reference where it stays in memory; null where rows carry its scores, or none is needed.</param>
/// <param name="beginsAsReference">Whether the reference has the weights that the policy begins with: until the first update its scores are
/// the policy's own.</param>
internal sealed class PreferenceMethod(string name, IPreferenceObjective objective, LiveReference? reference = null,
    bool beginsAsReference = false) : ITrainingMethod
{
    public string Name => name;

    public bool GroupsByMicroBatch => objective.GroupsByMicroBatch;

    public bool CouplesRows => objective.CouplesRows;

    public double[] State
    {
        get => objective.State;
        set
        {
            objective.State = value;
            reference?.Refresh();       // a checkpoint has put its weights back
        }
    }

    public IEnumerable<(string Name, Tensor Value)> StateTensors => reference?.StateTensors ?? [];

    public GroupTotals Totals(IReadOnlyList<TokenRow> rows)
    {
        var (chosen, rejected) = (0, 0);
        long chosenTokens = 0, promptTokens = 0;
        foreach (var row in rows)
        {
            for (var s = 0; s < row.Segments.Count; s++)
            {
                var segment = row.Segments[s];
                if (segment.Role == SegmentRole.Rejected)
                    rejected++;
                if (segment.Role != SegmentRole.Chosen)
                    continue;
                chosen++;
                chosenTokens += Predicted(segment);
                if (segment.Parent >= 0)
                    promptTokens += Predicted(row.Segments[segment.Parent]);
            }
        }
        return new()
        {
            Rows = rows.Count,
            ChosenRows = chosen,
            RejectedRows = rejected,
            ChosenTokens = chosenTokens,
            PromptTokens = promptTokens
        };
    }

    public void AfterStep(Decoder model, int updates) => reference?.AfterStep(model, updates);

    public void Run(Decoder model, LossGroup group, LossPass pass)
    {
        if (objective.CouplesRows && (group.Bins.Count > 1 || pass.Workers.Groups > 1 || pass.Workers.IsOrdered))
            RunTwice(model, group, pass);
        else
            foreach (var bin in pass.Bins(group))
                RunOnce(model, group, bin, pass);
    }

    private void RunOnce(Decoder model, LossGroup group, Bin bin, LossPass pass)
    {
        using var scope = TensorScope.Enter();
        var places = new AnswerPlaces(bin.Batch, objective.NeedsSquares);
        if (places.Count == 0)
            return;
        var statistics = new HeadStatistics(places.Count, objective.NeedsSquares);
        var logProbs = TokenLogProbs.Of(model, bin, places.Places, places.Targets, statistics, pass.OptionsFor(bin.Batch));
        var gradients = pass.Training ? new List<RowGradient>() : null;
        var rows = Scored(group, bin, places, statistics, pass);
        var loss = objective.Evaluate(rows, group.Totals, pass.Training, pass.Metrics, gradients) * group.Share;
        Measure(places, statistics, pass.Metrics);
        pass.Add(pass.Training ? KnownGradient.Of(logProbs, loss, Flat(places, gradients!, group.Share)) : Tensor.From([loss]), loss);
    }

    private void RunTwice(Decoder model, LossGroup group, LossPass pass)
    {
        var rows = new List<ScoredRow>();
        var parts = new List<(AnswerPlaces Places, int FirstRow, int Rows)>();
        foreach (var bin in group.Bins)
        {
            using var scope = TensorScope.Enter();
            using var mode = GradMode.Disabled();
            var places = new AnswerPlaces(bin.Batch, objective.NeedsSquares);
            var statistics = new HeadStatistics(places.Count, objective.NeedsSquares);
            TokenLogProbs.Of(model, bin, places.Places, places.Targets, statistics, pass.OptionsFor(bin.Batch));
            var scored = Scored(group, bin, places, statistics, pass);
            parts.Add((places, rows.Count, scored.Count));
            rows.AddRange(scored);
            Measure(places, statistics, pass.Metrics);
        }
        var (all, own) = ScoredRows.Gather(rows, pass.Workers);
        if (all.Count == 0)
            return;
        // Every worker evaluates the whole group, and so has the same running state; the loss and the metrics are counted once.
        var gradients = pass.Training ? new List<RowGradient>() : null;
        var loss = objective.Evaluate(all, group.Totals, pass.Training, pass.Workers.IsFirst ? pass.Metrics : null,
            gradients) * group.Share;
        pass.Add(pass.Workers.IsFirst ? loss : 0);
        if (gradients is null)
            return;
        foreach (var (bin, (places, first, count)) in pass.Bins(group).Zip(parts))
        {
            using var scope = TensorScope.Enter();
            // Σ weight · (−log p) has the gradient that is wanted where each weight is minus the derivative.
            var weights = Array.ConvertAll(Flat(places, [.. own[first..(first + count)].Select(row => gradients[row])], group.Share),
                derivative => -derivative);
            pass.Add(TokenLogProbs.WeightedLoss(model, bin, places.Places, places.Targets, weights, options: pass.OptionsFor(bin.Batch)),
                0);
        }
    }

    /// <summary>What the networks said about the rows of a bin.</summary>
    private List<ScoredRow> Scored(LossGroup group, Bin bin, AnswerPlaces places, HeadStatistics statistics, LossPass pass)
    {
        ReferenceReading.Level(places, statistics, number => group[number]);
        var isReference = objective.NeedsReference && beginsAsReference && pass.IsUntrained
            && pass.OptionsFor(bin.Batch) is { EmbeddingNoise: null, DropsInputs: false };
        var live = objective.NeedsReference && !isReference && reference is not null ? reference.Scores(bin, objective, group) : null;
        var result = new List<ScoredRow>();
        foreach (var (number, spans) in places.Rows)
        {
            var row = group[number];
            var known = isReference ? ReferenceReading.Of(spans, statistics, objective, PromptLength(row)) : live?[number] ?? row.Reference
                ?? default;
            if (objective.NeedsReference && !isReference && live is null && row.Reference is null)
                throw new InvalidOperationException($"row {number} carries no reference scores");
            AnswerScore? chosen = null, rejected = null, mismatched = null;
            ReadOnlyMemory<double> prompt = default;
            foreach (var span in spans)
            {
                var logProbs = statistics.LogProb.AsMemory(span.First, span.Count);
                if (span.Count == 0 || span.Role == SegmentRole.Prompt)
                    continue;
                var score = new AnswerScore
                {
                    LogProbs = logProbs,
                    LogSquares = statistics.LogSquares is { } squares ? squares.AsMemory(span.First, span.Count + 1) : default,
                    Reference = span.Role switch
                    {
                        SegmentRole.Chosen => known.Chosen,
                        SegmentRole.Rejected => known.Rejected,
                        _ => known.Mismatched
                    },
                };
                switch (span.Role)
                {
                    case SegmentRole.Chosen:
                        chosen = score;
                        if (PromptOf(spans, span) is { } its)
                            prompt = statistics.LogProb.AsMemory(its.First, its.Count);
                        break;
                    case SegmentRole.Rejected: rejected = score; break;
                    default: mismatched = score; break;
                }
            }
            result.Add(new ScoredRow
            {
                Row = number,
                PromptLength = PromptLength(row),
                Chosen = chosen,
                Rejected = rejected,
                Mismatched = mismatched,
                PromptLogProbs = prompt
            });
        }
        return result;
    }

    private static AnswerPlaces.Span? PromptOf(IEnumerable<AnswerPlaces.Span> row, AnswerPlaces.Span answer)
    {
        foreach (var span in row)
            if (span.Segment == answer.Parent && span.Role == SegmentRole.Prompt)
                return span;
        return null;
    }

    /// <summary>The derivatives of all rows, place by place.</summary>
    private static double[] Flat(AnswerPlaces places, List<RowGradient> gradients, double share)
    {
        var flat = new double[places.Count];
        var index = 0;
        foreach (var (_, spans) in places.Rows)
        {
            var gradient = gradients[index++];
            foreach (var span in spans)
                Put(span.Role switch { SegmentRole.Chosen => gradient.Chosen, SegmentRole.Rejected => gradient.Rejected, _ => [] }, span);
            foreach (var chosen in spans.Where(span => span.Role == SegmentRole.Chosen))
                if (PromptOf(spans, chosen) is { } prompt)
                    Put(gradient.Prompt, prompt);
        }
        return flat;

        void Put(double[] derivatives, AnswerPlaces.Span span)
        {
            for (var i = 0; i < derivatives.Length; i++)
                flat[span.First + i] = derivatives[i] * share;
        }
    }

    /// <summary>What is measured on the whole vocabulary: means over answer tokens.</summary>
    /// <remarks>The reference trainer does the same for DPO, and in its newest release for KTO; for ORPO, CPO, BCO and older KTO it also
    /// counts prompts and padding, which are not computed here.</remarks>
    private static void Measure(AnswerPlaces places, HeadStatistics statistics, MetricSums metrics)
    {
        var targets = places.Targets;
        foreach (var span in places.Spans)
        {
            if (span.Role is not (SegmentRole.Chosen or SegmentRole.Rejected))
                continue;
            double logits = 0, entropy = 0;
            var correct = 0;
            for (var i = span.First; i < span.First + span.Count; i++)
            {
                logits += statistics.MeanLogit[i];
                entropy += statistics.Entropy[i];
                correct += statistics.ArgMax[i] == targets[i] ? 1 : 0;
            }
            metrics.Add(span.Role == SegmentRole.Chosen ? "logits/chosen" : "logits/rejected", logits, span.Count);
            metrics.Add("entropy", entropy, span.Count);
            if (span.Role == SegmentRole.Chosen)
                metrics.Add("mean_token_accuracy", correct, span.Count);
        }
    }

    /// <summary>Tokens of the prompt that a row's first answer continues.</summary>
    internal static int PromptLength(TokenRow row)
    {
        foreach (var segment in row.Segments)
            if (segment.Role != SegmentRole.Prompt)
                return segment.Parent < 0 ? 0 : row.Segments[segment.Parent].Ids.Length;
        return 0;
    }

    private static int Predicted(TokenSegment segment)
    {
        var loss = segment.Loss.Span;
        var count = 0;
        for (var i = segment.Parent >= 0 ? 0 : 1; i < loss.Length; i++)
            count += loss[i] != 0 ? 1 : 0;
        return count;
    }
}
