using Handbook.Training.Methods.Grpo;

namespace Handbook.Training.Methods.Preferences;

/// <summary>The values of <c>loss_type</c>, by the method that has them.</summary>
internal static class LossNames
{
    public static IReadOnlyList<(TrainingMethod Method, Type Losses)> All { get; } =
    [
        (TrainingMethod.Sft, typeof(SftLossType)), (TrainingMethod.Dpo, typeof(DpoLossType)), (TrainingMethod.Kto, typeof(KtoLossType)), (TrainingMethod.Cpo, typeof(CpoLossType)),
        (TrainingMethod.Bco, typeof(BcoLossType)), (TrainingMethod.Grpo, typeof(GrpoAggregation)),
    ];
}
