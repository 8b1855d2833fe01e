using Handbook.Models.Sharding;

namespace Handbook.Training.Scale;

/// <summary>Walks through a training step as a process of many does, without a network or weights: what would be sent, when, and how long
/// it would be waited for.</summary>
/// <remarks>
/// The walk is that of <see cref="ParameterTraffic"/>, the buckets and the cost of each operation are those of the run. Operations follow one
/// another, beside the computing, and each begins with the exchange of a number (<see cref="TrafficRounds"/>). All processes make as many
/// passes.
/// </remarks>
internal sealed class StepReplay : TrafficWalk<Arrival>
{
    private const int Frame = 512;          // bytes of a meeting's message

    private readonly BucketLayout[][] _buckets;
    private readonly bool[] _made, _bordered;
    private readonly double[] _share;
    private readonly int _world, _layers, _tables;
    private readonly RingTraffic _ring;
    private NetworkSpeed _network;
    private double _now, _free, _busy, _waited;
    private TrafficCost _sent;
    private long _operations, _wishes;

    /// <param name="units">Of the model.</param>
    /// <param name="trained">The buckets that are trained.</param>
    /// <param name="work">Work in the products of each unit, in any measure; by unit.</param>
    /// <param name="world">How many processes there are.</param>
    /// <param name="ring">What those who share the tokens of rows send one another in each layer of a pass.</param>
    /// <param name="isOrdered">Whether gradients are added up pass by pass (<see cref="Shard.IsOrdered"/>).</param>
    public StepReplay(UnitNumbers units, IReadOnlyList<BucketLayout> trained, IReadOnlyList<double> work, int world, bool isOrdered = false,
        RingTraffic ring = default) : base(units, trained, isOrdered)
    {
        (_world, _layers, _tables, _ring) = (world, units.Head - 1, UnitNumbers.Tables, ring);
        _buckets = [.. Enumerable.Range(0, units.Count).Select(unit => trained.Where(layout => layout.Unit == unit).ToArray())];
        _made = new bool[units.Count];
        var all = work.Sum();
        _share = [.. work.Select(each => all > 0 ? each / all : 1.0 / work.Count)];
        // A way back ends where nothing before is trained.
        _bordered = new bool[_layers + 1];
        for (var layer = 0; layer <= _layers; layer++)
            _bordered[layer] = !Kinds[_tables].IsEmpty || Enumerable.Range(0, layer).Any(before => !Kinds[UnitNumbers.Layer(before)].IsEmpty)
                || layer > 0 && !Kinds[units.Small].IsEmpty;
        (_headWork, _small) = (units.Head, units.Small);
        Changed();          // as after any step but the first, for which the weights are already there
    }

    private readonly int _headWork, _small;

    /// <summary>One step.</summary>
    /// <param name="load">What this process computes in it.</param>
    /// <param name="network">How fast what it sends goes.</param>
    /// <param name="pace">What computing takes longer by.</param>
    public StepForecast Step(StepLoad load, NetworkSpeed network, double pace = 1)
    {
        (_busy, _waited, _sent, _operations, _wishes, _network) = (0, 0, default, 0, 0, network);
        var began = _now;
        BeginStep();
        var seconds = load.Seconds * pace / load.Passes;
        for (var pass = 0; pass < load.Passes; pass++)
            Pass(seconds * load.ForwardShare, seconds * (1 - load.ForwardShare), isLast: pass == load.Passes - 1);
        AskForSums();
        Meet();             // the loss; counts of the next step's rows, and whether somebody was asked to stop
        AwaitSums();
        if (Kinds.Any(kind => kind.IsCut))
            Meet();         // the norm
        Changed();
        return new(_sent, _operations, _wishes, _busy, _waited, _now - began);
    }

    private void Pass(double forward, double back, bool isLast)
    {
        Begin(forGradients: true);
        for (var layer = 0; layer <= _layers; layer++)
        {
            GoOn(layer, _layers, forGradients: true);
            _now += forward * _share[layer == _layers ? _headWork : UnitNumbers.Layer(layer)];
            if (layer < _layers)
                GoRound(_ring.Forward);
        }
        IsLastPass = isLast;
        _now += back * _share[_headWork];
        _made[HeadUnit] = true;
        for (var layer = _layers; layer >= 0; layer--)
        {
            var from = UnitNumbers.Layer(layer - 1);
            if (_bordered[layer])
                GoBack(from, UnitOf(layer, _layers));
            if (from != _tables)
                _now += back * _share[from];
            if (layer > 0 && _bordered[layer])
                GoRound(_ring.Back);
            _made[from] = true;
        }
        _made[_small] = true;
        EndPass();
    }

    // Keys and values on their way, in a group of their own; attention goes on with those that are there, which is not told apart here.
    private void GoRound(TrafficCost cost)
    {
        var time = _network.Time(cost);
        _sent += cost;
        (_busy, _waited, _now) = (_busy + time, _waited + time, _now + time);
    }

    // A few numbers of everyone, for which all wait.
    private void Meet() => _now += _network.Time(TrafficCost.Gather(Frame, _world));

    protected override Arrival Post(Traffic kind, int unit)
    {
        var (cost, operations) = (default(TrafficCost), 0);
        foreach (var bucket in _buckets[unit])
            if (kind == Traffic.Reduce || bucket.IsCut)
            {
                cost += kind == Traffic.Reduce ? bucket.SumCost : bucket.GatherCost;
                operations++;
            }
        if (kind == Traffic.Gather)
            Present[unit] = true;
        _sent += cost;
        _operations += operations;
        _wishes++;
        var time = _network.Time(cost) + _network.Time(TrafficCost.Wish(_world));
        _busy += time;
        _free = Math.Max(_free, _now) + time;
        return new(_free);
    }

    protected override void Await(Arrival? wish)
    {
        if (wish is null || wish.At <= _now)
            return;
        _waited += wish.At - _now;
        _now = wish.At;
    }

    protected override bool HasGradients(int unit) => _made[unit];

    protected override void ForgetGradients(int unit) => _made[unit] = false;

    protected override void Settle(int unit)
    {
    }

    protected override void Release(int unit)
    {
    }
}

/// <summary>When a wish comes true, in seconds from the beginning of the step.</summary>
internal sealed record Arrival(double At);

/// <summary>What a step of many processes comes to.</summary>
/// <param name="Sent">What one of them sends of weights and gradients.</param>
/// <param name="Operations">Operations among all.</param>
/// <param name="Wishes">How often all said what they want next.</param>
/// <param name="Busy">Seconds for which operations are under way.</param>
/// <param name="Waited">Seconds for which computing stands still for them.</param>
/// <param name="Seconds">Seconds that the step takes.</param>
internal readonly record struct StepForecast(TrafficCost Sent, long Operations, long Wishes, double Busy, double Waited, double Seconds)
{
    /// <summary>The share of the time for operations that passes beside computing.</summary>
    public double Hidden => Busy > 0 ? Math.Max(0, 1 - Waited / Busy) : 1;
}
