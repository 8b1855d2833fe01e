using System.Diagnostics;
using Handbook.Torch;

namespace Handbook.Models.Sharding;

/// <summary>How the weights of a model come to where they are used, and its gradients go to whoever updates them, while the network is walked
/// through.</summary>
/// <remarks>
/// The walk says which unit of the model it enters and leaves. What it needs was asked for one unit before, and what it has made leaves while
/// it goes on. A wish is one of a <see cref="TrafficRounds"/>; so nothing here depends on whether the others walk alike.
/// </remarks>
internal sealed class ParameterTraffic : IDisposable
{
    private readonly ModelParameters _parameters;
    private readonly IShardGroup _group;
    private readonly TrafficRounds _rounds;
    private readonly ParameterBucket[][] _units;
    private readonly bool[] _present, _summed;
    private readonly TrafficWish?[] _gathers, _reductions;
    private readonly HashSet<ParameterBucket> _hasSum = [];
    private readonly Lock _gate = new();
    private readonly int _head;
    private readonly ReservedMemory? _nothing;
    private int _walks, _held;
    private int? _wholeUnit;
    private TrafficWish? _nothingWanted;

    /// <param name="parameters">The model's; whole where nothing is shared out.</param>
    /// <param name="group">Those who train it together.</param>
    public ParameterTraffic(ModelParameters parameters, IShardGroup group)
    {
        (_parameters, _group) = (parameters, group);
        _units = [.. Enumerable.Range(0, parameters.Units.Count).Select(unit => parameters.Trained.Where(bucket => bucket.Unit == unit)
            .ToArray())];
        _head = _units[parameters.Units.Head].Length > 0 ? parameters.Units.Head : UnitNumbers.Tables;
        _present = [.. _units.Select(unit => unit.All(bucket => !bucket.Comes))];
        _summed = new bool[_units.Length];
        (_gathers, _reductions) = (new TrafficWish?[_units.Length], new TrafficWish?[_units.Length]);
        if (parameters.Trained.Where(bucket => bucket.Streams).ToArray() is { Length: > 0 } streams)
            _nothing = new(streams[0].Values.DType, streams.Max(bucket => bucket.Total));
        _rounds = new(group, Fulfil, NeedsAll);
    }

    /// <summary>Whether the backward pass that comes next is this process's last one of the step, so that sums may begin with it.</summary>
    public bool IsLastPass { get; set; }

    /// <summary>What was sent, and how much of the time for it was spent waiting.</summary>
    public TrafficCounters Counters => new(_sent, _messages, _rounds.Busy, _waited);

    private long _sent, _messages;
    private TimeSpan _waited;

    // ---- weights -------------------------------------------------------------------------------------------------

    /// <summary>Begins a walk through the network: the tables are here when this returns.</summary>
    /// <param name="forGradients">Whether a walk back may follow.</param>
    public void Begin(bool forGradients)
    {
        if (_walks == 0 && _head != UnitNumbers.Tables)
            Leave(_head);
        if (forGradients)
            _walks++;
        ForgetWhole();
        Enter(_parameters.Units.Small, _parameters.Units.Small);
        Enter(UnitNumbers.Tables, UnitNumbers.Layer(0));
    }

    /// <summary>Goes on from one layer to the next, forward: the weights of the next are here when this returns.</summary>
    /// <param name="layer">The next one; the number of layers for the head.</param>
    /// <param name="layers">How many there are.</param>
    public (Tensor Residual, Tensor? Delta) Cross(int layer, int layers, Tensor residual, Tensor? delta)
    {
        var (from, to) = (UnitNumbers.Layer(layer - 1), layer == layers ? _head : UnitNumbers.Layer(layer));
        Leave(from);
        Enter(to, layer == layers ? to : layer == layers - 1 ? _head : UnitNumbers.Layer(layer + 1));
        Await(_reductions[_head]);          // the head's gradients begin with no border before them
        return UnitBorder.Forward(() => CrossBack(from, to), residual, delta);
    }

    /// <summary>The same where no gradients are wanted.</summary>
    public void Cross(int layer, int layers)
    {
        Leave(UnitNumbers.Layer(layer - 1));
        Enter(layer == layers ? _head : UnitNumbers.Layer(layer), layer >= layers - 1 ? _head : UnitNumbers.Layer(layer + 1));
    }

    private void CrossBack(int from, int to)
    {
        LeaveBack(to);
        Await(_reductions[from]);           // what it makes goes to the same memory
        if (from != UnitNumbers.Tables)
            Enter(from, from - 1 == UnitNumbers.Tables ? from : from - 1);
    }

    /// <summary>Keeps all weights here until the result is disposed of, as for texts that are written token by token.</summary>
    public IDisposable Hold()
    {
        _held++;
        return new Holding(this);
    }

    /// <summary>Says that every process has changed its part.</summary>
    public void Changed()
    {
        ForgetWhole();
        for (var unit = 0; unit < _units.Length; unit++)
            if (_units[unit].Any(bucket => bucket.IsCut))
            {
                _present[unit] = false;
                Array.ForEach(_units[unit], bucket => bucket.ReleaseWeights());
            }
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

    private void ForgetWhole()
    {
        if (_wholeUnit is { } unit)
            foreach (var bucket in _units[unit])
            {
                bucket.ReleaseMasters();
                if (!_present[unit])
                    bucket.ReleaseWeights();
            }
        _wholeUnit = null;
    }

    private void Enter(int unit, int next)
    {
        Want(unit);
        if (next != unit)
            Want(next);
        if (_gathers[unit] is { } wish)
            Await(wish);
        _gathers[unit] = null;
    }

    private void Want(int unit)
    {
        if (!Volatile.Read(ref _present[unit]) && _gathers[unit] is null && _units[unit].Length > 0)
            _gathers[unit] = _rounds.Post(Traffic.Gather, unit);
    }

    private void Leave(int unit)
    {
        if (_held > 0 || _gathers[unit] is not null || !_units[unit].Any(bucket => bucket.Comes))
            return;
        Volatile.Write(ref _present[unit], false);
        foreach (var bucket in _units[unit])
            bucket.ReleaseWeights();
    }

    private void LeaveAll()
    {
        for (var unit = 0; unit < _units.Length; unit++)
        {
            Await(_gathers[unit]);          // asked for and not used
            _gathers[unit] = null;
            Leave(unit);
        }
    }

    // ---- gradients -----------------------------------------------------------------------------------------------

    /// <summary>Begins a step: no gradients are there.</summary>
    public void BeginStep()
    {
        Array.Clear(_summed);
        _hasSum.Clear();
        (_walks, IsLastPass) = (0, false);
    }

    private void LeaveBack(int unit)
    {
        if (_units[unit].Any(bucket => bucket.Streams))
            Send(unit);
        else if (IsLastPass && _walks == 1 && unit != UnitNumbers.Tables)
            AskForSum(unit);
        Leave(unit);
    }

    /// <summary>Ends a backward pass: what it has made and has not left yet leaves.</summary>
    public void EndPass()
    {
        for (var unit = _units.Length - 1; unit >= 0; unit--)
            if (_units[unit].Any(bucket => bucket.Streams && bucket.Parameters.Any(placed => placed.Parameter.HasGradient)))
                Send(unit);
        LeaveAll();
        if (IsLastPass)
            AskForSums();
        (_walks, IsLastPass) = (0, false);
    }

    /// <summary>Asks for the sums of everything that was not summed yet; all processes call it once in a step.</summary>
    public void AskForSums()
    {
        for (var unit = _units.Length - 1; unit >= 0; unit--)
            if (_units[unit].Any(bucket => !bucket.Streams))
                AskForSum(unit);
    }

    /// <summary>Waits until the sums are there, after every process has asked for them and then come to where they all meet.</summary>
    public void AwaitSums()
    {
        Await(_nothingWanted);
        for (var unit = 0; unit < _units.Length; unit++)
        {
            Await(_reductions[unit]);
            foreach (var bucket in _units[unit])
                if (bucket.Streams && !_hasSum.Contains(bucket))
                    bucket.OwnGradients!.ZeroInPlace();
        }
    }

    /// <summary>Says that this process waits elsewhere for the others, and serves them meanwhile.</summary>
    public void WantNothing() => _nothingWanted = _rounds.Post(Traffic.Nothing);

    private void Send(int unit)
    {
        Await(_reductions[unit]);
        foreach (var bucket in _units[unit])
            _parameters.Settle(bucket);
        foreach (var bucket in _units[unit])
            bucket.ForgetGradients();
        _reductions[unit] = _rounds.Post(Traffic.Reduce, unit);
    }

    private void AskForSum(int unit)
    {
        lock (_gate)
        {
            if (_summed[unit] || _units[unit].Length == 0)
                return;
            _summed[unit] = true;
            foreach (var bucket in _units[unit])
                _parameters.Settle(bucket);
        }
        _reductions[unit] = _rounds.Post(Traffic.Reduce, unit);
    }

    private void Await(TrafficWish? wish)
    {
        if (wish is null)
            return;
        if (!wish.IsDone)
        {
            var clock = Stopwatch.GetTimestamp();
            wish.Wait();
            _waited += Stopwatch.GetElapsedTime(clock);
        }
        else
            wish.Wait();
    }

    // ---- what the thread of the rounds does ----------------------------------------------------------------------

    private bool NeedsAll(Traffic kind, int unit) => kind == Traffic.Reduce && _units[unit].Any(bucket => !bucket.Streams);

    private void Fulfil(TrafficWish wish, bool mine)
    {
        var unit = wish.Unit;
        switch (wish.Kind)
        {
            case Traffic.Gather:
                foreach (var bucket in _units[unit])
                    if (bucket.IsCut)
                        Gather(bucket, bucket.Wire);
                if (mine)           // of the others each asks for itself, so that those who walk alike ask alike
                    Volatile.Write(ref _present[unit], true);
                else if (!Volatile.Read(ref _present[unit]))
                    Array.ForEach(_units[unit], bucket => bucket.ReleaseWeights());
                break;
            case Traffic.Masters:
                foreach (var bucket in _units[unit])
                    if (bucket.IsCut)
                        Gather(bucket, (bucket.Values, bucket.OwnValues));
                if (!mine)
                    foreach (var bucket in _units[unit])
                    {
                        bucket.ReleaseMasters();
                        if (!Volatile.Read(ref _present[unit]))
                            bucket.ReleaseWeights();
                    }
                break;
            case Traffic.Reduce when NeedsAll(wish.Kind, unit):
                lock (_gate)
                {
                    if (!_summed[unit])         // this process waits elsewhere, and will make no more gradients in this step
                        foreach (var bucket in _units[unit])
                            _parameters.Settle(bucket);
                    _summed[unit] = true;
                    foreach (var bucket in _units[unit])
                        Sum(bucket);
                }
                break;
            case Traffic.Reduce:
                foreach (var bucket in _units[unit])
                    AddTo(bucket, mine);
                break;
        }
    }

    private void Gather(ParameterBucket bucket, (Tensor Whole, Tensor Own) wire)
    {
        _group.Gather(wire.Whole.Detach(), wire.Own.Detach());
        Count(TrafficBytes.Gather(wire.Own.Count * wire.Own.DType.Size, _group.Count));
        bucket.RefreshGathered();
    }

    private void Sum(ParameterBucket bucket)
    {
        var bytes = bucket.Total * bucket.Values.DType.Size;
        if (bucket.IsCut)
            _group.SumParts(bucket.OwnGradients!, bucket.Gradients!);
        else
            _group.Sum(bucket.Gradients!);
        Count(bucket.IsCut ? TrafficBytes.SumParts(bytes, _group.Count) : TrafficBytes.Sum(bytes, _group.Count));
    }

    private void AddTo(ParameterBucket bucket, bool mine)
    {
        var (gradients, own) = (mine ? bucket.Gradients! : _nothing!.Tensor.Narrow(0, 0, bucket.Total), bucket.OwnGradients!);
        if (_hasSum.Add(bucket))
            _group.SumParts(own, gradients);
        else
        {
            var part = Tensor.Empty(own.DType, own.Device, own.Count);
            _group.SumParts(part, gradients);
            own.AddInPlace(part);
        }
        Count(TrafficBytes.SumParts(bucket.Total * own.DType.Size, _group.Count));
        if (mine)
            bucket.ReleaseGradients();
    }

    private void Count(long bytes)
    {
        _sent += bytes;
        _messages++;
    }

    public void Dispose()
    {
        _rounds.Dispose();
        _nothing?.Dispose();
    }

    private sealed class Holding(ParameterTraffic traffic) : IDisposable
    {
        public void Dispose()
        {
            if (--traffic._held == 0)
                traffic.LeaveAll();
        }
    }
}

/// <summary>What one process has sent so far.</summary>
/// <param name="Bytes">Bytes of weights and gradients.</param>
/// <param name="Messages">Operations among all.</param>
/// <param name="Busy">Time for which operations were under way.</param>
/// <param name="Waited">Time that the network stood still for them.</param>
internal readonly record struct TrafficCounters(long Bytes, long Messages, TimeSpan Busy, TimeSpan Waited);
