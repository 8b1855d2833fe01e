using System.Globalization;
using Handbook.Base;
using Handbook.Data;
using Handbook.Models;
using Handbook.Torch;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Methods;

/// <summary>Another method's loss, and the one that spreads tokens over the model's experts (<see cref="ExpertBalance"/>).</summary>
/// <remarks>
/// <code>
/// loss = inner loss + λ · balance        over the same group of rows
/// </code>
/// The gradient of the balance is computed together with the inner method's parts (<see cref="LossPass.Add(Tensor)"/>). A group of several
/// bins must have been read whole before the gradient of the first is computed, since f counts all its tokens: where the inner method does
/// not do so itself, the group is read once without gradients first.
/// </remarks>
/// <param name="inner">The method.</param>
/// <param name="coefficient">λ, above 0.</param>
internal sealed class BalancedMethod(ITrainingMethod inner, double coefficient) : ITrainingMethod
{
    public string Name => inner.Name;

    public bool GroupsByMicroBatch => inner.GroupsByMicroBatch;

    public bool CouplesRows => true;

    public double[] State
    {
        get => inner.State;
        set => inner.State = value;
    }

    public double[] Joined(IReadOnlyList<double[]> states) => inner.Joined(states);

    public IEnumerable<(string Name, Tensor Value)> StateTensors => inner.StateTensors;

    /// <summary>A recipe's method as the model wants it: with the balancing loss, or as it is.</summary>
    public static ITrainingMethod Around(ITrainingMethod method, MethodOptions options, DecoderConfig model) =>
        Coefficient(options, model) is > 0 and var coefficient ? new BalancedMethod(method, coefficient) : method;

    /// <summary>λ: the recipe's, or else the model's own where it asks for the loss (<c>output_router_logits</c>); 0 where there are no
    /// experts.</summary>
    public static double Coefficient(MethodOptions options, DecoderConfig model)
    {
        if (model.Experts is not { } experts)
            return 0;
        // TRL 1.9 turns the loss on for every model with experts, in the trainers that have the key.
        var isDefault = options.Preference.TrlCompat == TrlRelease.V1_9 && options.Definition.BalancesExperts;
        return options.Training.RouterAuxLossCoef
            ?? (isDefault ? 0.001 : experts.WantsAuxiliaryLoss ? experts.AuxiliaryLossCoefficient : 0);
    }

    /// <summary>What a recipe is told of its model's experts, or of their absence; null for nothing.</summary>
    public static string? Note(MethodOptions options, DecoderConfig model)
    {
        var asked = options.Training.RouterAuxLossCoef;
        if (model.Experts is not { } experts)
            return asked is null ? null : string.Create(CultureInfo.InvariantCulture,
                $"router_aux_loss_coef: {asked} has no effect: {model.ModelType} models have no experts, so there is no router");
        var noise = experts.JitterNoise == 0 ? "" : "; the config's router_jitter_noise is not applied here: a token always goes to its "
            + "best experts";
        return Coefficient(options, model) is > 0 and var coefficient
            ? string.Create(CultureInfo.InvariantCulture,
                $"each token visits {experts.PerToken} of {experts.Count} experts; the loss that spreads tokens over them (aux_loss) is "
                + $"added with weight {coefficient}{noise}")
            : $"each token visits {experts.PerToken} of {experts.Count} experts; nothing spreads tokens over "
                + $"them: {(asked is null ? "the model's config has output_router_logits false; router_aux_loss_coef: 0.001 in the recipe "
                + "turns it on" : "router_aux_loss_coef is 0")}{noise}";
    }

    public GroupTotals Totals(IReadOnlyList<TokenRow> rows) => inner.Totals(rows);

    public IReadOnlyList<LossGroup> Make(Decoder model, int updates, IReadOnlyList<LossGroup> groups, LossPass pass) =>
        inner.Make(model, updates, groups, pass);

    public void AfterStep(Decoder model, int updates) => inner.AfterStep(model, updates);

    public void Run(Decoder model, LossGroup group, LossPass pass)
    {
        var workers = pass.Workers;
        using var balance = new ExpertBalance(model.Config, group, coefficient * group.Share, workers);
        pass.Balance = balance;
        if (pass.Training && (workers.Count > 1 || workers.IsOrdered || group.Bins.Count > 1 && !inner.CouplesRows))
            foreach (var bin in group.Bins)
                Read(model, bin, pass);
        if (pass.Training)
            balance.Hear(workers);
        var before = pass.Parts;
        inner.Run(model, group, pass);
        if (workers.Any(pass.Parts > before))
        {
            foreach (var bin in pass.BinsOnceMore(group))
                AddRest(model, bin, balance, pass);
            if (!pass.Training)
                balance.Hear(workers);
            if (workers.IsFirst)
            {
                pass.Metrics.Add("aux_loss", balance.Value, 1);
                pass.Add(coefficient * group.Share * balance.Value);
            }
        }
        pass.Balance = null;
    }

    private static void Read(Decoder model, Bin bin, LossPass pass)
    {
        using var scope = TensorScope.Enter();
        using var mode = GradMode.Disabled();
        model.Hidden(bin.Stream, pass.OptionsFor(bin.Batch));
    }

    /// <summary>A bin that the inner method had no reason to read, because nothing in it is learnt: its tokens count for the balance all
    /// the same.</summary>
    private static void AddRest(Decoder model, Bin bin, ExpertBalance balance, LossPass pass)
    {
        if (pass.Training ? balance[bin.Batch].IsInGraph : balance[bin.Batch].IsKnown)
            return;
        if (!pass.Training)
        {
            Read(model, bin, pass);
            return;
        }
        using var scope = TensorScope.Enter();
        model.Hidden(bin.Stream, pass.OptionsFor(bin.Batch));
        pass.AddBalance();
    }
}
