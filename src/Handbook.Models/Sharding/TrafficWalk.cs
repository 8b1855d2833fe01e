namespace Handbook.Models.Sharding;

/// <summary>When weights are asked for and given back, and gradients leave, while a network is walked through: by the order of its units
/// alone, so that a plan can walk the same way without a network.</summary>
/// <remarks>What a walk needs was asked for one unit before, and what it has made leaves while it goes on.</remarks>
/// <typeparam name="TWish">What stands for a wish on its way.</typeparam>
internal abstract class TrafficWalk<TWish> where TWish : class
{
    private readonly UnitNumbers _units;
    private readonly TWish?[] _gathers, _reductions;
    private int _walks, _held;

    /// <param name="units">Of the model.</param>
    /// <param name="trained">What of it is trained.</param>
    /// <param name="isOrdered">Whether each pass's gradients are added to those of the passes before it (<see cref="Shard.IsOrdered"/>).
    /// </param>
    protected TrafficWalk(UnitNumbers units, IEnumerable<BucketLayout> trained, bool isOrdered)
    {
        var byUnit = trained.ToLookup(layout => layout.Unit);
        (_units, IsOrdered) = (units, isOrdered);
        Kinds = [.. Enumerable.Range(0, units.Count).Select(unit => new UnitKind(!byUnit[unit].Any(), byUnit[unit].Any(its => its.IsCut),
            byUnit[unit].Any(its => its.Comes), byUnit[unit].Any(its => its.Streams), byUnit[unit].Any(its => !its.Streams)))];
        HeadUnit = Kinds[units.Head].IsEmpty ? UnitNumbers.Tables : units.Head;
        Present = [.. Kinds.Select(kind => !kind.Comes)];
        Summed = new bool[Kinds.Count];
        (_gathers, _reductions) = (new TWish?[Kinds.Count], new TWish?[Kinds.Count]);
    }

    protected readonly record struct UnitKind(bool IsEmpty, bool IsCut, bool Comes, bool Streams, bool Stays);

    /// <summary>Whether the backward pass that comes next is this process's last one of the step, so that sums may begin with it.</summary>
    public bool IsLastPass { get; set; }

    /// <summary>Whether each pass's gradients are added to those of the passes before it.</summary>
    protected bool IsOrdered { get; }

    /// <summary>The unit that ends the network; the tables, where the head is tied to them or is not trained.</summary>
    public int HeadUnit { get; }

    /// <summary>Whether the weights of a unit are here.</summary>
    protected bool[] Present { get; }

    /// <summary>Whether the sum of everyone's gradients of a unit was asked for in this step; guarded by <see cref="Gate"/>.</summary>
    protected bool[] Summed { get; }

    /// <summary>What is trained of each unit, and how it travels.</summary>
    protected IReadOnlyList<UnitKind> Kinds { get; }

    protected Lock Gate { get; } = new();

    // ---- what a kind of walk does

    /// <summary>Asks for something; wishes come true in this order.</summary>
    protected abstract TWish Post(Traffic kind, int unit);

    /// <summary>Waits until a wish has come true.</summary>
    /// <param name="wish">null: nothing to wait for.</param>
    protected abstract void Await(TWish? wish);

    /// <summary>Gives back the weights of a unit that are here only while they are used.</summary>
    protected abstract void Release(int unit);

    /// <summary>Gives gradients of a unit that nothing reached their value, 0.</summary>
    protected abstract void Settle(int unit);

    /// <summary>Whether a backward pass has made gradients of a unit that have not left.</summary>
    protected abstract bool HasGradients(int unit);

    /// <summary>Says that the gradients of a unit leave.</summary>
    protected abstract void ForgetGradients(int unit);

    // ---- weights

    /// <summary>Begins a walk through the network: the tables are here when this returns.</summary>
    /// <param name="forGradients">Whether a walk back may follow.</param>
    public void Begin(bool forGradients)
    {
        if (_walks == 0 && HeadUnit != UnitNumbers.Tables)
            Leave(HeadUnit);
        if (forGradients)
            _walks++;
        ForgetWhole();
        Enter(_units.Small, _units.Small);
        Enter(UnitNumbers.Tables, UnitNumbers.Layer(0));
    }

    /// <summary>Gives back masters that were gathered as a whole.</summary>
    protected virtual void ForgetWhole()
    {
    }

    /// <summary>Goes on from one layer to the next, forward: the weights of the next are here when this returns.</summary>
    /// <param name="layer">The next one; the number of layers for the head.</param>
    /// <param name="layers">How many there are.</param>
    /// <param name="forGradients">Whether a walk back may follow.</param>
    /// <returns>The units on both sides.</returns>
    protected (int From, int To) GoOn(int layer, int layers, bool forGradients)
    {
        var (from, to) = (UnitNumbers.Layer(layer - 1), UnitOf(layer, layers));
        Leave(from);
        Enter(to, UnitOf(Math.Min(layer + 1, layers), layers));
        if (forGradients)
        {
            Await(_reductions[HeadUnit]);       // the head's gradients begin with no border before them
            Await(_reductions[_units.Small]);   // and norms stand everywhere
        }
        return (from, to);
    }

    protected int UnitOf(int layer, int layers) => layer == layers ? HeadUnit : UnitNumbers.Layer(layer);

    /// <summary>Goes back from a unit to the one before: its gradients are all there.</summary>
    protected void GoBack(int from, int to)
    {
        LeaveBack(to);
        Await(_reductions[from]);           // what it makes goes to the same memory
        if (from != UnitNumbers.Tables)
            Enter(from, from - 1 == UnitNumbers.Tables ? from : from - 1);
    }

    /// <summary>Begins a stretch in which each process walks as it likes, until as many calls of <see cref="WalkAlike"/>.</summary>
    /// <param name="keeps">Whether weights stay here meanwhile.</param>
    protected void WalkApart(bool keeps) => _held += keeps ? 1 : 0;

    /// <summary>Ends it: the same is here afterwards, whether this process has walked or not.</summary>
    /// <remarks>Those who share the tokens of rows walk in step: each waits for the other within a layer, and asks for nothing meanwhile, so
    /// none may have to ask for what the other has.</remarks>
    protected void WalkAlike(bool keeps)
    {
        _held -= keeps ? 1 : 0;
        for (var unit = 0; unit < Kinds.Count; unit++)
            if (Kinds[unit] is { IsCut: true, Comes: false })
                Enter(unit, unit);
        if (_held == 0)
            LeaveAll();
    }

    /// <summary>Says that every process has changed its part.</summary>
    public void Changed()
    {
        ForgetWhole();
        for (var unit = 0; unit < Kinds.Count; unit++)
            if (Kinds[unit].IsCut)
            {
                Present[unit] = false;
                Release(unit);
            }
    }

    private void Enter(int unit, int next)
    {
        Want(unit);
        if (next != unit)
            Want(next);
        Await(_gathers[unit]);
        _gathers[unit] = null;
    }

    private void Want(int unit)
    {
        if (!Volatile.Read(ref Present[unit]) && _gathers[unit] is null && !Kinds[unit].IsEmpty)
            _gathers[unit] = Post(Traffic.Gather, unit);
    }

    private void Leave(int unit)
    {
        if (_held > 0 || _gathers[unit] is not null || !Kinds[unit].Comes)
            return;
        Volatile.Write(ref Present[unit], false);
        Release(unit);
    }

    private void LeaveAll()
    {
        for (var unit = 0; unit < Kinds.Count; unit++)
        {
            Await(_gathers[unit]);          // asked for and not used
            _gathers[unit] = null;
            Leave(unit);
        }
    }

    // ---- gradients

    /// <summary>Begins a step: no gradients are there.</summary>
    public virtual void BeginStep()
    {
        Array.Clear(Summed);
        (_walks, IsLastPass) = (0, false);
    }

    private void LeaveBack(int unit)
    {
        var isDone = _walks == 1 && unit != UnitNumbers.Tables;         // no other walk, and no other place, adds to it in this pass
        if (Kinds[unit].Streams && (isDone || !IsOrdered))
            Send(unit);
        else if (IsLastPass && isDone)
            AskForSum(unit);
        Leave(unit);
    }

    /// <summary>Ends a backward pass: what it has made and has not left yet leaves.</summary>
    public void EndPass()
    {
        foreach (var unit in _units.Backward)
            if (Kinds[unit].Streams && HasGradients(unit))
                Send(unit);
        LeaveAll();
        if (IsLastPass)
            AskForSums();
        (_walks, IsLastPass) = (0, false);
    }

    /// <summary>Asks for the sums of everything that was not summed yet; all processes call it once in a step.</summary>
    /// <remarks>In the order in which a backward pass asks for them: one process may make a pass where another has nothing to do.</remarks>
    public void AskForSums()
    {
        foreach (var unit in _units.Backward)
            if (Kinds[unit].Stays)
                AskForSum(unit);
    }

    /// <summary>Waits until the sums are there, after every process has asked for them and then come to where they all meet.</summary>
    public virtual void AwaitSums()
    {
        foreach (var wish in _reductions)
            Await(wish);
    }

    private void Send(int unit)
    {
        Await(_reductions[unit]);
        Settle(unit);
        ForgetGradients(unit);
        _reductions[unit] = Post(Traffic.Reduce, unit);
    }

    private void AskForSum(int unit)
    {
        lock (Gate)
        {
            if (Summed[unit] || Kinds[unit].IsEmpty)
                return;
            Summed[unit] = true;
            Settle(unit);
        }
        _reductions[unit] = Post(Traffic.Reduce, unit);
    }
}
