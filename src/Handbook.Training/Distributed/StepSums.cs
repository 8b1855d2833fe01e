using Handbook.Base;
using Handbook.Models;
using Handbook.Training.Methods;

namespace Handbook.Training.Distributed;

/// <summary>What a step's rows gave, everyone's together.</summary>
/// <param name="Loss">The step's loss; not finite where any part of it was not.</param>
/// <param name="Learned">Whether anyone had something to learn from.</param>
/// <param name="Tokens">Tokens that went through the network.</param>
/// <param name="Next">What <see cref="StepAhead"/> asked.</param>
internal readonly record struct StepSums(double Loss, bool Learned, long Tokens, StepAhead Next)
{
    /// <summary>Computes the loss of groups of rows; in training the sum of everyone's gradients is then in the model's
    /// parameters.</summary>
    /// <param name="model">The model; every worker has the same.</param>
    /// <param name="groups">This worker's share of the rows, as the method makes them.</param>
    /// <param name="pass">Says whether it is for training and who works together; receives what is measured of this worker's share.</param>
    /// <param name="totals">Counts of everyone's rows, by group; null where they are not known yet.</param>
    /// <param name="next">What this worker knows of the step after.</param>
    /// <param name="cancel">Asks to stop before the step after.</param>
    public static StepSums Run(Decoder model, ITrainingMethod method, IReadOnlyList<LossGroup> groups, LossPass pass,
        IReadOnlyList<GroupTotals>? totals = null, StepAhead? next = null, CancellationToken cancel = default)
    {
        totals ??= pass.Workers.Sum([.. groups.Select(group => group.Totals)]);
        for (var i = 0; i < groups.Count; i++)
        {
            (pass.GroupNumber, pass.IsLastGroup) = (i, i == groups.Count - 1);
            method.Run(model, groups[i].With(totals[i]), pass);
        }
        if (pass.Training)
            pass.Traffic?.AskForSums();
        next ??= StepAhead.Nothing;
        var (sums, counts, stops) = pass.Workers.SumGroups([pass.ExactLoss],
            [pass.Parts, groups.Sum(group => group.Tokens), .. GroupTotals.NumbersOf(next.Totals)], next.Stops || cancel.IsCancellationRequested);
        var learned = counts[0] > 0;
        if (pass is { Training: true, Traffic: { } traffic })
            traffic.AwaitSums();
        else if (pass.Training && learned)
            pass.Workers.SumGradients(model.Parameters);
        return new(sums[0].Value, learned, (long)counts[1], new(stops, GroupTotals.ListOf(counts[2..])));
    }
}

/// <summary>What is known of the next step while one is computed, so that one message says all of it.</summary>
/// <param name="Stops">Whether somebody was asked to stop before it.</param>
/// <param name="Totals">Counts of its rows, by group.</param>
internal sealed record StepAhead(bool Stops, IReadOnlyList<GroupTotals> Totals)
{
    public static StepAhead Nothing { get; } = new(false, []);

    /// <summary>What one worker knows.</summary>
    public static StepAhead Of(StepWork? work, CancellationToken cancel) =>
        new(cancel.IsCancellationRequested, work is null ? [] : [.. work.Groups.Select(group => group.Totals)]);

    /// <summary>What all know together.</summary>
    public StepAhead Joined(Workers workers)
    {
        var (_, counts, stops) = workers.SumGroups([], GroupTotals.NumbersOf(Totals), Stops);
        return new(stops, GroupTotals.ListOf(counts));
    }
}
