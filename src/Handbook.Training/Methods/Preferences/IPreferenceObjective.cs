using Handbook.Data;

namespace Handbook.Training.Methods.Preferences;

/// <summary>What differs between preference methods: a loss over the log-probabilities of answers, with its derivatives and
/// metrics.</summary>
/// <remarks>
/// All in float64 on a few numbers per answer. A group is the rows over which a loss is one mean: the optimiser step, or the micro-batch
/// where an older release is to be reproduced. Unless <see cref="CouplesRows"/>, a group may be handed over in any parts, and the parts'
/// losses and gradients add up.
/// </remarks>
internal interface IPreferenceObjective
{
    /// <summary>Whether <see cref="AnswerScore.Reference"/> is read.</summary>
    bool NeedsReference { get; }

    /// <summary>Whether <see cref="AnswerScore.LogSquares"/> is read.</summary>
    bool NeedsSquares { get; }

    /// <summary>Whether <see cref="ScoredRow.Mismatched"/> is read.</summary>
    bool NeedsMismatched => false;

    /// <summary>Whether the loss of a row depends on the scores of the group's other rows, so that a group must be handed over
    /// whole.</summary>
    bool CouplesRows { get; }

    /// <summary>Whether each micro-batch is a group of its own, as an older release has it; otherwise the whole step is one
    /// group.</summary>
    bool GroupsByMicroBatch { get; }

    /// <summary>Everything that changes <see cref="Reduce"/>, for the key of the cached reference scores.</summary>
    string ReduceKey { get; }

    /// <summary>State that belongs in a checkpoint, such as a running mean; empty for most.</summary>
    double[] State { get; set; }

    /// <summary>An answer's log-probabilities as one number: their sum, or a weighted one (LD-DPO).</summary>
    /// <param name="role">Which answer it is.</param>
    /// <param name="logProbs">log p of each of its tokens.</param>
    /// <param name="promptLength">Tokens of its prompt.</param>
    /// <param name="otherLength">Tokens of the pair's other answer; 0 where there is none.</param>
    /// <param name="reference">Whether these are the reference's.</param>
    double Reduce(SegmentRole role, ReadOnlySpan<double> logProbs, int promptLength, int otherLength, bool reference);

    /// <summary>Loss, derivatives and metrics of rows.</summary>
    /// <param name="rows">A group, or a part of one.</param>
    /// <param name="totals">Of the whole group.</param>
    /// <param name="training">Whether running state may change.</param>
    /// <param name="metrics">Receives sums and counts; null measures nothing.</param>
    /// <param name="gradients">Receives one entry per row, in order; null in evaluation.</param>
    /// <returns>The part of the group's loss that these rows contribute.</returns>
    double Evaluate(IReadOnlyList<ScoredRow> rows, GroupTotals totals, bool training, MetricSums? metrics, List<RowGradient>? gradients);
}
