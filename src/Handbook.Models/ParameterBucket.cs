using Handbook.Models.Sharding;
using Handbook.Torch;

namespace Handbook.Models;

/// <summary>Parameters that lie behind one another, so that norm, clipping and update are one pass over memory, and that travel among
/// processes at once.</summary>
internal sealed class ParameterBucket : IDisposable
{
    private readonly List<ReservedMemory> _reserved = [];
    private readonly List<Tensor> _resident = [];
    private readonly ReservedMemory? _values, _compute, _gradients;

    private readonly Device _device;

    private ParameterBucket(BucketLayout layout, Device device, SpillFile? spill)
    {
        var (rule, count) = (layout.Rule, layout.Count);
        _device = device;
        Layout = layout;
        var spills = spill is not null && layout.CanSpill;
        IsSpilled = spills;
        (Values, _values) = Room(rule.Type, layout.HasMastersApart, spills ? spill : null);
        OwnValues = layout.HasMastersApart ? Resident(spills ? spill!.Zeros(rule.Type, count) : Zeros(rule.Type, count))
            : Part(Values);
        if (rule.Copy is { } copy)
        {
            (Compute, _compute) = Room(copy, Comes);
            OwnCompute = !layout.KeepsOwnCopy ? null : Comes ? Resident(Zeros(copy, count)) : Part(Compute);
        }
        if (rule.IsTrained)
        {
            (Gradients, _gradients) = Room(rule.Type, Streams);
            OwnGradients = Streams ? Resident(Zeros(rule.Type, count)) : Part(Gradients);
        }
        var placed = new List<(Parameter, long)>();
        foreach (var (its, offset) in layout.Rules.Zip(layout.Offsets))
        {
            var parameter = new Parameter(its.Spec.Name, View(Values, offset, its.Spec), rule.IsTrained);
            if (Gradients is not null)
                parameter.SetGradient(View(Gradients, offset, its.Spec));
            if (Compute is not null)
                parameter.SetCompute(View(Compute, offset, its.Spec));
            placed.Add((parameter, offset));
        }
        Parameters = placed;
    }

    /// <summary>How it is cut, and what of it lies where.</summary>
    public BucketLayout Layout { get; }

    /// <summary>Masters; [n]. Of another process's part only what was gathered.</summary>
    public Tensor Values { get; }

    /// <summary>Sums of gradients; [n], null where nothing of it is trained.</summary>
    public Tensor? Gradients { get; }

    /// <summary>The copy that products read, in bfloat16; [n], null where products read the masters.</summary>
    public Tensor? Compute { get; }

    /// <summary>Elements, with the zeros between parameters and behind them.</summary>
    public long Total => Layout.Total;

    /// <summary>The first element that this process updates.</summary>
    public long Start => Layout.Start;

    /// <summary>How many it updates.</summary>
    public long Count => Layout.Count;

    /// <summary>The masters of this process's part; [count].</summary>
    public Tensor OwnValues { get; }

    /// <summary>The sum of everyone's gradients of this process's part; [count].</summary>
    public Tensor? OwnGradients { get; }

    /// <summary>The copy of this process's part, which the update writes; null where there is none, or it is made of gathered masters.</summary>
    public Tensor? OwnCompute { get; }

    /// <summary>Whether weight decay applies.</summary>
    public bool Decays => Layout.Rule.Decays;

    /// <summary>What the learning rate is multiplied by here.</summary>
    public double RateFactor => Layout.Rule.RateFactor;

    /// <summary>Whether its numbers are rounded to bfloat16 after every step, as if they were kept in it.</summary>
    public bool Rounds => Layout.Rule.Rounds;

    /// <summary>Whether the masters lie in a file: who has read or written a part of them gives its pages back
    /// (<see cref="SpillFile.Release"/>).</summary>
    public bool IsSpilled { get; }

    /// <summary>Which unit of the model it belongs to.</summary>
    public int Unit => Layout.Unit;

    /// <summary>Whether processes share it out.</summary>
    public bool IsCut => Layout.IsCut;

    /// <summary>Whether its weights are here only while they are used.</summary>
    public bool Comes => Layout.Comes;

    /// <summary>Whether its gradients leave as soon as a backward pass has made them.</summary>
    public bool Streams => Layout.Streams;

    /// <summary>Whether it stays because it is small.</summary>
    public bool IsSmall => Layout.IsSmall;

    /// <summary>Whether something reads the masters themselves, though products read a copy.</summary>
    public bool ReadsMasters => Layout.Rule.ReadsMaster;

    /// <summary>The parameters in order with their offsets; gaps between them hold zeros.</summary>
    public IReadOnlyList<(Parameter Parameter, long Offset)> Parameters { get; }

    /// <summary>What travels, so that products have what they read: masters, or the copy of them.</summary>
    public (Tensor Whole, Tensor Own) Wire => Layout.SendsMasters ? (Values, OwnValues) : (Compute!, OwnCompute!);

    public static ParameterBucket Of(BucketLayout layout, Device device, SpillFile? spill)
    {
        using var scope = TensorScope.Enter();
        return new(layout, device, spill);
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

    private Tensor Zeros(DType type, long count) => Tensor.Zeros(type, _device, count);

    private (Tensor, ReservedMemory?) Room(DType type, bool comes, SpillFile? spill = null)
    {
        // only the machine's memory comes and goes under an address that stays
        if (!comes || !_device.IsCpu)
            return (Resident(spill is null ? Zeros(type, Total) : spill.Zeros(type, Total)), null);
        var memory = new ReservedMemory(type, Total);
        _reserved.Add(memory);
        return (memory.Tensor, memory);
    }

    private Tensor Resident(Tensor tensor)
    {
        _resident.Add(TensorScope.Detach(tensor));
        return tensor;
    }

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
