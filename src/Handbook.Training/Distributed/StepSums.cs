using Handbook.Base;
using Handbook.Models;
using Handbook.Training.Methods;

namespace Handbook.Training.Distributed;

/// <summary>What a step's rows gave, everyone's together.</summary>
/// <param name="Loss">The step's loss; not finite where any part of it was not.</param>
/// <param name="Learned">Whether anyone had something to learn from.</param>
/// <param name="Tokens">Tokens that went through the network.</param>
internal readonly record struct StepSums(double Loss, bool Learned, long Tokens)
{
    /// <summary>Computes the loss of groups of rows; in training the sum of everyone's gradients is then in the model's
    /// parameters.</summary>
    /// <param name="model">The model; every worker has the same.</param>
    /// <param name="groups">This worker's share of the rows, as the method makes them.</param>
    /// <param name="pass">Says whether it is for training and who works together; receives what is measured of this worker's share.</param>
    public static StepSums Run(Decoder model, ITrainingMethod method, IReadOnlyList<LossGroup> groups, LossPass pass)
    {
        var totals = pass.Workers.Sum([.. groups.Select(group => group.Totals)]);
        for (var i = 0; i < groups.Count; i++)
        {
            (pass.GroupNumber, pass.IsLastGroup) = (i, i == groups.Count - 1);
            method.Run(model, groups[i].With(totals[i]), pass);
        }
        if (pass.Training)
            pass.Traffic?.AskForSums();
        var sums = pass.Workers.SumGroups(pass.ExactLoss, ExactSum.Of(pass.Parts), ExactSum.Of(groups.Sum(group => group.Tokens)));
        var learned = sums[1].Value > 0;
        if (pass is { Training: true, Traffic: { } traffic })
            traffic.AwaitSums();
        else if (pass.Training && learned)
            pass.Workers.SumGradients(model.Parameters);
        return new(sums[0].Value, learned, (long)sums[2].Value);
    }
}
