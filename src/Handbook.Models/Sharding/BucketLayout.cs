using Handbook.Torch;

namespace Handbook.Models.Sharding;

/// <summary>How a bucket is cut and what of it lies where, without its memory.</summary>
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
internal sealed class BucketLayout
{
    private const int Alignment = 32;          // elements: 128 bytes of float32, 64 of bfloat16

    private BucketLayout(ParameterRule[] rules, Shard shard, UnitNumbers units)
    {
        (Rules, Rule) = (rules, rules[0]);
        Unit = units.Of(Rule.Spec);
        IsSmall = Unit == units.Small;
        IsCut = shard.Cuts && Rule.IsTrained;
        Comes = IsCut && shard.Stage == ShardingStage.Parameters && !IsSmall;
        Streams = Rule.IsTrained && shard.IsOrdered || IsCut && shard.Stage >= ShardingStage.Gradients && !IsSmall;
        var alignment = IsCut || shard.IsOrdered ? Shard.Block : Alignment;
        var offset = 0L;
        Offsets = [.. rules.Select(rule =>
        {
            var at = offset;
            offset += Aligned(rule.Spec.Count, alignment);
            return at;
        })];
        Total = IsCut ? Aligned(offset, (long)alignment * shard.Count) : offset;
        Count = IsCut ? Total / shard.Count : Total;
        Start = IsCut ? Count * shard.Rank : 0;
        World = shard.Count;
    }

    /// <summary>The parameters, in order.</summary>
    public IReadOnlyList<ParameterRule> Rules { get; }

    /// <summary>What holds for all of them.</summary>
    public ParameterRule Rule { get; }

    /// <summary>Where each begins; gaps between them hold zeros.</summary>
    public IReadOnlyList<long> Offsets { get; }

    /// <summary>Which unit of the model it belongs to.</summary>
    public int Unit { get; }

    /// <summary>Elements, with the zeros between parameters and behind them.</summary>
    public long Total { get; }

    /// <summary>The first element that this process updates.</summary>
    public long Start { get; }

    /// <summary>How many it updates.</summary>
    public long Count { get; }

    /// <summary>Whether processes share it out.</summary>
    public bool IsCut { get; }

    /// <summary>Whether its weights are here only while they are used.</summary>
    public bool Comes { get; }

    /// <summary>Whether its gradients leave as soon as a backward pass has made them.</summary>
    public bool Streams { get; }

    /// <summary>Whether it stays because it is small.</summary>
    public bool IsSmall { get; }

    /// <summary>Whether of the masters only this process's part is here, since products read a copy or what comes and goes.</summary>
    public bool HasMastersApart => Comes || IsCut && Rule.Copy is not null && !Rule.ReadsMaster;

    /// <summary>Whether nothing but the optimiser reads the masters' precision, so that they may lie in a file.</summary>
    public bool CanSpill => Rule is { IsTrained: true, Copy: not null };

    /// <summary>Whether the copy of this process's part is kept, and not made of gathered masters.</summary>
    public bool KeepsOwnCopy => Rule.Copy is not null && !(IsCut && Rule.ReadsMaster);

    /// <summary>Whether what travels, so that products have what they read, is masters; otherwise it is the copy of them.</summary>
    public bool SendsMasters => Rule.Copy is null || Rule.ReadsMaster;

    /// <summary>Element type of what travels.</summary>
    public DType WireType => SendsMasters ? Rule.Type : Rule.Copy!.Value;

    private int World { get; }

    // ---- what an operation among all costs one of them

    /// <summary>Everyone's part of what products read comes to all.</summary>
    public TrafficCost GatherCost => TrafficCost.Gather(Count * WireType.Size, World);

    /// <summary>The same of masters.</summary>
    public TrafficCost MastersCost => TrafficCost.Gather(Count * Rule.Type.Size, World);

    /// <summary>Everyone's gradients are added up.</summary>
    public TrafficCost SumCost => IsCut || World == 1 ? TrafficCost.SumParts(Total * Rule.Type.Size, World) : TrafficCost.Sum(Total * Rule.Type.Size, World);

    // ---- memory

    /// <summary>Bytes of weights that stay here between steps, masters in a file left out.</summary>
    /// <param name="spills">Whether masters that only the optimiser reads lie in a file.</param>
    public long WeightBytes(bool spills) =>
        (spills && CanSpill ? 0 : (HasMastersApart ? Count : Total) * Rule.Type.Size)
        + (Rule.Copy is not { } copy ? 0 : !Comes ? Total * copy.Size : KeepsOwnCopy ? Count * copy.Size : 0);

    /// <summary>Bytes of gradients that stay here during a step.</summary>
    public long GradientBytes => !Rule.IsTrained ? 0 : (Streams ? Count : Total) * Rule.Type.Size;

    /// <summary>Bytes of weights while they are gathered.</summary>
    public long ComingBytes => !Comes ? 0 : (SendsMasters ? Total * Rule.Type.Size : 0) + (Rule.Copy is { } copy ? Total * copy.Size : 0);

    /// <summary>Bytes of gradients until they have left.</summary>
    public long LeavingBytes => Streams ? Total * Rule.Type.Size : 0;

    /// <summary>The buckets of a plan, in the order in which they lie: by whether they are trained, whether weight decay applies, and their
    /// factor on the rate.</summary>
    public static IReadOnlyList<BucketLayout> Of(ParameterPlan plan)
    {
        var units = UnitNumbers.For(plan.Rules.Select(rule => rule.Spec));
        return [.. plan.Rules.Where(rule => rule.Storage == ParameterStorage.Bucket)
            .GroupBy(rule => (rule.IsTrained, Unit: -units.Of(rule.Spec), rule.Decays, rule.RateFactor, rule.Rounds, rule.ReadsMaster))
            .OrderByDescending(group => group.Key).Select(group => new BucketLayout([.. group], plan.Shard, units))];
    }

    private static long Aligned(long count, long alignment) => (count + alignment - 1) / alignment * alignment;
}
