using Handbook.Models.Sharding;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>Parameters that lie behind one another, so that norm, clipping and update are one pass over memory, and that travel among
/// processes at once.</summary>
/// <remarks>
/// Of a bucket that is shared out each process updates its own part, elements <see cref="Start"/> to Start + <see cref="Count"/>; what it has
/// of the others' depends on the stage:
/// <code>
/// stage        masters (a copy is read)    what products read     gradients          states
/// 0            whole                       whole                  whole              whole
/// 1            own part                    whole                  whole              own part
/// 2            own part                    whole                  while they are new own part
/// 3            own part                    while they are used    while they are new own part
/// </code>
/// </remarks>
internal sealed class ParameterBucket : IDisposable
{
    private const int Alignment = 32;          // elements: 128 bytes of float32, 64 of bfloat16

    private readonly List<ReservedMemory> _reserved = [];
    private readonly List<Tensor> _resident = [];
    private readonly ReservedMemory? _values, _compute, _gradients;

    private ParameterBucket(ParameterRule[] rules, Shard shard, UnitNumbers units, SpillFile? spill)
    {
        var first = rules[0];
        (Unit, Decays, RateFactor, Rounds) = (units.Of(first.Spec), first.Decays, first.RateFactor, first.Rounds);
        IsCut = shard.Cuts && first.IsTrained;
        IsSmall = Unit == units.Small;
        ReadsMasters = first.ReadsMaster;
        var alignment = IsCut ? Shard.Block : Alignment;
        Total = rules.Sum(rule => Aligned(rule.Spec.Count, alignment));
        if (IsCut)
            Total = Aligned(Total, alignment * shard.Count);
        Count = IsCut ? Total / shard.Count : Total;
        Start = IsCut ? Count * shard.Rank : 0;

        var (comes, streams) = (IsCut && shard.Stage == ShardingStage.Parameters && !IsSmall,
            IsCut && shard.Stage >= ShardingStage.Gradients && !IsSmall);
        var mastersApart = comes || IsCut && first.Copy is not null && !ReadsMasters;       // products read a copy, or what comes and goes
        var spills = spill is not null && first is { IsTrained: true, Copy: not null };
        IsSpilled = spills;
        (Values, _values) = Room(first.Type, mastersApart, spills ? spill : null);
        OwnValues = mastersApart ? Resident(spills ? spill!.Zeros(first.Type, Count) : Tensor.Zeros(first.Type, Count)) : Part(Values);
        if (first.Copy is { } copy)
        {
            (Compute, _compute) = Room(copy, comes);
            OwnCompute = IsCut && ReadsMasters ? null : comes ? Resident(Tensor.Zeros(copy, Count)) : Part(Compute);
        }
        if (first.IsTrained)
        {
            (Gradients, _gradients) = Room(first.Type, streams);
            OwnGradients = streams ? Resident(Tensor.Zeros(first.Type, Count)) : Part(Gradients);
        }
        (Comes, Streams) = (comes, streams);

        var placed = new List<(Parameter, long)>();
        var offset = 0L;
        foreach (var spec in rules.Select(rule => rule.Spec))
        {
            var parameter = new Parameter(spec.Name, View(Values, offset, spec), first.IsTrained);
            if (Gradients is not null)
                parameter.SetGradient(View(Gradients, offset, spec));
            if (Compute is not null)
                parameter.SetCompute(View(Compute, offset, spec));
            placed.Add((parameter, offset));
            offset += Aligned(spec.Count, alignment);
        }
        Parameters = placed;
    }

    /// <summary>Masters; [n]. Of another process's part only what was gathered.</summary>
    public Tensor Values { get; }

    /// <summary>Sums of gradients; [n], null where nothing of it is trained.</summary>
    public Tensor? Gradients { get; }

    /// <summary>The copy that products read, in bfloat16; [n], null where products read the masters.</summary>
    public Tensor? Compute { get; }

    /// <summary>Elements, with the zeros between parameters and behind them.</summary>
    public long Total { get; }

    /// <summary>The first element that this process updates.</summary>
    public long Start { get; }

    /// <summary>How many it updates.</summary>
    public long Count { get; }

    /// <summary>The masters of this process's part; [count].</summary>
    public Tensor OwnValues { get; }

    /// <summary>The sum of everyone's gradients of this process's part; [count].</summary>
    public Tensor? OwnGradients { get; }

    /// <summary>The copy of this process's part, which the update writes; null where there is none, or it is made of gathered masters.</summary>
    public Tensor? OwnCompute { get; }

    /// <summary>Whether weight decay applies.</summary>
    public bool Decays { get; }

    /// <summary>What the learning rate is multiplied by here.</summary>
    public double RateFactor { get; }

    /// <summary>Whether its numbers are rounded to bfloat16 after every step, as if they were kept in it.</summary>
    public bool Rounds { get; }

    /// <summary>Whether the masters lie in a file: who has read or written a part of them gives its pages back
    /// (<see cref="SpillFile.Release"/>).</summary>
    public bool IsSpilled { get; }

    /// <summary>Which unit of the model it belongs to.</summary>
    public int Unit { get; }

    /// <summary>Whether processes share it out.</summary>
    public bool IsCut { get; }

    /// <summary>Whether its weights are here only while they are used.</summary>
    public bool Comes { get; }

    /// <summary>Whether its gradients leave as soon as a backward pass has made them.</summary>
    public bool Streams { get; }

    /// <summary>Whether it stays because it is small.</summary>
    public bool IsSmall { get; }

    /// <summary>Whether something reads the masters themselves, though products read a copy.</summary>
    public bool ReadsMasters { get; }

    /// <summary>The parameters in order with their offsets; gaps between them hold zeros.</summary>
    public IReadOnlyList<(Parameter Parameter, long Offset)> Parameters { get; }

    /// <summary>What travels, so that products have what they read: masters, or the copy of them.</summary>
    public (Tensor Whole, Tensor Own) Wire => Compute is null || ReadsMasters ? (Values, OwnValues) : (Compute, OwnCompute!);

    public static ParameterBucket Of(ParameterRule[] rules, Shard shard, UnitNumbers units, SpillFile? spill)
    {
        using var scope = TensorScope.Enter();
        return new(rules, shard, units, spill);
    }

    /// <summary>Keeps this process's part of masters that were written as a whole, and what follows from them.</summary>
    public void TakeOwn()
    {
        using var scope = TensorScope.Enter();
        if (_values is not null)
            OwnValues.CopyFrom(Values.Detach().Narrow(0, Start, Count));
        if (Compute is not null && !Comes)
            Compute.CopyFrom(Values);
        else if (OwnCompute is not null)
            OwnCompute.CopyFrom(OwnValues);
        _values?.Release();
        if (Comes)
            _compute?.Release();
    }

    /// <summary>Writes the copy of this process's part anew.</summary>
    public void RefreshOwn() => OwnCompute?.CopyFrom(OwnValues);

    /// <summary>Makes the copy of gathered masters, where products read one.</summary>
    public void RefreshGathered()
    {
        if (ReadsMasters && Compute is not null)
            Compute.CopyFrom(Values);
    }

    /// <summary>Gives back what is here only while it is used.</summary>
    public void ReleaseWeights()
    {
        if (!Comes)
            return;
        _values?.Release();
        _compute?.Release();
    }

    /// <summary>Gives back masters that were gathered though no product reads them.</summary>
    public void ReleaseMasters()
    {
        if (Compute is not null && !ReadsMasters)
            _values?.Release();
    }

    /// <summary>Says that no parameter has a gradient.</summary>
    public void ForgetGradients()
    {
        foreach (var (parameter, _) in Parameters)
            parameter.HasGradient = false;
    }

    /// <summary>Gives back gradients that others have.</summary>
    public void ReleaseGradients() => _gradients?.Release();

    private Tensor Part(Tensor whole) => IsCut ? Resident(whole.Detach().Narrow(0, Start, Count)) : whole;

    private (Tensor, ReservedMemory?) Room(DType type, bool comes, SpillFile? spill = null)
    {
        if (!comes)
            return (Resident(spill is null ? Tensor.Zeros(type, Total) : spill.Zeros(type, Total)), null);
        var memory = new ReservedMemory(type, Total);
        _reserved.Add(memory);
        return (memory.Tensor, memory);
    }

    private Tensor Resident(Tensor tensor)
    {
        _resident.Add(TensorScope.Detach(tensor));
        return tensor;
    }

    private static long Aligned(long count, long alignment) => (count + alignment - 1) / alignment * alignment;

    private static Tensor View(Tensor flat, long offset, ParameterSpec spec) =>
        flat.Narrow(0, offset, spec.Count).View([.. spec.Shape]).Detach();

    public void Dispose()
    {
        foreach (var tensor in _resident)
            tensor.Dispose();
        foreach (var memory in _reserved)
            memory.Dispose();
    }
}
