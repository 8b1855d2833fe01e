using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using Handbook.Data;
using Handbook.Torch.Distributed;
using Handbook.Training.Distributed;
using Handbook.Training.Methods;

namespace Handbook.Training;

/// <summary>The rows of one optimiser step, laid out for the network.</summary>
/// <param name="Rows">Which rows.</param>
/// <param name="Groups">The rows whose losses are one mean each: mostly all of the step.</param>
internal sealed record StepWork(StepRows Rows, IReadOnlyList<LossGroup> Groups)
{
    /// <summary>Tokens of the rows.</summary>
    public long Tokens => Groups.Sum(group => group.Tokens);
}

/// <summary>Prepares the next steps on a thread of its own, so that the training thread never waits for rows.</summary>
internal sealed class BatchLoader : IDisposable
{
    private const int Ahead = 4;
    private const int LeastBins = 8;        // of a step whose bins are cut before they are shared out, so that several have work

    private readonly BlockingCollection<StepWork> _ready = new(Ahead);
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _work;
    private ExceptionDispatchInfo? _failure;

    /// <param name="rows">The training rows.</param>
    /// <param name="plan">Which rows belong to which step.</param>
    /// <param name="method">Says which rows are a group, and counts them.</param>
    /// <param name="maxTokens">Most tokens of a bin; a longer row has a bin for itself.</param>
    /// <param name="firstStep">The first step to prepare.</param>
    /// <param name="endStep">The step after the last.</param>
    /// <param name="workers">Who takes a share of each step; null for this worker alone.</param>
    public BatchLoader(ITokenRows rows, StepPlan plan, ITrainingMethod method, int maxTokens, int firstStep, int endStep,
        Workers? workers = null) =>
        _work = Task.Factory.StartNew(() => Prepare(rows, plan, method, maxTokens, firstStep, endStep, workers ?? Workers.Alone),
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    /// <summary>Time that <see cref="Next"/> has waited.</summary>
    public TimeSpan Waited { get; private set; }

    /// <summary>The next step, in order.</summary>
    public StepWork Next()
    {
        if (_ready.TryTake(out var ready))
            return ready;
        var start = Stopwatch.GetTimestamp();
        var found = _ready.TryTake(out ready, Timeout.Infinite);
        Waited += Stopwatch.GetElapsedTime(start);
        if (found)
            return ready!;
        _failure?.Throw();
        throw new InvalidOperationException("there are no more steps");
    }

    private void Prepare(ITokenRows rows, StepPlan plan, ITrainingMethod method, int maxTokens, int firstStep, int endStep, Workers workers)
    {
        try
        {
            for (var step = firstStep; step < endStep && !_stop.IsCancellationRequested; step++)
                _ready.Add(Lay(rows, plan[step], method, maxTokens, workers), _stop.Token);
        }
        catch (OperationCanceledException)
        {
            // the run ended before its rows did
        }
        catch (Exception failure)
        {
            _failure = ExceptionDispatchInfo.Capture(failure);
        }
        finally
        {
            _ready.CompleteAdding();
        }
    }

    /// <summary>This worker's share of a step.</summary>
    internal static StepWork Lay(ITokenRows rows, StepRows step, ITrainingMethod method, int maxTokens, Workers? workers = null)
    {
        workers ??= Workers.Alone;
        return workers.IsOrdered ? Lay(step, method, part => Cut(rows, part, maxTokens, workers), rows, workers.Context)
            // over the whole step at once, so that shares come out even
            : LayOwn(rows, workers.Share(step, rows.Length), method, maxTokens, workers.Context);
    }

    /// <summary>Rows of a step that are this worker's share.</summary>
    /// <param name="context">Who computes a part of every bin's tokens each; null for this worker alone.</param>
    internal static StepWork LayOwn(ITokenRows rows, StepRows step, ITrainingMethod method, int maxTokens, ContextGroup? context) =>
        Lay(step, method, part => Cut(rows, part, maxTokens), rows, context);

    private static StepWork Lay(StepRows step, ITrainingMethod method, Func<int[], (int[] Own, IReadOnlyList<int[]> Bins)> cut,
        ITokenRows rows, ContextGroup? context)
    {
        var parts = method.GroupsByMicroBatch ? step.MicroBatches : [[.. step.MicroBatches.SelectMany(m => m)]];
        return new(step, [.. parts.Select(part => Group(rows, cut(part), method, context, 1.0 / parts.Count))]);
    }

    /// <summary>This worker's share of some rows as one group, in bins.</summary>
    public static LossGroup Group(ITokenRows rows, int[] numbers, ITrainingMethod method, int maxTokens, Workers? workers = null) =>
        Group(rows, Cut(rows, numbers, maxTokens, workers), method, workers?.Context);

    private static LossGroup Group(ITokenRows rows, (int[] Own, IReadOnlyList<int[]> Bins) cut, ITrainingMethod method,
        ContextGroup? context, double share = 1)
    {
        (int Number, TokenRow Row)[] read = [.. cut.Own.Select(number => (number, rows.Read(number)))];
        return new(read, [.. cut.Bins.Select(bin => Laid(rows, bin, context))], method.Totals([.. read.Select(r => r.Row)]), share);
    }

    /// <summary>This worker's share of some rows, in bins of at most <paramref name="maxTokens"/> tokens; inside a bin they keep their order.
    /// </summary>
    /// <param name="workers">Who takes a share each; null for this worker alone.</param>
    public static IReadOnlyList<Bin> Bins(ITokenRows rows, int[] indices, int maxTokens, Workers? workers = null) =>
        [.. Cut(rows, indices, maxTokens, workers).Bins.Select(bin => Laid(rows, bin, workers?.Context))];

    /// <summary>Rows that are this worker's share, in bins.</summary>
    /// <param name="context">Who computes a part of every bin's tokens each; null for this worker alone.</param>
    public static IReadOnlyList<Bin> OwnBins(ITokenRows rows, int[] indices, int maxTokens, ContextGroup? context) =>
        [.. Cut(rows, indices, maxTokens).Bins.Select(bin => Laid(rows, bin, context))];

    private static Bin Laid(ITokenRows rows, int[] numbers, ContextGroup? context)
    {
        var batch = BatchBuilder.Build(rows, numbers);
        return new(batch, batch.Stream(context));
    }

    /// <summary>Which rows are this worker's share, and which of them each of its bins has. Where sums have an order of their own, bins are
    /// cut first and dealt out afterwards, the longest first: those of one turn follow one another by rank.</summary>
    private static (int[] Own, IReadOnlyList<int[]> Bins) Cut(ITokenRows rows, int[] indices, int maxTokens, Workers? workers = null)
    {
        if (workers is { IsOrdered: false })
            indices = workers.Share(indices, rows.Length);
        var lengths = Array.ConvertAll(indices, rows.Length);
        if (workers is not { IsOrdered: true })
            return (indices, [.. Packing.Bins(lengths, maxTokens).Select(Numbers)]);
        var all = Packing.Bins(lengths, (int)Math.Min(maxTokens, (lengths.Sum(length => (long)length) + LeastBins - 1) / LeastBins));
        int[][] mine = [.. all.OrderByDescending(bin => bin.Sum(i => lengths[i])).Where((_, turn) => turn % workers.Groups == workers.Group)];
        return (Numbers([.. mine.SelectMany(bin => bin)]), [.. mine.Select(Numbers)]);

        int[] Numbers(int[] bin) => [.. bin.Order().Select(i => indices[i])];
    }

    public void Dispose()
    {
        _stop.Cancel();
        _work.Wait();
        _ready.Dispose();
        _stop.Dispose();
    }
}
