using System.Globalization;

namespace Handbook.Torch.Cuda;

/// <summary>What a kernel is compiled for.</summary>
/// <param name="Number">Compute capability times ten: 80 for A100, 86 and 89 for consumer cards, 90 for H100 and H200.</param>
/// <param name="IsVirtual">False: machine code for that card, a cubin. True: PTX, which the driver of any newer card compiles.</param>
internal readonly record struct CudaArchitecture(int Number, bool IsVirtual = false)
{
    /// <summary>The name as NVIDIA's tools write it, e.g. <c>sm_90</c> or <c>compute_90</c>.</summary>
    public override string ToString() => (IsVirtual ? "compute_" : "sm_") + Number.ToString(CultureInfo.InvariantCulture);

    /// <summary>The best for a card: its own machine code where the compiler knows the card, else PTX of the newest older one that it
    /// knows; null where the card is older than all of those.</summary>
    /// <param name="capability">Compute capability of the card, times ten.</param>
    /// <param name="known">What the compiler knows.</param>
    public static CudaArchitecture? For(int capability, IReadOnlyList<int> known)
    {
        if (known.Contains(capability))
            return new(capability);
        var older = known.Where(number => number < capability).DefaultIfEmpty(0).Max();
        return older == 0 ? null : new(older, IsVirtual: true);
    }
}
