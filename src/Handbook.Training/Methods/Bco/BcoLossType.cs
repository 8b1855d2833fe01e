using Handbook.Base.Keys;

namespace Handbook.Training.Methods.Bco;

/// <summary>The values of <c>loss_type</c> in a BCO recipe.</summary>
internal enum BcoLossType
{
    /// <summary>BCO: good answers' rewards above a running mean, bad ones' below it.</summary>
    [Spelled("bco")] Bco,
}
