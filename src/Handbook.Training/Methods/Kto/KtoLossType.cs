using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Kto;

/// <summary>The values of <c>loss_type</c> in a KTO recipe.</summary>
internal enum KtoLossType
{
    /// <summary>KTO: gains and losses against the drift from the reference, estimated from mismatched pairs.</summary>
    [Spelled("kto")] Kto,
    /// <summary>APO of single answers: against zero, so no mismatched pairs are computed.</summary>
    [Spelled("apo_zero_unpaired")] ApoZeroUnpaired,
}
