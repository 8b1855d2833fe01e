using Handbook.Base;
using Handbook.Torch;
using Handbook.Torch.Distributed;
using Handbook.Torch.Native;

namespace Handbook.Training.Distributed;

/// <summary>How soon a job gives up on a rank.</summary>
internal sealed record JobWatchOptions
{
    /// <summary>Time between two signs of life.</summary>
    public TimeSpan Beat { get; init; } = TimeSpan.FromSeconds(0.5);

    /// <summary>Silence after which a rank counts as hung: stopped, or its host gone.</summary>
    public TimeSpan Silence { get; init; } = TimeSpan.FromSeconds(8);

    /// <summary>The same where an operation has failed, which makes a rank's death likely.</summary>
    public TimeSpan SuspectedSilence { get; init; } = TimeSpan.FromSeconds(3);

    /// <summary>How long a rank that others wait for may do nothing at all where it only computes, and how long all may wait for different
    /// things.</summary>
    public TimeSpan Standstill { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>The same where it may also read, write or ask another machine, or an operation is under way.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(30);

    /// <summary>How long this process may take to end by itself once the job has failed; then it is ended.</summary>
    public TimeSpan Patience { get; init; } = TimeSpan.FromSeconds(5);

    /// <summary>Hears why the process is ended, where it does not end by itself.</summary>
    public Action<string> Say { get; init; } = _ => { };
}

/// <summary>Watches over the ranks of a job, on a thread and a store connection of its own, so that one that dies, hangs or gives up ends
/// the job on all, with the same words.</summary>
/// <remarks>
/// Every rank leaves a sign of life in the store at each beat, and looks for its neighbour's and for the key that says who failed; the cost
/// per beat does not grow with the job. Whoever finds a rank silent, or fails itself, sets that key, once. A store that does not answer
/// is the silence of the one who serves it. Time is counted in own beats, so a process that was held up itself accuses nobody.
/// A rank that lives may hang all the same: <see cref="Standstill"/> tells.
/// </remarks>
internal sealed class JobWatch : IDisposable
{
    private readonly Lock _gate = new();
    private readonly Store _store;
    private readonly int _rank;
    private readonly int _holder;
    private readonly string _holderHost;
    private readonly IReadOnlyList<string> _hosts;
    private readonly JobWatchOptions _options;
    private readonly CancellationTokenSource _failed = new();
    private readonly ManualResetEventSlim _known = new();
    private readonly ManualResetEventSlim _wake = new();
    private readonly Thread _watcher;
    private readonly Thread _clock;
    private readonly List<ProcessGroup> _groups = [];
    private readonly string[] _signs;
    private readonly int[] _missed;
    private readonly int _neighbour;
    private readonly Standstill _standstill;
    private RankFailedException? _failure;
    private RankFailedException? _accusation;
    private volatile bool _closing;
    private volatile bool _suspects;
    private volatile bool _timedOut;
    private int _progress;
    private long _beats;
    private volatile WorkerPlace _place = WorkerPlace.Start;

    /// <param name="store">A connection of its own, with the job's prefix; freed with this.</param>
    /// <param name="rank">Which one this is.</param>
    /// <param name="hosts">Hosts by rank.</param>
    /// <param name="launcher">Host of the launcher where it serves the store; null where rank 0 does.</param>
    public JobWatch(Store store, int rank, IReadOnlyList<string> hosts, string? launcher = null, JobWatchOptions? options = null)
    {
        (_store, _rank, _hosts, _options) = (store, rank, hosts, options ?? new());
        (_holder, _holderHost) = launcher is null ? (0, hosts[0]) : (-1, launcher);
        (_signs, _missed) = (new string[hosts.Count], new int[hosts.Count]);
        _neighbour = (rank + hosts.Count - 1) % hosts.Count;
        _standstill = new(hosts, _neighbour, _options, Everyone);
        _watcher = new Thread(Watch) { IsBackground = true, Name = "job watch" };
        _clock = new Thread(Clock) { IsBackground = true, Name = "job watch clock" };
        _watcher.Start();
        _clock.Start();
    }

    /// <summary>Who failed; null while all is well.</summary>
    public RankFailedException? Failure => Volatile.Read(ref _failure);

    /// <summary>Cancelled when the job has failed.</summary>
    public CancellationToken Failed => _failed.Token;

    /// <summary>Says what this rank does from here on.</summary>
    public void At(WorkerPlace place) => _place = place;

    /// <summary>Lets a group come together, and ends its waits when the job fails.</summary>
    /// <param name="join">Makes it; null where this rank is not among its ranks.</param>
    /// <exception cref="RankFailedException">A rank was lost on the way there; names it.</exception>
    public ProcessGroup? Over(Func<ProcessGroup?> join)
    {
        ProcessGroup? group;
        try
        {
            group = join();
        }
        catch (Exception failure) when (failure is TorchException or TimeoutException)
        {
            throw Explain(failure);
        }
        if (group is null)
            return null;
        lock (_gate)
        {
            _groups.Add(group);
            if (_failure is not null)
                group.Stop(_failure);
        }
        return group;
    }

    /// <summary>Hosts by rank.</summary>
    public IReadOnlyList<string> Hosts => _hosts;

    /// <summary>Tells all ranks that this one gives up, unless the job has failed already. Returns when they can know.</summary>
    public void Report(Exception cause)
    {
        var mistake = cause as InputException ?? FileProblem.Explain(cause);
        Accuse(new(_rank, _hosts[_rank], mistake?.Message ?? $"{cause.Message} ({cause.GetType().Name})", canFix: mistake is not null));
        _known.Wait(_options.SuspectedSilence);
    }

    /// <summary>Finds out why an operation failed: waits for the one who says so, or for the silence of the one who cannot.</summary>
    /// <returns>Who failed; <paramref name="failure"/> itself where nobody is to blame.</returns>
    public Exception Explain(Exception failure)
    {
        if (Failure is { } known)
            return known;
        _timedOut = failure is TimeoutException;
        _suspects = true;
        _wake.Set();
        _known.Wait(_options.SuspectedSilence + 8 * _options.Beat);
        if (Failure is null)
            Report(failure);
        return Failure is { } found && found.Rank != _rank ? found : failure;
    }

    // ---- the watcher's thread ------------------------------------------------------------------------------------

    private void Watch()
    {
        try
        {
            while (!_closing && Failure is null)
            {
                var own = Own();
                _store.Set($"beat/{_rank}", own.ToText());
                if (_accusation is { } accusation)
                    Publish(accusation);
                if (_store.TryGetText("failed") is { } text)
                    Fail(RankFailedException.FromText(text));
                else if (_suspects)
                    LookAtAll();
                else if (_hosts.Count > 1)
                {
                    LookAt(_neighbour, _options.Silence);
                    if (_accusation is null && _standstill.Look(own, LifeSign.FromText(_signs[_neighbour])) is { } hung)
                        Accuse(hung);
                }
                Interlocked.Increment(ref _progress);
                _wake.Wait(_options.Beat);
                _wake.Reset();
            }
        }
        catch (TorchException)
        {
            if (!_closing)
                Fail(new(_holder, _holderHost, "the store that it serves closed its connections: it was killed, or crashed"));
        }
    }

    private ProcessGroup? First()
    {
        lock (_gate)
            return _groups.Count > 0 ? _groups[0] : null;
    }

    private void LookAtAll()
    {
        for (var rank = 0; rank < _hosts.Count && _accusation is null; rank++)
            if (rank != _rank)
                LookAt(rank, _options.SuspectedSilence);
        // All are alive and some wait.
        if (_accusation is null && _timedOut && _missed.Max() <= 2 && _standstill.Last("it did not come to where the others wait") is { } last)
            Accuse(last);
    }

    private void LookAt(int rank, TimeSpan silence)
    {
        var sign = _store.TryGetText($"beat/{rank}") ?? "";
        if (sign != _signs[rank])
        {
            (_signs[rank], _missed[rank]) = (sign, 0);
            return;
        }
        var patience = (int)Math.Ceiling(silence / _options.Beat);
        if (_store.Has($"left/{rank}"))
        {
            if (_suspects)
                Accuse(new(rank, _hosts[rank], "it ended while others still worked"));
        }
        else if (++_missed[rank] > patience)
        {
            Accuse(new(rank, _hosts[rank], _suspects && !_timedOut
                ? "its connection closed, and it gives no sign of life: it was killed, or crashed"
                : $"it gave no sign of life for {_missed[rank] * _options.Beat.TotalSeconds:0} s: it hangs, or its host is gone"));
        }
    }

    private LifeSign?[] Everyone() => [.. Enumerable.Range(0, _hosts.Count).Select(rank =>
        rank == _rank ? Own() : LifeSign.FromText(_store.TryGetText($"beat/{rank}")))];

    private LifeSign Own() => LifeSign.Own(++_beats, First()?.Begun ?? 0, _place);

    private void Accuse(RankFailedException accusation)
    {
        lock (_gate)
            _accusation ??= accusation;
        _wake.Set();
    }

    private void Publish(RankFailedException accusation)
    {
        if (_store.Add("failed/claims", 1) == 1)
            _store.Set("failed", accusation.ToText());
    }

    // ---- what follows --------------------------------------------------------------------------------------------

    // Notices that the watcher's thread is held up in the store, and that this process does not end.
    private void Clock()
    {
        var (seen, missed) = (-1, 0);
        var patience = (int)Math.Ceiling(_options.Silence / _options.Beat);
        while (!_closing && Failure is null)
        {
            Thread.Sleep(_options.Beat);
            var progress = Volatile.Read(ref _progress);
            (seen, missed) = progress == seen ? (seen, missed + 1) : (progress, 0);
            if (missed > patience && !_closing)
                Fail(new(_holder, _holderHost,
                    $"the store that it serves has not answered for {missed * _options.Beat.TotalSeconds:0} s: it hangs, or its host is gone"));
        }
        if (Failure is null)
            return;
        var end = Environment.TickCount64 + (long)_options.Patience.TotalMilliseconds;
        while (!_closing && Environment.TickCount64 < end)
            Thread.Sleep(50);
        if (_closing)
            return;
        _options.Say(Failure.Message);
        Shim.ExitAtOnce(Failure.CanFix ? 2 : 1);     // no clean-up that waits for those who are gone; files are written whole or not at all
    }

    private void Fail(RankFailedException failure)
    {
        lock (_gate)
        {
            if (_failure is not null)
                return;
            Volatile.Write(ref _failure, failure);
            foreach (var group in _groups)
                group.Stop(failure);
        }
        _known.Set();
        _failed.Cancel();
    }

    /// <summary>Stops watching: this rank is done. The one that serves the store waits for the others, who still need it.</summary>
    public void Dispose()
    {
        if (_closing)
            return;
        _closing = true;
        _wake.Set();
        // A thread that hangs in the store ends with the process; so does its connection.
        if (!_watcher.Join(Failure is { } failure && failure.Rank == _holder ? _options.Beat : _options.SuspectedSilence))
            return;
        try
        {
            _store.Set($"left/{_rank}", "");
            if (_holder == _rank)
                WaitForOthers();
            _store.Dispose();
        }
        catch (TorchException)
        {
            // the store is gone, and with it those who would care
        }
    }

    private void WaitForOthers()
    {
        var end = Environment.TickCount64 + (long)_options.Patience.TotalMilliseconds;
        for (var rank = 0; rank < _hosts.Count;)
        {
            if (rank == _rank || rank == Failure?.Rank || _store.Has($"left/{rank}") || Environment.TickCount64 > end)
                rank++;
            else
                Thread.Sleep(20);
        }
    }
}
