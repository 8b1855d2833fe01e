using System.Globalization;
using Handbook.Base;
using Handbook.Torch.Cuda;

namespace Handbook.Torch.Devices;

/// <summary>A device that runs may be computed on.</summary>
/// <param name="Device">Where tensors are made.</param>
/// <param name="Name">As a user knows it.</param>
/// <param name="Memory">Bytes that it has; null where that is the machine's.</param>
/// <param name="Proof">How far what is computed there has been shown to be right; null where nothing is left open.</param>
internal sealed record ComputeDevice(Device Device, string Name, long? Memory = null, string? Proof = null)
{
    /// <summary>How a recipe wishes for the CPU.</summary>
    public const string OnCpu = "--use_cpu=true";

    /// <summary>The processor, which is always there.</summary>
    public static ComputeDevice Processor { get; } = new(Device.Cpu, "the CPU");

    /// <summary>Stands in for the GPUs where there are none: for a rehearsal of what runs on them. Null: nothing does.</summary>
    public static ComputeDevice? StandIn { get; set; }

    /// <summary>Operations that there is no kernel for, by name.</summary>
    public IReadOnlyList<string> Lacks => [.. DeviceKernels.FusedOn(Device.Cpu).Except(DeviceKernels.FusedOn(Device))];

    /// <summary>Rules for all products of float32 and all operators from here on; without effect on the CPU.</summary>
    /// <param name="tf32">Whether float32 is multiplied with ten bits of its mantissa, which is faster.</param>
    /// <param name="deterministic">Whether only operators are taken that give the same bits every time.</param>
    public void Prepare(bool tf32, bool deterministic)
    {
        if (Device.IsCpu || StandIn == this)
            return;
        TorchCuda.Current = Device.Index;
        TorchCuda.SetRules(tf32, deterministic);
    }

    /// <summary>The GPU of one process of this host; null where libtorch uses none.</summary>
    /// <param name="localRank">Which process of this host it is, from 0.</param>
    /// <param name="why">Why there is none, where a user would wonder; else null.</param>
    /// <param name="onCpu">The option or key that computes on the CPU, for the message.</param>
    /// <exception cref="InputException">There are GPUs, but fewer than processes.</exception>
    public static ComputeDevice? Gpu(int localRank, out string? why, string onCpu = OnCpu)
    {
        why = null;
        if (StandIn is not null)
            return StandIn;
        var cards = CudaDriver.Default?.Cards ?? [];
        if (TorchCuda.Missing is { } missing)
        {
            if (cards.Count > 0)
                why = $"{cards[0].Name} is not used: {missing.Replace("\n  fix: ", "; ", StringComparison.Ordinal)}";
            return null;
        }
        return Gpu(localRank, TorchCuda.Count, cards, onCpu);
    }

    /// <param name="count">GPUs that libtorch sees.</param>
    /// <param name="cards">What the driver says of them, in the same order; none where nobody knows.</param>
    internal static ComputeDevice? Gpu(int localRank, int count, IReadOnlyList<CudaCard> cards, string onCpu = OnCpu)
    {
        if (count == 0)
            return null;
        if (localRank >= count)
            throw new InputException($"process {localRank + 1} of this host has no GPU: there {(count == 1 ? "is 1" : $"are {count}")}",
                why: "each process computes on one of its own, which its LOCAL_RANK names; CUDA_VISIBLE_DEVICES may hide some",
                fix: $"start {count} a host (--nproc-per-node {count}), or compute on the CPU with {onCpu}");
        var card = cards.FirstOrDefault(card => card.Index == localRank);
        return new(Device.Cuda(localRank), card?.Name ?? Device.Cuda(localRank).ToString(), card?.Memory, Installation.Proof);
    }

    /// <inheritdoc/>
    public override string ToString() => Device.IsCpu ? Name
        : string.Create(CultureInfo.InvariantCulture, $"{Name} ({Device}{(Memory is { } bytes ? $", {Size.Of(bytes)}" : "")})");
}
