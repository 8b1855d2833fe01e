using System.Diagnostics;
using Handbook.Base.Progress;
using Handbook.Torch;

namespace Handbook.Models.Sharding;

/// <summary>How the weights of a model come to where they are used, and its gradients go to whoever updates them, while the network is walked
/// through.</summary>
/// <remarks>
/// The walk says which unit of the model it enters and leaves. What it needs was asked for one unit before, and what it has made leaves while
/// it goes on. A wish is one of a <see cref="TrafficRounds"/>; so nothing here depends on whether the others walk alike.
/// </remarks>
internal sealed class ParameterTraffic : TrafficWalk<TrafficWish>, IDisposable
{
    private readonly ModelParameters _parameters;
    private readonly IShardGroup _group;
    private readonly TrafficRounds _rounds;
    private readonly ParameterBucket[][] _units;
    private readonly HashSet<ParameterBucket> _hasSum = [];
    private readonly bool[] _isSummed;      // the sum is there, whoever asked for it
    private readonly ReservedMemory? _nothing;
    private int? _wholeUnit;
    private TrafficWish? _nothingWanted;

    /// <param name="parameters">The model's; whole where nothing is shared out.</param>
    /// <param name="group">Those who train it together.</param>
    public ParameterTraffic(ModelParameters parameters, IShardGroup group)
        : base(parameters.Units, parameters.Trained.Select(bucket => bucket.Layout), parameters.Plan.Shard.IsOrdered)
    {
        (_parameters, _group) = (parameters, group);
        _units = [.. Enumerable.Range(0, parameters.Units.Count).Select(unit => parameters.Trained.Where(bucket => bucket.Unit == unit)
            .ToArray())];
        if (parameters.Trained.Where(bucket => bucket.Streams).ToArray() is { Length: > 0 } streams)
            _nothing = new(streams[0].Values.DType, streams.Max(bucket => bucket.Total));
        _isSummed = new bool[_units.Length];
        _rounds = new(group, Fulfil, Waits, IsSummed);
    }

    /// <summary>What was sent, and how much of the time for it was spent waiting.</summary>
    public TrafficCounters Counters => new(_sent.Bytes, _operations, _rounds.Busy, _waited);

    private TrafficCost _sent;
    private long _operations;
    private TimeSpan _waited;

    // ---- weights -------------------------------------------------------------------------------------------------

    /// <summary>Goes on from one layer to the next, forward: the weights of the next are here when this returns.</summary>
    /// <param name="layer">The next one; the number of layers for the head.</param>
    /// <param name="layers">How many there are.</param>
    public (Tensor Residual, Tensor? Delta) Cross(int layer, int layers, Tensor residual, Tensor? delta)
    {
        var (from, to) = GoOn(layer, layers, forGradients: true);
        return UnitBorder.Forward(() => GoBack(from, to), residual, delta);
    }

    /// <summary>The same where no gradients are wanted.</summary>
    public void Cross(int layer, int layers) => GoOn(layer, layers, forGradients: false);

    /// <summary>A stretch in which each process walks as it likes, or not at all, as for texts that are written token by token; ends when the
    /// result is disposed of.</summary>
    /// <param name="keeps">Whether all weights stay here meanwhile; otherwise each walk gathers them layer by layer.</param>
    public IDisposable Apart(bool keeps)
    {
        WalkApart(keeps);
        return new Stretch(this, keeps);
    }

    /// <summary>The masters of a parameter, gathered.</summary>
    public Tensor Whole(Parameter parameter, ParameterBucket bucket)
    {
        if (_wholeUnit != bucket.Unit)
        {
            ForgetWhole();
            Await(_rounds.Post(Traffic.Masters, bucket.Unit));
            _wholeUnit = bucket.Unit;
        }
        return parameter.Value;
    }

    protected override void ForgetWhole()
    {
        if (_wholeUnit is { } unit)
            ReleaseMasters(unit);
        _wholeUnit = null;
    }

    private void ReleaseMasters(int unit)
    {
        Array.ForEach(_units[unit], bucket => bucket.ReleaseMasters());
        if (!Volatile.Read(ref Present[unit]))
            Release(unit);
    }

    protected override void Release(int unit) => Array.ForEach(_units[unit], bucket => bucket.ReleaseWeights());

    // ---- gradients -----------------------------------------------------------------------------------------------

    public override void BeginStep()
    {
        _hasSum.Clear();
        Array.Clear(_isSummed);
        base.BeginStep();
    }

    public override void AwaitSums()
    {
        Await(_nothingWanted);
        base.AwaitSums();
        foreach (var bucket in _units.SelectMany(unit => unit))
            if (bucket.Streams && !_hasSum.Contains(bucket))
                bucket.OwnGradients!.ZeroInPlace();
    }

    /// <summary>Says that this process waits elsewhere for the others, and serves them meanwhile.</summary>
    public void WantNothing() => _nothingWanted = _rounds.Post(Traffic.Nothing);

    protected override void Settle(int unit) => Array.ForEach(_units[unit], _parameters.Settle);

    protected override bool HasGradients(int unit) =>
        _units[unit].Any(bucket => bucket.Streams && bucket.Parameters.Any(placed => placed.Parameter.HasGradient));

    protected override void ForgetGradients(int unit) => Array.ForEach(_units[unit], bucket => bucket.ForgetGradients());

    /// <summary>Which of everyone's backward passes in this step comes next, in the order in which their gradients are added up; those of
    /// one number follow one another by rank. Matters where <see cref="Shard.IsOrdered"/>.</summary>
    public long Turn { get; set; }

    protected override TrafficWish Post(Traffic kind, int unit) => _rounds.Post(kind, unit, kind == Traffic.Reduce && IsOrdered
        ? checked(Turn * Kinds.Count + _parameters.Units.PlaceBackward(unit)) : 0);

    protected override void Await(TrafficWish? wish)
    {
        if (wish is null)
            return;
        if (!wish.IsDone)
        {
            var clock = Stopwatch.GetTimestamp();
            Pulse.WaitFor("weights and gradients", wish.Wait);
            _waited += Stopwatch.GetElapsedTime(clock);
        }
        else
            wish.Wait();
    }

    // ---- what the thread of the rounds does ----------------------------------------------------------------------

    // Sums of what stays are taken when all have come to them, sums in order when nobody may bring something that comes before.
    private bool Waits(TrafficWish wish, TrafficWish other) => wish.Kind == Traffic.Reduce
        && (Kinds[wish.Unit].Stays || IsOrdered && (other.Kind != Traffic.Reduce || other.Order < wish.Order));

    // Another process came to it while this one had nothing more to add, but had not asked yet.
    private bool IsSummed(TrafficWish wish) => wish.Kind == Traffic.Reduce && Kinds[wish.Unit].Stays && _isSummed[wish.Unit];

    private void Fulfil(TrafficWish wish, IReadOnlyList<int> who)
    {
        var (unit, mine) = (wish.Unit, who.Contains(_group.Rank));
        switch (wish.Kind)
        {
            case Traffic.Gather:
                foreach (var bucket in _units[unit])
                    if (bucket.IsCut)
                    {
                        Gather(bucket, bucket.Wire);
                        Count(bucket.Layout.GatherCost);
                    }
                if (mine)           // of the others each asks for itself, so that those who walk alike ask alike
                    Volatile.Write(ref Present[unit], true);
                else if (!Volatile.Read(ref Present[unit]))
                    Release(unit);
                break;
            case Traffic.Masters:
                foreach (var bucket in _units[unit])
                    if (bucket.IsCut)
                    {
                        Gather(bucket, (bucket.Values, bucket.OwnValues));
                        Count(bucket.Layout.MastersCost);
                    }
                if (!mine)
                    ReleaseMasters(unit);
                break;
            case Traffic.Reduce when Kinds[unit].Stays:
                lock (Gate)
                {
                    if (!Summed[unit])         // this process waits elsewhere, and will make no more gradients in this step
                        Settle(unit);
                    Summed[unit] = true;
                    foreach (var bucket in _units[unit])
                        Sum(bucket);
                    _isSummed[unit] = true;
                }
                break;
            case Traffic.Reduce:
                foreach (var bucket in _units[unit])
                    AddTo(bucket, who, mine);
                break;
        }
    }

    private void Gather(ParameterBucket bucket, (Tensor Whole, Tensor Own) wire)
    {
        _group.Gather(wire.Whole.Detach(), wire.Own.Detach());
        bucket.RefreshGathered();
    }

    private void Sum(ParameterBucket bucket)
    {
        if (bucket.IsCut)
            _group.SumParts(bucket.OwnGradients!, bucket.Gradients!);
        else
            _group.Sum(bucket.Gradients!);
        Count(bucket.Layout.SumCost);
    }

    private void AddTo(ParameterBucket bucket, IReadOnlyList<int> who, bool mine)
    {
        var (gradients, own) = (mine ? bucket.Gradients! : _nothing!.Tensor.Narrow(0, 0, bucket.Total), bucket.OwnGradients!);
        if (IsOrdered)
            AddInOrder(bucket, gradients.Detach(), own, who);
        else if (_hasSum.Add(bucket))
            _group.SumParts(own, gradients);
        else
        {
            var part = Tensor.Empty(own.DType, own.Device, own.Count);
            _group.SumParts(part, gradients);
            own.AddInPlace(part);
        }
        Count(bucket.Layout.SumCost);
        if (mine)
            bucket.ReleaseGradients();
    }

    // (((g0 + g1) + g2) + …) over the passes of all, however many are made at once.
    private void AddInOrder(ParameterBucket bucket, Tensor gradients, Tensor own, IReadOnlyList<int> who)
    {
        var everyones = gradients;
        if (_group.Count > 1)
            _group.Exchange(everyones = Tensor.Empty(own.DType, own.Device, gradients.Count), gradients);
        foreach (var rank in who)
        {
            var part = everyones.Narrow(0, rank * own.Count, own.Count);
            if (_hasSum.Add(bucket))
                own.CopyFrom(part);
            else
                own.AddInPlace(part);
        }
    }

    private void Count(TrafficCost cost)
    {
        _sent += cost;
        _operations++;
    }

    public void Dispose()
    {
        _rounds.Dispose();
        _nothing?.Dispose();
    }

    private sealed class Stretch(ParameterTraffic traffic, bool keeps) : IDisposable
    {
        public void Dispose() => traffic.WalkAlike(keeps);
    }
}

/// <summary>What one process has sent so far.</summary>
/// <param name="Bytes">Bytes of weights and gradients.</param>
/// <param name="Operations">Operations among all.</param>
/// <param name="Busy">Time for which operations were under way.</param>
/// <param name="Waited">Time that the network stood still for them.</param>
internal readonly record struct TrafficCounters(long Bytes, long Operations, TimeSpan Busy, TimeSpan Waited);
