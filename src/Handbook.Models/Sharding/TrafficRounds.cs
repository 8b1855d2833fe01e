using System.Collections.Concurrent;
using System.Diagnostics;
using Handbook.Torch;

namespace Handbook.Models.Sharding;

/// <summary>What one process may want of all the others.</summary>
internal enum Traffic
{
    /// <summary>Nothing, until all want nothing.</summary>
    Nothing,

    /// <summary>The weights of a unit, as products read them.</summary>
    Gather,

    /// <summary>The masters of a unit.</summary>
    Masters,

    /// <summary>That everyone's gradients of a unit are added up.</summary>
    Reduce,
}

/// <summary>A wish on its way.</summary>
/// <param name="order">Of sums that are taken one after the other, which one it is; else 0.</param>
internal sealed class TrafficWish(Traffic kind, int unit, long order = 0)
{
    private const int OrderBits = 40, UnitBits = 16;

    /// <summary>Everything about a wish in one number; 0 for none.</summary>
    public long Code => kind == Traffic.Nothing ? 0 : ((long)kind << UnitBits | (uint)unit) << OrderBits | (order >> OrderBits == 0 ? order
        : throw new InvalidOperationException("a step has too many passes to number them"));

    /// <summary>The wish that a number stands for.</summary>
    public static TrafficWish Of(long code) => new((Traffic)(code >> OrderBits + UnitBits), (int)(code >> OrderBits & (1 << UnitBits) - 1),
        code & (1L << OrderBits) - 1);

    private readonly TaskCompletionSource _done = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public Traffic Kind => kind;

    public int Unit => unit;

    public long Order => order;

    public bool IsDone => _done.Task.IsCompleted;

    /// <summary>Returns when it has come true.</summary>
    public void Wait() => _done.Task.GetAwaiter().GetResult();

    internal void End(Exception? failure)
    {
        if (failure is null)
            _done.SetResult();
        else
            _done.SetException(failure);
    }
}

/// <summary>Fulfils wishes of all processes on a thread of its own, in rounds: each says what it wants next, and all do what anyone wants.
/// </summary>
/// <remarks>
/// So processes need not do the same things in the same order: one that makes more passes over its rows, or writes a longer answer, is
/// served by the others while they wait for it elsewhere, having said that they want nothing. Who does the same as the others pays one
/// exchange of a number for each wish. A process that computes keeps nobody waiting longer than its computing takes.
/// </remarks>
internal sealed class TrafficRounds : IDisposable
{
    private readonly IShardGroup _group;
    private readonly Action<TrafficWish, IReadOnlyList<int>> _fulfil;
    private readonly Func<TrafficWish, TrafficWish, bool> _waits;
    private readonly Func<TrafficWish, bool> _isDone;
    private readonly BlockingCollection<TrafficWish> _wishes = [];
    private readonly Thread _thread;
    private Exception? _failure;

    /// <param name="group">All processes; used by this thread alone.</param>
    /// <param name="fulfil">Does what some want; who they are.</param>
    /// <param name="waits">Whether a wish can only be fulfilled when nobody wants another one first.</param>
    /// <param name="isDone">Whether a wish has come true meanwhile, when another process wanted the same.</param>
    public TrafficRounds(IShardGroup group, Action<TrafficWish, IReadOnlyList<int>> fulfil, Func<TrafficWish, TrafficWish, bool> waits,
        Func<TrafficWish, bool> isDone)
    {
        (_group, _fulfil, _waits, _isDone) = (group, fulfil, waits, isDone);
        _thread = new(Serve) { IsBackground = true, Name = "parameter traffic" };
        _thread.Start();
    }

    /// <summary>Time that went by with operations among the processes.</summary>
    public TimeSpan Busy { get; private set; }

    /// <summary>Says what this process wants next; wishes are fulfilled in this order.</summary>
    /// <param name="order">Of sums that are taken one after the other, which one it is; else 0.</param>
    public TrafficWish Post(Traffic kind, int unit = 0, long order = 0)
    {
        var wish = new TrafficWish(kind, unit, order);
        if (_failure is { } failure)
            wish.End(failure);
        else
            _wishes.Add(wish);
        return wish;
    }

    private void Serve()
    {
        foreach (var wish in _wishes.GetConsumingEnumerable())
        {
            try
            {
                if (_failure is null && !_isDone(wish))
                    Fulfil(wish);
            }
            catch (Exception failure)
            {
                _failure = failure;         // whoever waits, or will, hears of it
            }
            wish.End(_failure);
        }
    }

    private void Fulfil(TrafficWish mine)
    {
        using var mode = GradMode.Disabled();
        var own = mine.Code;
        while (true)
        {
            using var scope = TensorScope.Enter();
            var all = Everyone(own);
            var (served, fulfilled) = (false, false);
            for (var i = 0; i < all.Length; i++)
            {
                if (all[i] == 0 || all.AsSpan(0, i).Contains(all[i]))
                    continue;
                var wish = TrafficWish.Of(all[i]);
                if (all.Any(other => other != 0 && other != all[i] && _waits(wish, TrafficWish.Of(other))))
                    continue;
                var clock = Stopwatch.GetTimestamp();
                _fulfil(wish, [.. Enumerable.Range(0, all.Length).Where(rank => all[rank] == all[i])]);
                Busy += Stopwatch.GetElapsedTime(clock);
                served = true;
                fulfilled |= all[i] == own;
            }
            if (fulfilled)
                return;
            if (served)
                continue;
            if (all.All(code => code == 0))
                return;
            throw new InvalidOperationException($"processes wait for each other: {string.Join(", ", all.Select(TrafficWish.Of).Select(wish =>
                $"{wish.Kind} {wish.Unit} {wish.Order}"))}");
        }
    }

    private long[] Everyone(long mine)
    {
        var (own, all) = (Tensor.From<long>([mine]), Tensor.Zeros(DType.Int64, _group.Count));
        _group.Gather(all, own);
        return all.AsSpan<long>().ToArray();
    }

    /// <summary>Ends when what was wanted before has come true.</summary>
    public void Dispose()
    {
        _wishes.CompleteAdding();
        _thread.Join(TimeSpan.FromSeconds(10));
    }
}
