using Handbook.Base.Keys;
using Handbook.Training.Methods;
using Handbook.Training.Methods.Bco;
using Handbook.Training.Methods.Cpo;
using Handbook.Training.Methods.Dpo;
using Handbook.Training.Methods.Kto;
using Handbook.Training.Methods.Orpo;
using Handbook.Training.Methods.Preferences;

namespace Handbook.Training.Tests.Methods.Preferences;

/// <summary>Every loss with every option that it reads, in every meaning: what the laws of all objectives are tested on.</summary>
internal static class EveryObjective
{
    private static readonly TrlRelease?[] s_releases = [null, TrlRelease.V0_24, TrlRelease.V1_9];

    private static readonly Dictionary<string, (TrainingMethod Method, PreferenceOptions Options)> s_all = Enumerate()
        .ToDictionary(x => x.Name, x => (x.Method, x.Options));

    public static IReadOnlyCollection<string> Names => s_all.Keys;

    public static bool IsPaired(string name) => s_all[name].Method is not (TrainingMethod.Kto or TrainingMethod.Bco);

    public static PreferenceOptions Options(string name) => s_all[name].Options;

    public static IPreferenceObjective Create(string name)
    {
        var (method, options) = s_all[name];
        var objective = method == TrainingMethod.Bco ? new BcoObjective(options, row => 0.5 + 0.1 * row)
            : PreferenceObjective.Create(new MethodOptions { Method = method, Preference = options });
        if (objective.State.Length > 0)
            objective.State = [0.3, 5];
        return objective;
    }

    /// <summary>Rows that fit the objective.</summary>
    public static List<ScoredRow> Rows(string name, int seed, int count, IPreferenceObjective objective) =>
        IsPaired(name) ? SomeRows.Pairs(seed, count, objective) : SomeRows.Singles(seed, count, objective);

    private static IEnumerable<(string Name, TrainingMethod Method, PreferenceOptions Options)> Enumerate()
    {
        foreach (var release in s_releases)
        {
            var @in = release is null ? "" : $" in {RecipeNames.Of(release)}";
            foreach (var options in Dpo())
                yield return ("dpo " + options.Name + @in, TrainingMethod.Dpo, options.Options with { TrlCompat = release });
            foreach (var options in Others())
                yield return (options.Name + @in, options.Method, options.Options with { TrlCompat = release });
        }
    }

    private static IEnumerable<(string Name, PreferenceOptions Options)> Dpo()
    {
        foreach (var (loss, _, _) in RecipeNames.Spellings(typeof(DpoLossType)))
        {
            yield return (loss, new() { LossType = [loss], LabelSmoothing = 0.1 });
            if (loss is "aot" or "aot_unpaired" or "aot_pair" or "apo_zero" or "kto_pair" or "sft")
                continue;
            foreach (var divergence in Enum.GetValues<Divergence>())
                if (divergence != Divergence.ReverseKl)
                    yield return ($"{loss} with {RecipeNames.Of(divergence)}",
                        new() { LossType = [loss], FDivergenceType = divergence, Beta = 0.3 });
        }
        foreach (var loss in (string[])["sigmoid", "ipo", "sigmoid_norm", "apo_zero"])
        {
            yield return ($"{loss} with WPO", new() { LossType = [loss], UseWeighting = true });
            yield return ($"{loss} with LD-DPO", new() { LossType = [loss], LdAlpha = 0.4 });
            yield return ($"{loss} without reference", new() { LossType = [loss], ReferenceFree = true });
        }
        yield return ("sigmoid without smoothing", new() { Beta = 0.5 });
        yield return ("exo_pair without smoothing", new() { LossType = ["exo_pair"] });
        yield return ("alpha 0.25", new() { FDivergenceType = Divergence.Alpha, FAlphaDivergenceCoef = 0.25 });
        yield return ("slow discopop", new() { LossType = ["discopop"], DiscopopTau = 2 });
        yield return ("rpo_alpha", new() { RpoAlpha = 0.7 });
        yield return ("rpo_alpha with WPO", new() { RpoAlpha = 0.7, UseWeighting = true });
        yield return ("MPO", new() { LossType = ["sigmoid", "bco_pair", "sft"], LossWeights = [0.8, 0.2, 1] });
        yield return ("MPO with LD-DPO", new() { LossType = ["sigmoid", "bco_pair", "sft"], LossWeights = [0.8, 0.2, 1], LdAlpha = 0.2 });
        yield return ("many",
            new() { LossType = ["ipo", "aot", "kto_pair", "hinge", "sft"], LossWeights = [0.1, 0.2, 0.3, 0.4, 0.5], LabelSmoothing = 0.2 });
    }

    private static IEnumerable<(string Name, TrainingMethod Method, PreferenceOptions Options)> Others()
    {
        yield return ("orpo", TrainingMethod.Orpo, new());
        yield return ("orpo on completions", TrainingMethod.Orpo, new() { OrpoNll = OrpoNll.Completion, Beta = 0.3 });
        foreach (var (loss, _, _) in RecipeNames.Spellings(typeof(CpoLossType)))
        {
            yield return ("cpo " + loss, TrainingMethod.Cpo, new() { LossType = [loss], LabelSmoothing = 0.1 });
            yield return ($"cpo {loss} with alpha", TrainingMethod.Cpo,
                new() { LossType = [loss], Alpha = 0.25, CpoAlpha = 0, SimpoGamma = 1.4, Beta = 2 });
        }
        foreach (var (loss, _, _) in RecipeNames.Spellings(typeof(KtoLossType)))
            yield return ("kto " + loss, TrainingMethod.Kto, new() { LossType = [loss], DesirableWeight = 1.33, UndesirableWeight = 0.8 });
        yield return ("bco", TrainingMethod.Bco, new() { UseDensityRatio = true });
    }
}
